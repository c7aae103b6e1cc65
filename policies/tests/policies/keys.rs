//! Which keys are certified, and what probes and machines may carry.

use std::collections::BTreeSet;

use policies::{
    Blueprint, BlueprintError, KeyId, KeyKind, KeyRefusal, Principals, Subject, acceptable_subject,
};
use ssh_key::{
    Mpint, PublicKey,
    public::{DsaPublicKey, EcdsaPublicKey, KeyData, RsaPublicKey},
};

use crate::{build::*, profile::*};

pub fn rsa(modulus: &[u8], exponent: &[u8]) -> KeyData {
    KeyData::Rsa(RsaPublicKey {
        e: Mpint::from_positive_bytes(exponent).unwrap(),
        n: Mpint::from_positive_bytes(modulus).unwrap(),
    })
}

pub fn blob(fields: &[&[u8]]) -> PublicKey {
    let mut bytes = Vec::new();
    for field in fields {
        bytes.extend((field.len() as u32).to_be_bytes());
        bytes.extend_from_slice(field);
    }
    PublicKey::from_bytes(&bytes).unwrap()
}

fn curve(length: usize) -> Vec<u8> {
    let mut point = vec![3; length];
    point[0] = 4;
    point
}

fn accepted(key: &PublicKey) -> Result<Subject, KeyRefusal> {
    acceptable_subject(key, [public(CA).key_data(), public(2).key_data()])
}

#[test]
fn i8_allowed_keys_are_certified_and_their_certificates_pass() {
    let ecdsa = |length| KeyData::Ecdsa(EcdsaPublicKey::from_sec1_bytes(&curve(length)).unwrap());
    let keys = [
        public(5),
        ecdsa(65).into(),
        ecdsa(97).into(),
        ecdsa(133).into(),
        rsa(&[0xff; 384], &[1, 0, 1]).into(),
        rsa(&[0xff; 512], &[1, 0, 1]).into(),
        blob(&[b"sk-ssh-ed25519@openssh.com", &[3; 32], b"ssh:"]),
        blob(&[
            b"sk-ecdsa-sha2-nistp256@openssh.com",
            b"nistp256",
            &curve(65),
            b"ssh:",
        ]),
    ];
    for key in keys {
        let subject =
            accepted(&key).unwrap_or_else(|refusal| panic!("{}: {refusal}", key.algorithm()));
        let blueprint = Blueprint::of(&order(), serial(), &subject).unwrap();
        check(&signed(&blueprint), &blueprint)
            .unwrap_or_else(|error| panic!("{}: {error}", key.algorithm()));
    }
}

#[test]
fn i9_a_demand_for_a_security_key_is_carried_and_such_a_certificate_is_for_one_only() {
    let order = security_key_order();
    for kind in [
        blob(&[b"sk-ssh-ed25519@openssh.com", &[3; 32], b"ssh:"]),
        blob(&[
            b"sk-ecdsa-sha2-nistp256@openssh.com",
            b"nistp256",
            &curve(65),
            b"ssh:",
        ]),
    ] {
        let subject = accepted(&kind).unwrap();
        assert_eq!(subject.kind(), KeyKind::SecurityKey);
        let blueprint = Blueprint::of(&order, serial(), &subject).unwrap();
        assert_eq!(blueprint.critical_options()["verify-required"], "");
        assert_eq!(blueprint.conditions(), Some(order.conditions()));
        check(&signed(&blueprint), &blueprint).unwrap();
        // Any key is served where none is demanded, and nothing is demanded of it then.
        let plain = Blueprint::of(&crate::profile::order(), serial(), &subject).unwrap();
        assert!(!plain.critical_options().contains_key("verify-required"));
    }
    let rsa: PublicKey = rsa(&[0xff; 384], &[1, 0, 1]).into();
    for plain in [public(5), rsa] {
        let subject = accepted(&plain).unwrap();
        assert_eq!(subject.kind(), KeyKind::Plain);
        assert_eq!(
            Blueprint::of(&order, serial(), &subject),
            Err(BlueprintError::PlainKey)
        );
    }
}

#[test]
fn i8_ca_keys_dsa_short_rsa_and_certificates_are_refused() {
    assert_eq!(accepted(&public(CA)), Err(KeyRefusal::CaKey));
    assert_eq!(accepted(&public(2)), Err(KeyRefusal::CaKey));
    let commented = PublicKey::new(public(CA).key_data().clone(), "not a CA, honest");
    assert_eq!(accepted(&commented), Err(KeyRefusal::CaKey));

    let mut just_short = vec![0xff; 384];
    just_short[0] = 0x7f;
    assert_eq!(
        accepted(&rsa(&just_short, &[1, 0, 1]).into()),
        Err(KeyRefusal::RsaTooShort { bits: 3071 })
    );
    assert_eq!(
        accepted(&rsa(&[0xff; 128], &[3]).into()),
        Err(KeyRefusal::RsaTooShort { bits: 1024 })
    );
    let mut even = vec![0xff; 384];
    even[383] = 0xfe;
    assert_eq!(
        accepted(&rsa(&even, &[3]).into()),
        Err(KeyRefusal::RsaMalformed)
    );
    assert_eq!(
        accepted(&rsa(&[0xff; 384], &[4]).into()),
        Err(KeyRefusal::RsaMalformed)
    );
    assert_eq!(
        accepted(&rsa(&[0xff; 384], &[1]).into()),
        Err(KeyRefusal::RsaMalformed)
    );
    assert_eq!(
        accepted(&rsa(&[0xff; 384], &[]).into()),
        Err(KeyRefusal::RsaMalformed)
    );
    assert_eq!(
        accepted(&rsa(&[0xff; 2049], &[3]).into()),
        Err(KeyRefusal::RsaMalformed)
    );

    let number = || Mpint::from_positive_bytes(&[0xff; 128]).unwrap();
    let dsa = DsaPublicKey {
        p: number(),
        q: number(),
        g: number(),
        y: number(),
    };
    let refusal = accepted(&KeyData::Dsa(dsa).into()).unwrap_err();
    assert_eq!(
        refusal,
        KeyRefusal::Algorithm {
            algorithm: "ssh-dss".to_owned()
        }
    );

    // A certificate, where a key is expected: ssh-key reads it as a key of an unknown kind, or not at all.
    if let Ok(certificate) = PublicKey::from_openssh(&signed(&blueprint())) {
        assert!(matches!(
            accepted(&certificate),
            Err(KeyRefusal::Algorithm { .. })
        ));
    }
    let unknown = blob(&[b"new@example.com", b"x"]);
    assert!(matches!(
        accepted(&unknown),
        Err(KeyRefusal::Algorithm { .. })
    ));
}

pub fn probe(key_id: &str, principal: &str) -> Result<Blueprint, BlueprintError> {
    let principals = Principals::from(principal.parse::<policies::Principal>().unwrap());
    let key_id: KeyId = key_id.parse().unwrap();
    Blueprint::probe(
        serial(),
        key_id,
        &subject(&public(5)),
        principals,
        NOW_SECS - 60,
        NOW_SECS + 600,
    )
}

#[test]
fn p6_a_probe_opens_nobodys_account() {
    assert!(probe("canary/good", "ssh-ca-probe@_canary").is_ok());
    assert!(
        probe("probe/web-1", "ssh-ca-probe@web")
            .unwrap()
            .extensions()
            .is_empty()
    );
    assert!(matches!(
        probe("probe/web-1", "root@web"),
        Err(BlueprintError::NotOurAccount(_))
    ));
    assert!(matches!(
        probe("probe/web-1", "ssh-admin@web"),
        Err(BlueprintError::NotOurAccount(_))
    ));
    for other in ["alice@corp.example/1", "host/web-1"] {
        assert!(matches!(
            probe(other, "ssh-ca-probe@web"),
            Err(BlueprintError::NotAProbe(_))
        ));
    }
}

#[test]
fn i7_probes_and_hosts_have_an_end() {
    let principals =
        || Principals::from("ssh-ca-probe@web".parse::<policies::Principal>().unwrap());
    let probe = |after, before| {
        Blueprint::probe(
            serial(),
            "probe/x".parse().unwrap(),
            &subject(&public(5)),
            principals(),
            after,
            before,
        )
    };
    let host = |after, before| {
        let names = BTreeSet::from(["web-1".to_owned()]);
        Blueprint::host(
            serial(),
            &"web-1".parse().unwrap(),
            &subject(&public(5)),
            names,
            after,
            before,
        )
    };
    for make in [&probe as &dyn Fn(u64, u64) -> _, &host] {
        assert!(make(100, 101).is_ok());
        for (after, before) in [
            (100, 100),
            (101, 100),
            (0, u64::MAX),
            (u64::MAX, 0),
            (u64::MAX - 1, u64::MAX),
        ] {
            assert!(
                matches!(make(after, before), Err(BlueprintError::Lifetime { .. })),
                "{after} {before}"
            );
        }
    }
    assert!(probe(0, 24 * 3600).is_ok());
    assert!(probe(0, 24 * 3600 + 1).is_err());
}

#[test]
fn h7_host_names() {
    let host = |name: &str| {
        let names = BTreeSet::from([name.to_owned()]);
        Blueprint::host(
            serial(),
            &"web-1".parse().unwrap(),
            &subject(&public(5)),
            names,
            0,
            60,
        )
    };
    for good in ["web-1", "web-1.corp.example", "10.0.0.1", "fd00::1"] {
        assert!(host(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "*",
        "*.corp.example",
        "Web-1",
        "web-1,web-2",
        "web_1",
        "[10.0.0.1]:22",
        "FD00::1",
        "a b",
    ] {
        assert!(
            matches!(host(bad), Err(BlueprintError::HostName(_))),
            "{bad}"
        );
    }
    let none = Blueprint::host(
        serial(),
        &"web-1".parse().unwrap(),
        &subject(&public(5)),
        BTreeSet::new(),
        0,
        60,
    );
    assert_eq!(none, Err(BlueprintError::HostCount(0)));
}
