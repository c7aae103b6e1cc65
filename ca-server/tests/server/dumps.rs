//! No process that ever holds a secret of the CA can be dumped (K1): the commands and the helper, as the server ([`crate::taken`]).

use std::{
    fs,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt as _, PermissionsExt as _, chown},
            net::{UnixListener, UnixStream},
            process::{CommandExt as _, ExitStatusExt as _},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::{
    signal::{Signal, kill},
    stat::Mode,
};

use crate::process::{data_folder, walk};

/// Of a process that is not dumpable the kernel gives `/proc/PID/mem` to root, which shows where the process is not root's.
const NOBODY: u32 = 65534;

/// What the kernel says of a process: the largest core file that it may leave, and whose its memory is.
fn standing(child: &Child) -> Option<(String, u32)> {
    let proc = PathBuf::from(format!("/proc/{}", child.id()));
    let limits = fs::read_to_string(proc.join("limits")).ok()?;
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"))?;
    let owner = fs::metadata(proc.join("mem")).ok()?.uid();
    Some((core.split_whitespace().take(2).collect(), owner))
}

/// Waits until it stands as it should; gives how it stood last.
fn settled(child: &mut Child, wanted: &(String, u32)) -> Option<(String, u32)> {
    let began = Instant::now();
    loop {
        let ended = child.try_wait().unwrap();
        let found = standing(child);
        if ended.is_some()
            || found.as_ref() == Some(wanted)
            || began.elapsed() > Duration::from_secs(60)
        {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn k1_no_command_that_holds_a_secret_can_be_dumped() {
    let (dir, data) = data_folder();
    let me = nix::unistd::geteuid().as_raw();
    let uid = if me == 0 { NOBODY } else { me };
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // A program that its user may not read would not be dumpable anyway: so it is one that everybody may.
    let copy = dir.path().join("ca-server");
    fs::copy(env!("CARGO_BIN_EXE_ca-server"), &copy).unwrap();
    let own = dir.path().join("own");
    fs::create_dir(&own).unwrap();
    // Whoever reads this waits for ever: each command stands still where it has begun.
    let fifo = own.join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    if me == 0 {
        for path in walk(&data).iter().chain([&own, &fifo]) {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    let start = |program: &Path, arguments: &[&str]| {
        // The helper takes a socket for its standard input, the others read a passphrase that does not come.
        let (ours, theirs) = UnixStream::pair().unwrap();
        // Whatever the limit is that the tests run under, it is the program that takes it away.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "ulimit -c unlimited 2>/dev/null; exec \"$0\" \"$@\""]);
        command.arg(program);
        if me == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        let child = command
            .args(arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        (child, ours)
    };
    // A backup asks for its passphrase only where a server is there to make one.
    let socket = data.join("admin.sock");
    let _server = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let undumpable = ("00".to_owned(), 0);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (data, fifo) = (text(&data), text(&fifo));
    let (fresh, file) = (text(&own.join("fresh")), text(&own.join("ca.age")));
    let out = text(&own.join("out"));
    for arguments in [
        &["pkcs11-helper"][..],
        &["init", "--passphrase-stdin", "--data", &fresh],
        &[
            "serve",
            "--passphrase-stdin",
            "--listen",
            "127.0.0.1:0",
            "--data",
            &data,
        ],
        &["backup", &file, "--passphrase-stdin", "--data", &data],
        &["backup", "verify", &fifo, "--passphrase-stdin"],
        &["restore", &fifo, "--passphrase-stdin", "--data", &fresh],
        &["break-glass", "open", &fifo, "--out", &out],
        &["break-glass", "drill", &fifo, "web-1"],
    ] {
        let (mut child, held) = start(&copy, arguments);
        let found = settled(&mut child, &undumpable);
        // What would dump it: no core file, whatever the system does with those.
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(pid, Signal::SIGABRT).unwrap();
        let status = child.wait().unwrap();
        drop(held);
        assert_eq!(found.as_ref(), Some(&undumpable), "{arguments:?}: {status}");
        assert_eq!(
            (status.signal(), status.core_dumped()),
            (Some(6), false),
            "{arguments:?}"
        );
    }
    // The look finds what is there: another program of the same user can be dumped by that user.
    let (mut child, held) = start(Path::new("/bin/cat"), &[]);
    let began = Instant::now();
    let owner = loop {
        let owner = standing(&child).map(|(_, owner)| owner);
        if owner == Some(uid) || began.elapsed() > Duration::from_secs(60) {
            break owner;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    drop(held);
    assert_eq!(owner, Some(uid));
}
