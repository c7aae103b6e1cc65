//! The real program as a process: started over a folder of its own, spoken to, and what it left.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ca_api::proof;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use ssh_key::PrivateKey;

use crate::world::{Answer, Person, blob, code_at, connect, ed25519, send, sshsig, trusting};

pub const PASSPHRASE: &str = "an iron giraffe reads newspapers";

pub const KEYS: [&str; 6] = ["user_ca", "host_ca", "fleet", "sync", "ledger", "seal"];

pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ca-server"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// A data folder as `init` makes it, with a cheap password hash; made once and copied.
pub fn data_folder() -> (tempfile::TempDir, PathBuf) {
    /// Path, content of a file, mode.
    type Made = Vec<(PathBuf, Option<Vec<u8>>, u32)>;
    static MADE: OnceLock<Made> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let (data, pass) = (dir.path().join("ca"), dir.path().join("pass"));
        fs::write(&pass, PASSPHRASE).unwrap();
        fs::set_permissions(&pass, fs::Permissions::from_mode(0o600)).unwrap();
        let out = program(&["init", "--name", "127.0.0.1", "--data"])
            .arg(&data)
            .arg("--passphrase-file")
            .arg(&pass)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
        walk(&data)
            .into_iter()
            .map(|path| {
                let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
                let content = path.is_file().then(|| fs::read(&path).unwrap());
                (path.strip_prefix(&data).unwrap().to_owned(), content, mode)
            })
            .collect()
    });
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("ca");
    for (path, content, mode) in made {
        let path = data.join(path);
        match content {
            None => fs::create_dir(&path).unwrap(),
            Some(content) => fs::write(&path, content).unwrap(),
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
    }
    let config = data.join("config.toml");
    let mut toml: toml::Table = fs::read_to_string(&config).unwrap().parse().unwrap();
    toml["argon2"] = toml::toml! { memory_kib = 64
    passes = 1
    parallel = 4 }
    .into();
    fs::write(&config, toml.to_string()).unwrap();
    (dir, data)
}

/// Everything in a folder and the folder itself, parents first.
pub fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(walk(&path));
        } else {
            all.push(path);
        }
    }
    all
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running `ca-server serve`; killed when dropped.
pub struct Server {
    pub data: PathBuf,
    pub log: PathBuf,
    pub child: Child,
    pub address: std::net::SocketAddr,
    pub heard: Vec<Vec<u8>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    pub async fn start(data: &Path, log_level: &str) -> Self {
        let dir = data.parent().unwrap();
        let pass = dir.join("pass");
        fs::write(&pass, PASSPHRASE).unwrap();
        fs::set_permissions(&pass, fs::Permissions::from_mode(0o600)).unwrap();
        let log = dir.join(format!("log-{}", fs::read_dir(dir).unwrap().count()));
        let child = program(&["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .arg("--passphrase-file")
            .arg(&pass)
            .env("RUST_LOG", log_level)
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut server = Self {
            data: data.to_owned(),
            log,
            child,
            address: "127.0.0.1:0".parse().unwrap(),
            heard: Vec::new(),
        };
        let began = Instant::now();
        loop {
            let said = server.said();
            let listening = said
                .lines()
                .filter(|line| line.contains("serving"))
                .find_map(|line| line.split("listen=").nth(1));
            if let Some(address) = listening {
                server.address = address.trim().parse().unwrap();
                return server;
            }
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}\n{said}");
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "not ready:\n{said}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn said(&self) -> String {
        text(&fs::read(&self.log).unwrap())
    }

    pub async fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], body).await
    }

    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let client = trusting(&fs::read(self.data.join("tls/ca.pem")).unwrap());
        let mut connection = connect(self.address, &client).await;
        let answer = send(
            &mut connection,
            method,
            path,
            headers,
            body.to_string().into(),
        )
        .await;
        self.heard.push(answer.bytes.to_vec());
        answer
    }

    /// An admin command over the Unix socket, as its lines come; `enough` may stop listening.
    pub async fn command(&mut self, request: Value, enough: fn(&Value) -> bool) -> Vec<Value> {
        let stream = tokio::net::UnixStream::connect(self.data.join("admin.sock"))
            .await
            .unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::post("/v1/admin")
            .header("host", "ca")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(request.to_string())))
            .unwrap();
        let mut body = sender.send_request(request).await.unwrap().into_body();
        let (mut heard, mut lines): (Vec<u8>, Vec<Value>) = (Vec::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            heard.extend(frame.unwrap().into_data().unwrap());
            lines = text(&heard)
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            if lines.iter().any(enough) {
                break;
            }
        }
        self.heard.push(heard);
        lines
    }

    pub async fn done(&mut self, request: Value) -> Value {
        let lines = self.command(request.clone(), |_| false).await;
        let last = lines.last().cloned().unwrap_or_default();
        assert_eq!(last["event"], "done", "{request}: {lines:?}");
        last["reply"]["data"].clone()
    }

    pub async fn employee(&mut self, email: &str, admin: bool) -> Person {
        let add = json!({"verb": "employee_add", "email": email, "pools": ["web"], "admin": admin});
        let code = self.done(add).await["code"].as_str().unwrap().to_owned();
        // What follows is not to be found in any answer but its own.
        self.heard.pop();
        let started = self.post("/v1/enrol/start", &json!({"code": code})).await;
        self.heard.pop();
        let secret = started.json()["totp_secret"].as_str().unwrap().to_owned();
        let person = Person {
            email: email.to_owned(),
            password: format!("wobbly-lantern-eats-41-{}", &blob(&ed25519())[30..50]),
            totp: data_encoding::BASE32_NOPAD
                .decode(secret.as_bytes())
                .unwrap(),
            key: ed25519(),
        };
        // The step before: the one of now is kept for the login. It is too old if the next one begins on the way.
        let mut finished = None;
        for _ in 0..5 {
            let totp = code_at(&person.totp, unix_now() - 30);
            let finish = json!({"code": code, "password": person.password, "totp": totp});
            let answer = self.post("/v1/enrol/finish", &finish).await;
            let status = answer.status;
            finished = Some(answer);
            if status == 200 {
                break;
            }
        }
        let finished = finished.expect("it was tried");
        assert_eq!(finished.status, 200, "{}", finished.text());
        person
    }

    pub async fn login_body(&mut self, person: &Person, step: i64) -> Value {
        let nonce = self.send("GET", "/v1/nonce", &[], &json!(null)).await;
        let info = self.send("GET", "/v1/ca", &[], &json!(null)).await;
        let nonce = nonce.json()["nonce"].as_str().unwrap().to_owned();
        let info = info.json();
        let ca_id = info["ca_id"].as_str().unwrap();
        let message = proof::login_message(ca_id, &nonce, &person.email, &blob(&person.key));
        json!({
            "email": person.email, "password": person.password,
            "totp": code_at(&person.totp, unix_now() + 30 * step),
            "public_key": person.key.public_key().to_openssh().unwrap(), "nonce": nonce,
            "proof": sshsig(&person.key, proof::LOGIN_NAMESPACE, &message),
        })
    }

    pub async fn renew(&mut self, person: &Person, session: &Value) -> Answer {
        let nonce = self.send("GET", "/v1/nonce", &[], &json!(null)).await;
        let info = self.send("GET", "/v1/ca", &[], &json!(null)).await;
        let nonce = nonce.json()["nonce"].as_str().unwrap().to_owned();
        let info = info.json();
        let id = session["id"].as_str().unwrap();
        let ca_id = info["ca_id"].as_str().unwrap();
        let message = proof::renew_message(ca_id, &nonce, id, &blob(&person.key));
        let body = json!({
            "session_id": id, "session_secret": session["secret"], "nonce": nonce,
            "proof": sshsig(&person.key, proof::RENEW_NAMESPACE, &message),
        });
        self.post("/v1/renew", &body).await
    }
}

pub fn unix_now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

pub fn opened(data: &Path, name: &str) -> PrivateKey {
    let text = fs::read_to_string(data.join("keys").join(name)).unwrap();
    let key = PrivateKey::from_openssh(&text).unwrap();
    key.decrypt(PASSPHRASE).unwrap()
}

/// A secret in the forms in which it could stand somewhere.
pub fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![
        secret.to_vec(),
        data_encoding::HEXLOWER.encode(secret).into_bytes(),
        data_encoding::HEXUPPER.encode(secret).into_bytes(),
        data_encoding::BASE32_NOPAD.encode(secret).into_bytes(),
    ];
    // Base64 at each of its three alignments, without the characters that neighbours share.
    for shift in 0..3 {
        let padded = [&vec![0; shift][..], secret].concat();
        let encoded = STANDARD.encode(padded);
        let inner = &encoded[4..encoded.len() - 4];
        all.push(inner.as_bytes().to_vec());
        all.push(inner.replace('+', "-").replace('/', "_").into_bytes());
    }
    all
}

pub fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|part| part == needle)
}
