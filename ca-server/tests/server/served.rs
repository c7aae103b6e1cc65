//! K1, K2, K6, R1: what the real program keeps, says and remembers, also killed at any moment.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use ssh_key::private::KeypairData;

use crate::{
    process::{
        KEYS, PASSPHRASE, Server, contains, data_folder, forms, opened, program, text, unix_now,
        walk,
    },
    world::{code_at, keygen_says, trusting},
};

fn private_forms(data: &Path, name: &str) -> Vec<Vec<u8>> {
    let KeypairData::Ed25519(pair) = opened(data, name).key_data().clone() else {
        panic!("no Ed25519")
    };
    forms(&pair.private.to_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn k1_s5_no_key_and_no_secret_is_in_the_store_the_log_or_an_answer() {
    let (_dir, data) = data_folder();
    let mut secrets: Vec<(String, Vec<Vec<u8>>)> = KEYS
        .iter()
        .map(|name| ((*name).to_owned(), private_forms(&data, name)))
        .collect();
    // Everything the program can say at all.
    let mut server = Server::start(&data, "trace").await;
    server
        .done(json!({"verb": "pool_add", "pool": "web"}))
        .await;
    let alice = server.employee("alice@corp.example", false).await;
    let chief = server.employee("chief@corp.example", true).await;
    let body = server.login_body(&alice, 0).await;
    let issued = server.post("/v1/login", &body).await;
    assert_eq!(issued.status, 200, "{}", issued.text());
    // Told once, in the answer to their owner and nowhere else.
    server.heard.pop();
    let session = issued.json()["session"].clone();
    assert_eq!(server.renew(&alice, &session).await.status, 200);
    let mut wrong = server.login_body(&alice, 1).await;
    wrong["password"] = "a-guess-that-must-not-be-logged".into();
    server.post("/v1/login", &wrong).await;
    let broken = json!({"email": alice.email, "password": alice.password, "totp": "123456", "extra": session["secret"]});
    server.post("/v1/admin/login", &broken).await;
    let login = json!({"email": chief.email, "password": chief.password, "totp": code_at(&chief.totp, unix_now())});
    let token = server.post("/v1/admin/login", &login).await;
    assert_eq!(token.status, 200, "{}", token.text());
    server.heard.pop();
    let token = token.json()["token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let listed = json!({"verb": "employee_list"});
    let listed = server
        .send("POST", "/v1/admin", &[("authorization", &bearer)], &listed)
        .await;
    assert_eq!(listed.status, 200);
    for command in crate::doors::every_command() {
        server.command(command, |_| false).await;
    }
    // Invitations of those commands are answers to the admin; their codes are for the paper only.
    let pid = server.child.id();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(
        core.split_whitespace().nth(4),
        Some("0"),
        "core files are off: {core}"
    );

    // Keys that were made while it ran, as well.
    assert!(!data.join("keys/host_ca").exists(), "compromised");
    for name in ["host_ca.2", "host_ca.3"] {
        if data.join("keys").join(name).exists() {
            secrets.push((name.to_owned(), private_forms(&data, name)));
        }
    }
    assert!(secrets.len() > KEYS.len());
    let sealed = fs::read_to_string(data.join("tls/ca.key")).unwrap();
    let folder = ca_server::folder::Folder::open(&data).unwrap();
    let passphrase = ca_api::Secret::new(PASSPHRASE.to_owned());
    let keys = ca_server::keys::Fixed::open(&folder, &passphrase).unwrap();
    let der = keys.seal.open("tls ca key", sealed.trim()).unwrap();
    let at = der
        .windows(2)
        .position(|part| part == [0x04, 0x20])
        .unwrap();
    secrets.push(("tls ca".to_owned(), forms(&der[at + 2..at + 34])));
    for person in [&alice, &chief] {
        secrets.push((format!("totp of {}", person.email), forms(&person.totp)));
        let password = person.password.clone().into_bytes();
        secrets.push((format!("password of {}", person.email), vec![password]));
    }
    for (what, text) in [
        ("passphrase", PASSPHRASE.to_owned()),
        (
            "session secret",
            session["secret"].as_str().unwrap().to_owned(),
        ),
        (
            "device token",
            session["device"].as_str().unwrap().to_owned(),
        ),
        ("admin token", token),
        ("guess", "a-guess-that-must-not-be-logged".to_owned()),
        ("code", body["totp"].as_str().unwrap().to_owned() + "\""),
    ] {
        secrets.push((what.to_owned(), vec![text.into_bytes()]));
    }
    let mut places: Vec<(String, Vec<u8>)> = walk(&data)
        .into_iter()
        .filter(|path| path.is_file())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    places.push(("the log".to_owned(), fs::read(&server.log).unwrap()));
    for answer in &server.heard {
        places.push((format!("the answer {}", text(answer)), answer.clone()));
    }
    for (what, forms) in &secrets {
        for (place, content) in &places {
            for form in forms {
                let place = &place[..place.len().min(200)];
                assert!(!contains(content, form), "{what} is in {place}");
            }
        }
    }
    // The search finds what is there: a public key in the store's neighbours, an email in log and store.
    let public = fs::read(data.join("keys/user_ca.pub")).unwrap();
    let print = opened(&data, "user_ca");
    let seen = forms(&print.public_key().key_data().ed25519().unwrap().0);
    assert!(seen.iter().any(|form| contains(&public, form)));
    let store = fs::read(data.join("store.redb")).unwrap();
    assert!(contains(&store, b"alice@corp.example"));
    assert!(server.said().contains("serving"));
    let answers = server.heard.iter();
    assert!(
        answers
            .filter(|one| contains(one, b"alice@corp.example"))
            .count()
            > 0
    );

    // S6: whatever was made, is for its owner only.
    for path in walk(&data) {
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
}

fn fails(data: &Path, passphrase: &str) -> Output {
    let pass = data.parent().unwrap().join("given");
    fs::write(&pass, passphrase).unwrap();
    fs::set_permissions(&pass, fs::Permissions::from_mode(0o600)).unwrap();
    let out = program(&["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .arg("--passphrase-file")
        .arg(&pass)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    out
}

#[test]
fn k2_keys_are_encrypted_at_rest_and_nothing_opens_where_others_could_read() {
    let (_dir, data) = data_folder();
    let state = || -> Vec<(PathBuf, Option<Vec<u8>>)> {
        walk(&data)
            .into_iter()
            .map(|path| (path.clone(), fs::read(&path).ok()))
            .collect()
    };
    for name in KEYS {
        let file = data.join("keys").join(name);
        let opens = |passphrase: &str| {
            let out = Command::new("ssh-keygen")
                .args(["-y", "-P", passphrase, "-f"])
                .arg(&file)
                .output()
                .unwrap();
            out.status.success()
        };
        assert!(
            !opens("") && !opens("wrong") && opens(PASSPHRASE),
            "{name} as OpenSSH reads it"
        );
    }
    let before = state();
    let said = text(&fails(&data, "not the passphrase at all").stderr);
    assert!(said.contains("passphrase"), "{said}");
    assert_eq!(state(), before, "a wrong passphrase changed something");
    for (path, mode) in [
        ("", 0o750),
        ("keys", 0o711),
        ("tls", 0o755),
        ("keys/user_ca", 0o640),
        ("keys/seal", 0o604),
        ("tls/ca.key", 0o644),
        ("store.redb", 0o660),
        ("config.toml", 0o606),
    ] {
        let path = data.join(path);
        let right = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let said = text(&fails(&data, PASSPHRASE).stderr);
        assert!(
            said.contains("mode") && said.contains("chmod"),
            "{}: {said}",
            path.display()
        );
        fs::set_permissions(&path, right).unwrap();
    }
}

#[test]
fn k6_each_purpose_has_a_key_of_its_own() {
    let (_dir, data) = data_folder();
    let mut prints: Vec<String> = KEYS
        .iter()
        .map(|name| {
            let public = fs::read_to_string(data.join(format!("keys/{name}.pub"))).unwrap();
            let key = ssh_key::PublicKey::from_openssh(&public).unwrap();
            assert_eq!(
                key.key_data(),
                opened(&data, name).public_key().key_data(),
                "{name}.pub is of another key"
            );
            key.fingerprint(ssh_key::HashAlg::Sha256).to_string()
        })
        .collect();
    prints.sort();
    prints.dedup();
    assert_eq!(prints.len(), KEYS.len());
    // A key put into another's place is found out or useless: never does the fleet key sign for people.
    fs::copy(data.join("keys/fleet"), data.join("keys/user_ca")).unwrap();
    let swapped = opened(&data, "user_ca");
    let named = fs::read_to_string(data.join("keys/user_ca.pub")).unwrap();
    let named = ssh_key::PublicKey::from_openssh(&named).unwrap();
    assert_ne!(swapped.public_key().key_data(), named.key_data());
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_a3_killed_right_after_the_word_everything_is_still_refused() {
    let (_dir, data) = data_folder();
    let mut server = Server::start(&data, "info").await;
    server
        .done(json!({"verb": "pool_add", "pool": "web"}))
        .await;
    let alice = server.employee("alice@corp.example", false).await;
    let bob = server.employee("bob@corp.example", false).await;
    let mut sessions = Vec::new();
    for person in [&alice, &bob] {
        let body = server.login_body(person, 0).await;
        let issued = server.post("/v1/login", &body).await;
        assert_eq!(issued.status, 200, "{}", issued.text());
        sessions.push((body, issued.json()));
    }
    let revoke =
        json!({"verb": "krl_revoke", "target": {"employee": alice.email}, "reason": "stolen"});
    let lines = server.command(revoke, |line| line["event"] == "note").await;
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    assert!(
        lines[0]["text"].as_str().unwrap().contains("durably"),
        "{lines:?}"
    );
    drop(server);

    let mut server = Server::start(&data, "info").await;
    let renewed = server.renew(&alice, &sessions[0].1["session"]).await;
    assert_eq!(renewed.code(), "session_over", "{}", renewed.text());
    let body = server.login_body(&alice, 1).await;
    assert_eq!(server.post("/v1/login", &body).await.code(), "refused");
    // The step that bob used is used, also for the process that came after.
    let mut again = server.login_body(&bob, 0).await;
    again["totp"] = sessions[1].0["totp"].clone();
    again["device"] = sessions[1].1["session"]["device"].clone();
    assert_eq!(server.post("/v1/login", &again).await.code(), "refused");
    assert_eq!(
        server.renew(&bob, &sessions[1].1["session"]).await.status,
        200
    );
    let file = server.done(json!({"verb": "krl_export"})).await;
    let list = STANDARD.decode(file.as_str().unwrap()).unwrap();
    let certificate = |n: usize| {
        sessions[n].1["certificates"][0]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(keygen_says(&list, &certificate(0)));
    assert!(!keygen_says(&list, &certificate(1)));
    let verified = server.done(json!({"verb": "audit_verify"})).await;
    assert!(verified["entries"].as_u64().unwrap() > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_a_request_in_flight_finish_and_takes_no_more() {
    let (_dir, data) = data_folder();
    let mut server = Server::start(&data, "info").await;
    server
        .done(json!({"verb": "pool_add", "pool": "web"}))
        .await;
    let client = trusting(&fs::read(data.join("tls/ca.pem")).unwrap());
    let stream = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let mut tls = tokio_rustls::TlsConnector::from(Arc::clone(&client))
        .connect("127.0.0.1".try_into().unwrap(), stream)
        .await
        .unwrap();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let body = r#"{"code":"none"}"#;
    let head = format!(
        "POST /v1/enrol/start HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    tls.write_all(head.as_bytes()).await.unwrap();
    tls.write_all(&body.as_bytes()[..5]).await.unwrap();
    tls.flush().await.unwrap();
    // A second request on another connection shows that the first has arrived.
    server.send("GET", "/v1/ca", &[], &json!(null)).await;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(server.child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let began = Instant::now();
    while tokio::net::TcpStream::connect(server.address).await.is_ok() {
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "it still takes connections"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tls.write_all(&body.as_bytes()[5..]).await.unwrap();
    tls.flush().await.unwrap();
    let mut heard = Vec::new();
    drop(tls.read_to_end(&mut heard).await);
    assert!(text(&heard).starts_with("HTTP/1.1 401"), "{}", text(&heard));
    let status = server.child.wait().unwrap();
    assert!(status.success(), "{status}\n{}", server.said());
    assert!(!data.join("admin.sock").exists());
}
