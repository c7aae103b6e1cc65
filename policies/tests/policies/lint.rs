//! The second parse sees every field that is not what was decided, although the CA itself signed it.

use std::collections::BTreeMap;

use policies::{Blueprint, KeyRefusal, LintError};
use ssh_key::{
    certificate::{Builder, CertType},
    public::KeyData,
};

use crate::{
    build::*,
    keys::{probe, rsa},
    profile::*,
};

/// A certificate's fields, to be written with one of them changed.
#[derive(Clone)]
struct Fields {
    nonce: Vec<u8>,
    key: KeyData,
    serial: u64,
    cert_type: CertType,
    key_id: String,
    principals: Vec<String>,
    after: u64,
    before: u64,
    critical: BTreeMap<String, String>,
    extensions: BTreeMap<String, String>,
    comment: String,
    ca: u8,
}

impl Fields {
    fn of(blueprint: &Blueprint) -> Self {
        Self {
            nonce: NONCE.to_vec(),
            key: blueprint.subject().clone(),
            serial: blueprint.serial().number(),
            cert_type: blueprint.cert_type(),
            key_id: blueprint.key_id().to_string(),
            principals: blueprint.principals(),
            after: blueprint.valid_after_unix_secs(),
            before: blueprint.valid_before_unix_secs(),
            critical: blueprint.critical_options().clone(),
            extensions: blueprint.extensions().clone(),
            comment: blueprint.comment(),
            ca: CA,
        }
    }

    /// Really signed by the CA: the signature is right, only the content is not what was decided.
    fn sign(&self) -> String {
        let mut builder = Builder::new(
            self.nonce.clone(),
            self.key.clone(),
            self.after,
            self.before,
        )
        .unwrap();
        builder
            .serial(self.serial)
            .unwrap()
            .cert_type(self.cert_type)
            .unwrap();
        builder
            .key_id(&self.key_id)
            .unwrap()
            .comment(&self.comment)
            .unwrap();
        if self.principals.is_empty() {
            builder.all_principals_valid().unwrap();
        }
        for principal in &self.principals {
            builder.valid_principal(principal).unwrap();
        }
        for (name, value) in &self.critical {
            builder.critical_option(name, value).unwrap();
        }
        for (name, value) in &self.extensions {
            builder.extension(name, value).unwrap();
        }
        builder.sign(&key(self.ca)).unwrap().to_openssh().unwrap()
    }
}

fn refused(change: impl FnOnce(&mut Fields)) -> LintError {
    refused_of(blueprint(), change)
}

fn refused_of(blueprint: Blueprint, change: impl FnOnce(&mut Fields)) -> LintError {
    let mut fields = Fields::of(&blueprint);
    assert!(
        check(&fields.sign(), &blueprint).is_ok(),
        "unchanged it passes"
    );
    change(&mut fields);
    check(&fields.sign(), &blueprint).expect_err("a change was not seen")
}

#[test]
fn i4_what_was_decided_passes() {
    for blueprint in [
        blueprint(),
        host(),
        probe("probe/web-1", "ssh-ca-probe@web").unwrap(),
    ] {
        let certificate = check(&signed(&blueprint), &blueprint).unwrap();
        assert_eq!(certificate.serial(), serial().number());
        assert_eq!(certificate.valid_principals(), blueprint.principals());
        assert_eq!(certificate.comment(), blueprint.key_id().to_string());
    }
}

#[test]
fn i4_every_changed_field_is_seen_although_the_ca_signed_it() {
    use LintError::Differs;
    assert_eq!(
        refused(|f| f.key = public(7).key_data().clone()),
        Differs("key")
    );
    assert_eq!(refused(|f| f.serial += 1), Differs("serial"));
    assert_eq!(
        refused(|f| f.key_id = "alice@corp.example/8".to_owned()),
        Differs("key ID")
    );
    assert_eq!(
        refused(|f| f.principals[0] = "bob@web".to_owned()),
        Differs("list of principals")
    );
    assert_eq!(
        refused(|f| f.principals.push("root@web".to_owned())),
        Differs("list of principals")
    );
    assert_eq!(
        refused(|f| drop(f.principals.pop())),
        Differs("list of principals")
    );
    assert_eq!(
        refused(|f| f.principals.reverse()),
        Differs("list of principals")
    );
    assert_eq!(refused(|f| f.after -= 1), Differs("beginning"));
    assert_eq!(refused(|f| f.after += 1), Differs("beginning"));
    assert_eq!(refused(|f| f.before += 1), Differs("end"));
    assert_eq!(refused(|f| f.before -= 1), Differs("end"));
    assert_eq!(refused(|f| f.comment = "x".to_owned()), Differs("comment"));
    assert_eq!(refused(|f| f.nonce = vec![9; 16]), LintError::Nonce(16));
    assert_eq!(refused(|f| f.ca = 2), LintError::OtherCa);
}

#[test]
fn i9_no_restriction_is_dropped_and_no_extension_added() {
    use LintError::Differs;
    assert_eq!(
        refused(|f| drop(f.critical.remove("force-command"))),
        Differs("critical options")
    );
    assert_eq!(
        refused(|f| drop(f.critical.remove("source-address"))),
        Differs("critical options")
    );
    assert_eq!(
        refused(|f| drop(
            f.critical
                .insert("source-address".to_owned(), "0.0.0.0/0".to_owned())
        )),
        Differs("critical options")
    );
    assert_eq!(
        refused(|f| drop(
            f.extensions
                .insert("permit-port-forwarding".to_owned(), String::new())
        )),
        Differs("extensions")
    );
    assert_eq!(
        refused(|f| drop(f.extensions.remove("permit-pty"))),
        Differs("extensions")
    );
    assert_eq!(
        refused(|f| drop(f.extensions.insert("permit-pty".to_owned(), "x".to_owned()))),
        Differs("extensions")
    );
    for foreign in ["no-touch-required", "login@github.com", "permit-everything"] {
        let said = refused(|f| drop(f.extensions.insert(foreign.to_owned(), String::new())));
        assert_eq!(said, LintError::Option(foreign.to_owned()));
        let said = refused(|f| drop(f.critical.insert(foreign.to_owned(), String::new())));
        assert_eq!(said, LintError::Option(foreign.to_owned()));
    }
}

#[test]
fn i9_a_demand_for_a_security_key_is_neither_dropped_nor_put_on_a_plain_key() {
    let blueprint = || {
        let subject = subject(&security_key());
        Blueprint::of(&security_key_order(), serial(), &subject).unwrap()
    };
    assert_eq!(
        refused_of(blueprint(), |f| f.critical.clear()),
        LintError::Differs("critical options")
    );
    assert_eq!(
        refused_of(blueprint(), |f| drop(
            f.critical
                .insert("verify-required".to_owned(), "x".to_owned())
        )),
        LintError::Differs("critical options")
    );
    assert_eq!(
        refused_of(blueprint(), |f| f.key = public(5).key_data().clone()),
        LintError::PlainKey
    );
    assert_eq!(
        refused(|f| drop(
            f.critical
                .insert("verify-required".to_owned(), String::new())
        )),
        LintError::PlainKey
    );
}

#[test]
fn i1_i2_principals_none_too_many_malformed() {
    assert_eq!(
        refused(|f| f.principals.clear()),
        LintError::PrincipalCount(0)
    );
    let many = (0..257).map(|n| format!("alice@p{n}")).collect();
    assert_eq!(
        refused(|f| f.principals = many),
        LintError::PrincipalCount(257)
    );
    for bad in [
        "alice",
        "",
        "alice@web,root@web",
        "Alice@web",
        "alice@",
        "@web",
        "alice@web ",
        "*",
    ] {
        let said = refused(|f| f.principals = vec![bad.to_owned()]);
        assert!(matches!(said, LintError::Principal(_)), "{bad}: {said}");
    }
}

#[test]
fn i5_i7_serial_type_and_time() {
    assert!(matches!(refused(|f| f.serial = 0), LintError::Serial(_)));
    assert!(matches!(
        refused(|f| f.serial = 1 << 63),
        LintError::Serial(_)
    ));
    assert!(matches!(
        refused(|f| f.before = f.after + 400 * 86_400),
        LintError::Lifetime { .. }
    ));
    assert!(matches!(
        refused(|f| f.before = i64::MAX as u64),
        LintError::Lifetime { .. }
    ));
    // A host certificate's names are no principals, and the other way round.
    assert!(matches!(
        refused(|f| f.cert_type = CertType::Host),
        LintError::HostName(_)
    ));
    let mut fields = Fields::of(&host());
    fields.cert_type = CertType::User;
    assert!(matches!(
        check(&fields.sign(), &host()),
        Err(LintError::Principal(_))
    ));
}

#[test]
fn i8_a_key_that_is_never_certified_is_seen_in_the_signed_certificate_too() {
    assert!(matches!(
        refused(|f| f.key = public(CA).key_data().clone()),
        LintError::Key(KeyRefusal::CaKey)
    ));
    let short = refused(|f| f.key = rsa(&[0xff; 256], &[1, 0, 1]));
    assert!(matches!(
        short,
        LintError::Key(KeyRefusal::RsaTooShort { bits: 2048 })
    ));
}
