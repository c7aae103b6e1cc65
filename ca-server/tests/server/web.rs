//! W2 and W3: hostile input at the doors costs what a limit allows, and never the server.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ca_server::http::{Peer, accept};
use rand_core::{OsRng, RngCore};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    doors::{ask, every_command},
    world::World,
};

const DOORS: [&str; 8] = [
    "/v1/enrol/start",
    "/v1/enrol/finish",
    "/v1/login",
    "/v1/renew",
    "/v1/logout",
    "/v1/password",
    "/v1/admin/login",
    "/v1/admin",
];

async fn tls(world: &World) -> tokio_rustls::client::TlsStream<TcpStream> {
    tls_at(world, world.address).await
}

async fn tls_at(world: &World, address: SocketAddr) -> tokio_rustls::client::TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    tokio_rustls::TlsConnector::from(Arc::clone(&world.client))
        .connect("127.0.0.1".try_into().unwrap(), stream)
        .await
        .unwrap()
}

/// One more door of the same server, which waits for nobody.
async fn impatient_door(world: &World) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (shown, router) = (world.ca.tls.shown(), world.router.clone());
    tokio::spawn(async move {
        let (_open, stopped) = tokio::sync::watch::channel(false);
        let deadlines = accept::Deadlines {
            handshake: Duration::from_secs(8),
            headers: Duration::from_secs(8),
            body: Duration::from_secs(5),
        };
        accept::https(listener, shown, router, Vec::new(), deadlines, stopped).await;
    });
    address
}

/// The server must end the connection, or answer and end it, in the end.
async fn ends<S: tokio::io::AsyncRead + Unpin>(what: &str, mut stream: S) -> String {
    let mut heard = Vec::new();
    let ended = timeout(Duration::from_secs(180), stream.read_to_end(&mut heard)).await;
    assert!(ended.is_ok(), "{what}: the connection is held for ever");
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn w2_bodies_are_bounded_and_of_one_kind() {
    let world = World::new().await;
    for path in DOORS {
        for (what, kind, body) in [
            ("too large", "application/json", vec![b' '; 300 * 1024]),
            (
                "a large text",
                "application/json",
                json!({"code": "x".repeat(256 * 1024)}).to_string().into(),
            ),
            ("no JSON type", "text/plain", b"{}".to_vec()),
            (
                "a form",
                "application/x-www-form-urlencoded",
                b"email=a&password=b".to_vec(),
            ),
            ("cut JSON", "application/json", b"{\"code\":".to_vec()),
            ("nested", "application/json", vec![b'['; 100_000]),
            ("nothing", "application/json", Vec::new()),
            (
                "no UTF-8",
                "application/json",
                b"{\"code\":\"\xff\xfe\"}".to_vec(),
            ),
        ] {
            let answer = world
                .send("POST", path, &[("content-type", kind)], body.into())
                .await;
            let wanted = if path == "/v1/admin" { 401 } else { 400 };
            assert_eq!(answer.status, wanted, "{path} {what}: {}", answer.text());
            assert!(answer.json()["message"].is_string(), "{path} {what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w2_unknown_and_doubled_fields_are_refused_at_every_door_without_being_quoted() {
    let world = World::new().await;
    let full = json!({
        "email": "a@b", "password": "p", "totp": "123456", "public_key": "k", "nonce": "n", "proof": "s",
    });
    let bodies = [
        ("/v1/enrol/start", json!({"code": "c"})),
        (
            "/v1/enrol/finish",
            json!({"code": "c", "password": "p", "totp": "123456"}),
        ),
        ("/v1/login", full),
        (
            "/v1/renew",
            json!({"session_id": "i", "session_secret": "s", "nonce": "n", "proof": "p"}),
        ),
        (
            "/v1/logout",
            json!({"session_id": "i", "session_secret": "s"}),
        ),
        (
            "/v1/password",
            json!({"email": "a@b", "password": "p", "totp": "123456", "new_password": "q"}),
        ),
        (
            "/v1/admin/login",
            json!({"email": "a@b", "password": "p", "totp": "123456"}),
        ),
    ];
    for (path, body) in bodies {
        let mut wide = body.clone();
        wide["hunter2-as-a-field"] = json!("hunter2");
        let doubled = body.to_string().replacen('{', "{\"email\":\"x@y\",", 1);
        let doubled = doubled.replacen('{', "{\"code\":\"hunter2\",\"session_id\":\"i\",", 1);
        for text in [wide.to_string(), doubled] {
            let answer = world.send("POST", path, &[], text.into()).await;
            assert_eq!(answer.code(), "invalid", "{path}: {}", answer.text());
            assert!(answer.text().contains("field"), "{path}: {}", answer.text());
            assert!(
                !answer.text().contains("hunter2"),
                "{path} quotes what was sent"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w2_who_is_slow_is_cut_off_at_every_stage() {
    let world = World::new().await;
    let address = impatient_door(&world).await;
    let no_handshake = TcpStream::connect(address).await.unwrap();
    let mut half_handshake = TcpStream::connect(address).await.unwrap();
    half_handshake
        .write_all(b"\x16\x03\x01\x02\x00\x01")
        .await
        .unwrap();
    let nothing = tls_at(&world, address).await;
    let mut headers = tls_at(&world, address).await;
    headers
        .write_all(b"POST /v1/login HTTP/1.1\r\nhost: x\r\nx-slow: ")
        .await
        .unwrap();
    let mut body = tls_at(&world, address).await;
    body.write_all(b"POST /v1/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{\"email\":")
        .await
        .unwrap();
    let mut chunks = tls_at(&world, address).await;
    chunks
        .write_all(b"POST /v1/enrol/start HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n")
        .await
        .unwrap();
    for slow in [&mut headers, &mut body, &mut chunks] {
        slow.flush().await.unwrap();
    }
    let first = async {
        assert!(!ends("no handshake", no_handshake).await.contains("200 OK"));
        assert!(
            !ends("half a handshake", half_handshake)
                .await
                .contains("200 OK")
        );
    };
    let second = async {
        assert!(!ends("no request", nothing).await.contains("200 OK"));
        assert!(!ends("slow headers", headers).await.contains("200 OK"));
        assert!(!ends("slow body", body).await.contains("200 OK"));
        assert!(!ends("slow chunks", chunks).await.contains("200 OK"));
    };
    tokio::join!(first, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn w2_one_address_cannot_take_every_connection_and_gets_its_share_back() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(8192), hard).unwrap();
    let world = World::new().await;
    let mut held = Vec::new();
    for _ in 0..512 {
        held.push(TcpStream::connect(world.address).await.unwrap());
    }
    // Beyond the share: closed without a word, while they who came before it are still let try.
    let beyond = TcpStream::connect(world.address).await.unwrap();
    assert_eq!(ends("beyond the share", beyond).await, "");
    let before = held.last().unwrap().try_read(&mut [0]);
    assert_eq!(
        before.map_err(|error| error.kind()),
        Err(std::io::ErrorKind::WouldBlock),
        "it was let in and timed out instead"
    );
    drop(held);
    let came_back = async {
        loop {
            let stream = TcpStream::connect(world.address).await.unwrap();
            let connected = tokio_rustls::TlsConnector::from(Arc::clone(&world.client))
                .connect("127.0.0.1".try_into().unwrap(), stream)
                .await;
            if connected.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(180), came_back)
        .await
        .expect("the share is given back");
}

fn hostile_text() -> String {
    let texts = [
        "",
        " ",
        "\0",
        "\u{1b}[2J",
        "../../etc/passwd",
        "-oProxyCommand=id",
        "a@b@c",
        "_probe",
        "%n%s",
        "\u{202e}",
        "SHA256:",
        "9999999999999999999999",
        "{}",
        "ssh-ed25519 AAAA",
    ];
    match OsRng.next_u32() as usize % (texts.len() + 2) {
        n if n < texts.len() => texts[n].to_owned(),
        n if n == texts.len() => "x".repeat(70_000),
        _ => {
            let mut bytes = vec![0; OsRng.next_u32() as usize % 60];
            OsRng.fill_bytes(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        }
    }
}

fn hostile() -> Value {
    match OsRng.next_u32() % 8 {
        0 => Value::Null,
        1 => json!(OsRng.next_u64()),
        2 => json!(-1),
        3 => json!(i64::MIN),
        4 => json!([hostile_text()]),
        5 => json!({"employee": hostile_text()}),
        _ => json!(hostile_text()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w3_no_json_at_an_employees_door_panics_the_server() {
    let world = World::new().await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let session = world.login(&alice).await;
    for round in 0..40 {
        for path in DOORS {
            let mut body = match path {
                "/v1/login" => world.login_body(&alice).await,
                "/v1/renew" => world.renew_body(&session).await,
                "/v1/logout" => json!({"session_id": session.id, "session_secret": session.secret}),
                "/v1/enrol/start" => json!({"code": "x"}),
                "/v1/admin" => every_command().swap_remove(round % 40),
                _ => {
                    json!({"email": alice.email, "password": "p", "totp": "123456", "new_password": "q", "code": "c"})
                }
            };
            let fields: Vec<String> = body.as_object().unwrap().keys().cloned().collect();
            let field = &fields[OsRng.next_u32() as usize % fields.len()];
            body[field] = hostile();
            let bytes = if round % 3 == 0 {
                let mut bytes = body.to_string().into_bytes();
                let at = OsRng.next_u32() as usize % bytes.len();
                bytes[at] = (OsRng.next_u32() & 0xff) as u8;
                bytes
            } else {
                body.to_string().into_bytes()
            };
            // A connection of its own each: who is refused before the body was read finds theirs closed afterwards.
            let answer = world.send("POST", path, &[], bytes.clone().into()).await;
            assert!(
                (200..500).contains(&answer.status),
                "{path} {}: {} {}",
                String::from_utf8_lossy(&bytes),
                answer.status,
                answer.text()
            );
        }
    }
    assert_eq!(
        world.send("GET", "/v1/ca", &[], "".into()).await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn w3_no_bytes_on_the_wire_end_the_server() {
    let world = World::new().await;
    for round in 0..60 {
        let mut bytes = vec![0; 1 + OsRng.next_u32() as usize % 400];
        OsRng.fill_bytes(&mut bytes);
        let heads: [&[u8]; 5] = [
            b"",
            b"POST /v1/login HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
            b"POST /v1/login HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
            b"GET /v1/ca HTTP/9.9\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ];
        let head = heads[round % heads.len()];
        if round % 2 == 0 {
            let mut stream = tls(&world).await;
            // The server may end it before all is written.
            drop(stream.write_all(&[head, &bytes].concat()).await);
            drop(stream.flush().await);
        } else {
            let mut stream = TcpStream::connect(world.address).await.unwrap();
            drop(stream.write_all(&bytes).await);
        }
    }
    assert_eq!(
        world.send("GET", "/v1/ca", &[], "".into()).await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn w3_no_admin_command_panics_whatever_its_fields_say() {
    let world = World::new().await;
    world.pool("web").await;
    world.employee("zoe@corp.example", &["web"]).await;
    let console = Peer::Socket(nix::unistd::geteuid().as_raw());
    for command in every_command() {
        let fields: Vec<String> = command.as_object().unwrap().keys().cloned().collect();
        for field in fields.iter().filter(|field| *field != "verb") {
            for _ in 0..6 {
                let mut one = command.clone();
                one[field] = hostile();
                let (status, text) =
                    ask(&world, console, "POST", "/v1/admin", None, &one.to_string()).await;
                match status.as_u16() {
                    400 => {}
                    200 => {
                        let last: Value =
                            serde_json::from_str(text.lines().last().unwrap_or_default())
                                .unwrap_or_default();
                        let event = last["event"].as_str().unwrap_or_default();
                        assert!(
                            matches!(event, "done" | "failed"),
                            "{one}: the command ended without an answer: {text}"
                        );
                        assert_ne!(last["error"]["code"], "unavailable", "{one}: {text}");
                    }
                    other => panic!("{one}: {other} {text}"),
                }
            }
        }
    }
    // S5: whatever was said, nothing that reaches a terminal can steer it.
    for line in world.ledger(5000).await {
        for text in [&line.actor, &line.about, &line.detail, &line.event] {
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
}
