//! Who finds a path to a server whose TLS CA was replaced: judged by rustls's own verifier, in real handshakes.

use ca_api::Secret;
use rustls::{ClientConnection, RootCertStore, ServerConnection};

use super::*;
use crate::keys;

fn names() -> Vec<String> {
    vec!["ca.corp.example".to_owned()]
}

/// Does a client that pinned this CA certificate finish a handshake?
fn connects(server: &Arc<ServerConfig>, pinned: &CertificateDer<'static>) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(pinned.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "ca.corp.example".try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            if server.process_new_packets().is_err() {
                return false;
            }
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            if client.process_new_packets().is_err() {
                return false;
            }
        }
        if !client.is_handshaking() && !server.is_handshaking() {
            return true;
        }
    }
    false
}

#[test]
fn c2_who_pinned_the_old_ca_or_the_new_one_connects_until_the_old_one_is_retired() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::create(&dir.path().join("ca")).unwrap();
    let seal = keys::create(&folder, &Secret::new("a passphrase for tests".into()))
        .unwrap()
        .seal;
    let now = OffsetDateTime::now_utc();
    let one = Tls::create(&folder, &seal, now).unwrap();
    let two = one.make_successor(&folder, &seal, 2, now).unwrap();
    let three = two.make_successor(&folder, &seal, 3, now).unwrap();
    let foreign = Tls::make(&folder, &seal, 9, now).unwrap();
    let reaches = |tls: &Tls| {
        let server = tls.leaf(&names(), now).unwrap();
        [&one, &two, &three, &foreign].map(|pinned| connects(&server, &pinned.ca))
    };
    assert_eq!(reaches(&one), [true, false, false, false]);
    assert_eq!(reaches(&two), [true, true, false, false]);
    assert_eq!(reaches(&three), [true, true, true, false]);
    assert_eq!(one.announced(), None);
    assert!(
        three
            .announced()
            .is_some_and(|pem| pem.ends_with("CERTIFICATE-----\n"))
    );
    // As they are opened at the next start, and after the first has been retired, and then the second.
    let opened = |current, retiring: &[u32]| {
        let line = Line {
            current,
            retiring: retiring.to_vec(),
        };
        Tls::open(&folder, &seal, &line).unwrap()
    };
    let again = opened(3, &[2, 1]);
    assert_eq!(again.fingerprint(), three.fingerprint());
    assert_eq!(reaches(&again), [true, true, true, false]);
    assert_eq!(reaches(&opened(3, &[2])), [false, true, true, false]);
    assert_eq!(reaches(&opened(3, &[])), [false, false, true, false]);
    assert_eq!(reaches(&again.alone()), [false, false, true, false]);
    // A key that is gone signs no leaf, and is needed for no path.
    forget(&folder, 1).unwrap();
    forget(&folder, 1).unwrap();
    assert!(Tls::open(&folder, &seal, &Line::default()).is_err());
    assert_eq!(reaches(&opened(3, &[2, 1])), [true, true, true, false]);
    // Someone who pinned the new CA finds no path to a server that went back to the old one.
    assert!(!connects(
        &opened(2, &[]).leaf(&names(), now).unwrap(),
        &three.ca
    ));
}
