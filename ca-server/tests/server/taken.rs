//! The real program takes a backup while it serves, is killed while it does, and comes back from it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use ssh_key::private::KeypairData;

use crate::{
    process::{
        KEYS, PASSPHRASE, Server, contains, data_folder, forms, opened, program, text, unix_now,
        walk,
    },
    world::code_at,
};

const LOCK: &str = "four green kettles sing at dawn";

/// The file with a backup's passphrase.
fn lock_file(dir: &Path) -> PathBuf {
    let path = dir.join("lock");
    fs::write(&path, LOCK).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn backup(data: &Path, file: &Path, words: &[&str]) -> Command {
    let mut command = program(&["backup", "--data"]);
    command
        .arg(data)
        .arg(file)
        .args(words)
        .arg("--passphrase-file")
        .arg(lock_file(data.parent().unwrap()));
    command
}

fn open(verb: &[&str], file: &Path, data: &Path, lock: &Path) -> Output {
    program(verb)
        .arg(file)
        .arg("--data")
        .arg(data)
        .arg("--passphrase-file")
        .arg(lock)
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn k1_s7_a_backup_taken_while_serving_comes_back_without_and_with_its_keys() {
    let (dir, data) = data_folder();
    let mut server = Server::start(&data, "trace").await;
    server
        .done(json!({"verb": "pool_add", "pool": "web"}))
        .await;
    let alice = server.employee("alice@corp.example", false).await;
    let (whole, bare) = (dir.path().join("whole.age"), dir.path().join("bare.age"));
    for (file, words) in [(&whole, &["--with-keys"][..]), (&bare, &["--json"][..])] {
        let out = backup(&data, file, words).output().unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
        assert_eq!(
            fs::metadata(file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    // Never written over, and nothing else is left beside it.
    let out = backup(&data, &whole, &[]).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(
        text(&out.stderr).contains("exists already"),
        "{}",
        text(&out.stderr)
    );
    assert!(!dir.path().join("whole.age.partial").exists());
    // Not over the network, whoever asks.
    let refused = server
        .post("/v1/admin/backup", &json!({"with_keys": true}))
        .await;
    assert_eq!(refused.code(), "refused");

    let lock = lock_file(dir.path());
    let verified = open(&["backup", "verify"], &whole, &data, &lock);
    assert!(
        text(&verified.stdout).contains("is whole"),
        "{}",
        text(&verified.stderr)
    );
    let wrong = dir.path().join("pass");
    let out = open(&["backup", "verify"], &whole, &data, &wrong);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        text(&out.stderr).contains("passphrase does not open"),
        "{}",
        text(&out.stderr)
    );

    // K1: what is inside of the lock holds no private key either: the files in it are locked themselves.
    let key = ca_server::backup::lock::Key::Passphrase(ca_api::Secret::new(LOCK.to_owned()));
    let mut plain = Vec::new();
    let locked = ca_server::backup::lock::Locked::file(&whole).unwrap();
    let mut inside = locked.unlock(&key).unwrap();
    std::io::Read::read_to_end(&mut inside, &mut plain).unwrap();
    assert!(
        contains(&plain, b"alice@corp.example"),
        "the search finds what is there"
    );
    let mut secrets = vec![("the passphrase".to_owned(), vec![LOCK.as_bytes().to_vec()])];
    secrets.push((
        "the CA's passphrase".to_owned(),
        vec![PASSPHRASE.as_bytes().to_vec()],
    ));
    secrets.push(("a TOTP secret".to_owned(), forms(&alice.totp)));
    secrets.push((
        "a password".to_owned(),
        vec![alice.password.clone().into_bytes()],
    ));
    for name in KEYS {
        let KeypairData::Ed25519(pair) = opened(&data, name).key_data().clone() else {
            panic!("no Ed25519")
        };
        secrets.push((name.to_owned(), forms(&pair.private.to_bytes())));
    }
    let said = server.said().into_bytes();
    assert!(contains(&said, b"serving"), "and so does that of the log");
    let age = fs::read(&whole).unwrap();
    assert!(
        contains(&age, b"age-encryption.org"),
        "and that of the file"
    );
    for (what, forms) in &secrets {
        for form in forms {
            assert!(!contains(&plain, form), "{what} is in the backup");
            assert!(!contains(&said, form), "{what} is in the log");
            assert!(
                !contains(&fs::read(&whole).unwrap(), form),
                "{what} is in the locked backup"
            );
        }
    }
    drop(server);

    // Without keys: the folders are put back by hand, as the command says.
    let second = dir.path().join("second");
    let out = open(&["restore"], &bare, &second, &lock);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(
        text(&out.stdout).contains("the backup has no keys"),
        "{}",
        text(&out.stdout)
    );
    for sub in ["keys", "tls"] {
        for entry in fs::read_dir(data.join(sub)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), second.join(sub).join(entry.file_name())).unwrap();
        }
    }
    let mut server = Server::start(&second, "info").await;
    let view = server.done(json!({"verb": "recovery_show"})).await;
    assert_eq!(
        (view["restored"].clone(), view["open"].clone()),
        (json!(true), json!(false))
    );
    drop(server);

    // With them: served at once, shut until somebody looked.
    fs::remove_dir_all(&data).unwrap();
    let before = unix_now();
    let out = open(&["restore"], &whole, &data, &lock);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let again = open(&["restore"], &whole, &data, &lock);
    assert_eq!(again.status.code(), Some(1));
    let mut server = Server::start(&data, "info").await;
    let body = server.login_body(&alice, 0).await;
    assert_eq!(server.post("/v1/login", &body).await.code(), "unavailable");
    server.done(json!({"verb": "recovery_finish"})).await;
    // The codes of the moment of the restore are used up by it; a later one, if all this took that long, is not.
    let mut body = server.login_body(&alice, 0).await;
    body["totp"] = code_at(&alice.totp, unix_now().min(before + 30)).into();
    assert_eq!(server.post("/v1/login", &body).await.code(), "refused");
    server.done(json!({"verb": "audit_verify"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h8_a_backup_that_is_killed_leaves_nothing_that_looks_like_one_and_is_run_again() {
    let (dir, data) = data_folder();
    let server = Server::start(&data, "info").await;
    let file = dir.path().join("ca.age");
    let partial = dir.path().join("ca.age.partial");
    for pause_millis in [0, 30, 200, 500] {
        let mut child = backup(&data, &file, &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !partial.exists() && !file.exists() {
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "it does not begin"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_millis(pause_millis)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        if file.exists() {
            // It was quicker: then it is whole.
            let out = open(&["backup", "verify"], &file, &data, &lock_file(dir.path()));
            assert!(out.status.success(), "{}", text(&out.stderr));
            fs::remove_file(&file).unwrap();
        }
    }
    let out = backup(&data, &file, &[]).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(!partial.exists());
    let out = open(&["backup", "verify"], &file, &data, &lock_file(dir.path()));
    assert!(out.status.success(), "{}", text(&out.stderr));
    drop(server);
}

#[test]
fn k1_the_server_cannot_be_dumped() {
    use std::os::unix::{
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    };
    /// Nobody: of a process that is not dumpable the kernel gives `/proc/PID/mem` to root, which shows where the process is not root's.
    const NOBODY: u32 = 65534;
    let (dir, data) = data_folder();
    let me = nix::unistd::geteuid().as_raw();
    let uid = if me == 0 { NOBODY } else { me };
    // A program that its user may not read would not be dumpable anyway: so it is one that everybody may.
    let copy = dir.path().join("ca-server");
    fs::copy(env!("CARGO_BIN_EXE_ca-server"), &copy).unwrap();
    let (pass, log) = (dir.path().join("pass"), dir.path().join("log"));
    fs::write(&pass, PASSPHRASE).unwrap();
    fs::set_permissions(&pass, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&copy);
    if me == 0 {
        for path in walk(&data).iter().chain([&pass]) {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .arg("--passphrase-file")
        .arg(&pass)
        .env("TMPDIR", &data)
        .stdin(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !text(&fs::read(&log).unwrap()).contains("serving") {
        let ended = child.try_wait().unwrap();
        let late = began.elapsed() > Duration::from_secs(120);
        assert!(
            ended.is_none() && !late,
            "{}",
            text(&fs::read(&log).unwrap())
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let proc = PathBuf::from(format!("/proc/{}", child.id()));
    let owner = fs::metadata(proc.join("mem")).unwrap().uid();
    let limits = fs::read_to_string(proc.join("limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<&str> = core.unwrap().split_whitespace().collect();
    assert_eq!((words[4], words[5]), ("0", "0"), "{core:?}");
    // No core file, also where a program collects them, and nobody but root attaches to it.
    assert_eq!(owner, 0, "uid {uid} can dump it");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGABRT).unwrap();
    let status = child.wait().unwrap();
    use std::os::unix::process::ExitStatusExt as _;
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
}
