//! The client over real TLS 1.3: whom it trusts, when it asks for a login, and what it remembers.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use ca_api::{
    AdminLogin, Secret,
    admin::{AdminReply, AdminRequest},
};
use ca_server::cli::{
    args::Url,
    client::{
        ClientError,
        memory::{Known, Memory, MemoryError},
        remote::Remote,
        tls::fingerprint,
    },
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::net::TcpListener;

use crate::server::{Answer, Script};

const NOW_UNIX: i64 = 1_795_000_000;

struct Ca {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

fn new_ca() -> Ca {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("signed").der().clone();
    Ca {
        certificate,
        issuer: Issuer::new(params, key),
    }
}

/// Serves TLS with a leaf for `name`, signed by `signer`, and sends `shown` as the rest of the chain.
async fn serve(script: &Script, signer: &Ca, shown: &Ca, name: &str) -> SocketAddr {
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let key = KeyPair::generate().expect("a key");
    let leaf = params
        .signed_by(&key, &signer.issuer)
        .expect("signed")
        .der()
        .clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf, shown.certificate.clone()], key)
        .expect("a chain");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let script = script.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, script) = (acceptor.clone(), script.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    script.serve(stream).await;
                }
            });
        }
    });
    address
}

fn url(address: SocketAddr) -> Url {
    Url {
        host: "127.0.0.1".to_owned(),
        port: address.port(),
    }
}

fn memory(folder: &Path) -> Memory {
    Memory::load(folder.join("ssh-ca/admin.json")).expect("a memory")
}

fn session(token: &str, secs: i64) -> Answer {
    Answer::json(
        200,
        &json!({ "token": token, "ends_unix": NOW_UNIX + secs }),
    )
}

/// Asks once; returns the answer and how often a person was asked to log in, with the email that was proposed.
async fn ask(
    folder: &Path,
    url: &Url,
    given: Option<&str>,
    now_unix: i64,
) -> (Result<AdminReply, ClientError>, Vec<Option<String>>) {
    let mut logins = Vec::new();
    let mut login = |last: Option<&str>| {
        logins.push(last.map(str::to_owned));
        Ok(AdminLogin {
            email: "root@corp.example".to_owned(),
            password: Secret::new("correct horse battery".to_owned()),
            totp: Secret::new("123456".to_owned()),
        })
    };
    let reply = match Remote::new(url.clone(), given.map(str::to_owned), memory(folder)) {
        Ok(mut remote) => {
            remote
                .ask(
                    &AdminRequest::PoolList {},
                    now_unix,
                    &mut login,
                    &mut |_| {},
                )
                .await
        }
        Err(error) => Err(error),
    };
    (reply, logins)
}

#[tokio::test]
async fn one_login_serves_many_commands_and_is_kept_0600() {
    let folder = tempfile::tempdir().expect("a folder");
    let pools = Answer::done("pools", &json!([]));
    let script = Script::new(vec![
        session("t1", 900),
        pools.clone(),
        pools.clone(),
        session("t2", 1800),
        pools.clone(),
    ]);
    let ca = new_ca();
    let url = url(serve(&script, &ca, &ca, "127.0.0.1").await);
    let print = fingerprint(&ca.certificate);

    let (reply, logins) = ask(folder.path(), &url, Some(&print), NOW_UNIX).await;
    assert!(matches!(reply, Ok(AdminReply::Pools(_))), "{reply:?}");
    assert_eq!(logins, [None]);
    let file = folder.path().join("ssh-ca/admin.json");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().expect("a folder")), 0o700);

    // Neither fingerprint nor login the second time.
    let (reply, logins) = ask(folder.path(), &url, None, NOW_UNIX + 899).await;
    assert!(reply.is_ok(), "{reply:?}");
    assert_eq!(logins, []);

    // Over by the clock: asked again, with the last email proposed.
    let (reply, logins) = ask(folder.path(), &url, None, NOW_UNIX + 900).await;
    assert!(reply.is_ok(), "{reply:?}");
    assert_eq!(logins, [Some("root@corp.example".to_owned())]);

    let asked = script.asked();
    let lines: Vec<_> = asked
        .iter()
        .map(|asked| (asked.line.as_str(), asked.authorization.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            ("POST /v1/admin/login", ""),
            ("POST /v1/admin", "Bearer t1"),
            ("POST /v1/admin", "Bearer t1"),
            ("POST /v1/admin/login", ""),
            ("POST /v1/admin", "Bearer t2"),
        ]
    );
    let login = json!({ "email": "root@corp.example", "password": "correct horse battery", "totp": "123456" });
    assert_eq!(asked[0].body, login);
    assert_eq!(asked[0].host, format!("127.0.0.1:{}", url.port));
    let remembered = std::fs::read_to_string(&file).expect("readable");
    assert!(!remembered.contains("correct horse"), "{remembered}");
}

#[tokio::test]
async fn a_session_that_the_server_ended_is_opened_anew_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = Answer::json(
        401,
        &json!({ "code": "refused", "message": "not logged in" }),
    );
    let script = Script::new(vec![
        session("t1", 900),
        Answer::done("pools", &json!([])),
        refused.clone(),
        session("t2", 900),
        refused,
    ]);
    let ca = new_ca();
    let url = url(serve(&script, &ca, &ca, "127.0.0.1").await);
    let print = fingerprint(&ca.certificate);
    assert!(
        ask(folder.path(), &url, Some(&print), NOW_UNIX)
            .await
            .0
            .is_ok()
    );
    let (reply, logins) = ask(folder.path(), &url, None, NOW_UNIX + 1).await;
    assert!(matches!(reply, Err(ClientError::Api(_))), "{reply:?}");
    assert_eq!(logins.len(), 1);
    assert_eq!(script.asked().len(), 5);
}

#[tokio::test]
async fn c2_only_the_pinned_server_is_spoken_to() {
    let script = Script::new(vec![session("t1", 900)]);
    let (ca, other) = (new_ca(), new_ca());
    let print = fingerprint(&ca.certificate);
    let servers = [
        (
            "another CA",
            serve(&script, &other, &other, "127.0.0.1").await,
        ),
        // Whoever saw the pinned certificate can send it along: it must have signed the leaf.
        (
            "a chain for show",
            serve(&script, &other, &ca, "127.0.0.1").await,
        ),
        ("another name", serve(&script, &ca, &ca, "127.0.0.2").await),
    ];
    for (what, address) in servers {
        let folder = tempfile::tempdir().expect("a folder");
        let (reply, logins) = ask(folder.path(), &url(address), Some(&print), NOW_UNIX).await;
        assert!(
            matches!(reply, Err(ClientError::Tls { .. })),
            "{what}: {reply:?}"
        );
        assert_eq!(logins.len(), 0, "{what}: nobody types a password for it");
        assert!(
            !folder.path().join("ssh-ca/admin.json").exists(),
            "{what}: nothing is remembered"
        );
    }
    assert_eq!(script.asked().len(), 0);
}

#[tokio::test]
async fn c2_there_is_no_trust_on_first_use() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = Script::new(vec![session("t1", 900)]);
    let ca = new_ca();
    let url = url(serve(&script, &ca, &ca, "127.0.0.1").await);
    let (reply, _) = ask(folder.path(), &url, None, NOW_UNIX).await;
    let error = reply.expect_err("not pinned");
    assert!(matches!(error, ClientError::NotPinned { .. }));
    assert!(error.hint().contains("--fingerprint"), "{}", error.hint());
    assert_eq!(script.asked().len(), 0);
}

#[tokio::test]
async fn c2_a_session_is_never_shown_to_a_server_pinned_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = Script::new(vec![session("new", 900), Answer::done("pools", &json!([]))]);
    let (ca, before) = (new_ca(), new_ca());
    let url = url(serve(&script, &ca, &ca, "127.0.0.1").await);
    let known = Known {
        fingerprint: fingerprint(&before.certificate),
        email: Some("root@corp.example".to_owned()),
        token: Some(Secret::new("old".to_owned())),
        ends_unix: NOW_UNIX + 900,
    };
    memory(folder.path())
        .remember(&url.to_string(), known)
        .expect("remembered");
    let given = fingerprint(&ca.certificate);
    let (reply, logins) = ask(folder.path(), &url, Some(&given), NOW_UNIX).await;
    assert!(reply.is_ok(), "{reply:?}");
    assert_eq!(logins.len(), 1);
    let tokens: Vec<_> = script
        .asked()
        .iter()
        .map(|asked| asked.authorization.clone())
        .collect();
    assert_eq!(tokens, ["", "Bearer new"]);
    // From now on the new fingerprint is the remembered one.
    assert!(ask(folder.path(), &url, None, NOW_UNIX).await.0.is_ok());
}

#[test]
fn k2_a_memory_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.json");
    std::fs::write(&path, "{}").expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
    assert!(matches!(
        Memory::load(path.clone()),
        Err(MemoryError::TooOpen { mode: 0o640, .. })
    ));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
    assert!(Memory::load(path.clone()).is_ok());
    std::fs::write(&path, "{").expect("written");
    assert!(matches!(
        Memory::load(path),
        Err(MemoryError::Damaged { .. })
    ));
}
