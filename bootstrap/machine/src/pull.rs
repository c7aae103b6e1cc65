//! What a machine fetches by itself: the very objects that are pushed, as a few files of any web server.
//!
//! ```text
//! PLACE/head      `ssh-ca-head v1`, then the SHA-256 of krl, bundle and order: a hint what is new, and nothing else
//! PLACE/krl       SSHSIG in PEM, directly followed by the KRL parcel that it signs
//! PLACE/order     the same with an order that waits for the machine; empty where none does, and then not in the hint
//! PLACE/bundle    the same with the machine's bundle
//! PLACE/successions   what leads from any earlier fleet key to the newest; asked for where a signature does not hold, never sealed
//! ```
//!
//! Signature and object are one file, so that a mirror never serves one without the other. What is genuine is the applier's to say, on the
//! machine, with the fleet key: neither the web server, nor TLS, nor the hint is believed in anything.

mod secret;
mod settings;

pub use secret::{PullSecret, PullSecretError};
pub use settings::{PullSpec, PullUrl, PullUrlError, Source};

use sha2::{Digest, Sha256};

use crate::{
    bundle::manifest::hex,
    report::{Event, Report},
    sign::Signed,
    succession::encode_chain,
};

/// Names of the files below a machine's place, in the order in which they are written: the hint last.
pub const FILES: [&str; 5] = ["successions", "krl", "order", "bundle", "head"];

/// Whether whoever can read a file learns what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it was signed: a KRL names people, and a bundle accounts and sudo rules.
    Plain,
    /// For the machine's own secret alone ([`PullSecret::seal`]).
    Sealed,
}

/// The files of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// What is new.
    pub head: Vec<u8>,
    /// Signature and KRL parcel.
    pub krl: Vec<u8>,
    /// Signature and order; empty where none waits.
    pub order: Vec<u8>,
    /// Signature and bundle.
    pub bundle: Vec<u8>,
    /// Signed [`Succession`](crate::Succession)s, the oldest first; empty while the first fleet key signs.
    pub successions: Vec<u8>,
}

impl Files {
    /// The files that carry these objects. Equal objects make equal files.
    #[must_use]
    pub fn new(
        krl: &Signed,
        bundle: &Signed,
        successions: &[Signed],
        form: Form,
        secret: &PullSecret,
    ) -> Self {
        let (krl, bundle) = (file(krl, form, secret), file(bundle, form, secret));
        let head = format!(
            "ssh-ca-head v1\nkrl {}\nbundle {}\n",
            hex_sha256(&krl),
            hex_sha256(&bundle)
        );
        Self {
            head: head.into_bytes(),
            krl,
            order: Vec::new(),
            bundle,
            successions: encode_chain(successions),
        }
    }

    /// The same, with an order that waits for the machine.
    #[must_use]
    pub fn with_order(mut self, order: &Signed, form: Form, secret: &PullSecret) -> Self {
        self.order = file(order, form, secret);
        self.head
            .extend_from_slice(format!("order {}\n", hex_sha256(&self.order)).as_bytes());
        self
    }

    /// The bytes of the file with this name of [`FILES`].
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&[u8]> {
        match name {
            "krl" => Some(&self.krl),
            "order" => Some(&self.order),
            "bundle" => Some(&self.bundle),
            "head" => Some(&self.head),
            "successions" => Some(&self.successions),
            _ => None,
        }
    }
}

/// SHA-256, hex.
fn hex_sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn file(signed: &Signed, form: Form, secret: &PullSecret) -> Vec<u8> {
    match form {
        Form::Plain => parcel(signed),
        Form::Sealed => secret.seal(&parcel(signed)),
    }
}

/// Signature and object as one.
fn parcel(signed: &Signed) -> Vec<u8> {
    [signed.signature().as_bytes(), signed.object()].concat()
}

/// SSHSIG namespace of what a machine says of itself: signed with its own host key, which signs nothing else in it.
pub const REPORT_NAMESPACE: &str = "pull-report@ssh-ca";

/// The most bytes that such a report may have, with its signature.
pub const MAX_PULL_REPORT_BYTES: usize = 64 * 1024;

/// What a machine says after it has fetched: where it stands, under its host key's signature, with a nonce of the CA's that makes it fresh.
///
/// ```text
/// -----BEGIN SSH SIGNATURE-----
/// …
/// -----END SSH SIGNATURE-----
/// ssh-ca-pull-report v1
/// machine NAME
/// nonce NONCE
/// {"step":"state",…}          the applier's own lines, the last one `done` or `refused`
/// ```
///
/// The last report of all, of a machine that took the CA off itself because of an order that it had fetched, has no state: `did removed NUMBER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullReport {
    /// The signature, PEM.
    pub signature: String,
    /// What it signs.
    pub signed: Vec<u8>,
    /// Who says so.
    pub machine: String,
    /// The nonce that the CA gave out for it.
    pub nonce: String,
    /// Where the machine stands.
    pub report: Report,
}

/// Bytes that are no report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no report of a machine: {0}")]
pub struct PullReportError(&'static str);

impl PullReport {
    /// The number of the order by which it has taken the CA off itself, if that is what it says.
    #[must_use]
    pub fn removed_by(&self) -> Option<u64> {
        self.report.events.iter().find_map(|event| match event {
            Event::Did { name, detail } if name == "removed" => detail.parse().ok(),
            _ => None,
        })
    }
}

const END_OF_SIGNATURE: &str = "-----END SSH SIGNATURE-----\n";

impl PullReport {
    /// Reads a report, as foreign bytes. Whether its signature holds is the caller's to ask.
    ///
    /// # Errors
    /// [`PullReportError`] with what is missing.
    pub fn parse(bytes: &[u8]) -> Result<Self, PullReportError> {
        if bytes.len() > MAX_PULL_REPORT_BYTES {
            return Err(PullReportError("it is longer than 64 KiB"));
        }
        // Foreign words in it, as of a web server that the machine quotes, may be in any encoding: they keep no report from being heard.
        let end = bytes
            .windows(END_OF_SIGNATURE.len())
            .position(|window| window == END_OF_SIGNATURE.as_bytes())
            .ok_or(PullReportError("it has no signature"))?;
        let (signature, under) = bytes.split_at(end + END_OF_SIGNATURE.len());
        let signature = std::str::from_utf8(signature)
            .map_err(|_| PullReportError("its signature is no text"))?;
        let signed = String::from_utf8_lossy(under);
        let mut lines = signed.splitn(4, '\n');
        let mut line = |prefix: &str| lines.next().and_then(|line| line.strip_prefix(prefix));
        let magic = line("ssh-ca-pull-report v1");
        if magic != Some("") {
            return Err(PullReportError("its first line is another"));
        }
        let machine = line("machine ").ok_or(PullReportError("it names no machine"))?;
        let nonce = line("nonce ").ok_or(PullReportError("it has no nonce"))?;
        let rest = lines.next().unwrap_or_default();
        let report =
            Report::parse(rest.as_bytes()).map_err(|_| PullReportError("it is cut off"))?;
        Ok(Self {
            signature: signature.to_owned(),
            signed: under.to_vec(),
            machine: machine.to_owned(),
            nonce: nonce.to_owned(),
            report,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_core::OsRng;
    use ssh_key::{Algorithm, PrivateKey};

    use super::*;
    use crate::sign::Namespace;

    fn signed(namespace: Namespace, object: &[u8]) -> Signed {
        let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
        Signed::sign(&key, namespace, object.to_vec()).unwrap()
    }

    #[test]
    fn h8_equal_objects_make_equal_files_and_the_hint_names_both() {
        let secret = PullSecret::random();
        let (krl, bundle) = (
            signed(Namespace::Krl, b"krl"),
            signed(Namespace::Bundle, b"bundle"),
        );
        for form in [Form::Plain, Form::Sealed] {
            let files = Files::new(&krl, &bundle, &[], form, &secret);
            assert_eq!(files, Files::new(&krl, &bundle, &[], form, &secret));
            let head = String::from_utf8(files.head.clone()).unwrap();
            for name in ["krl", "bundle"] {
                let hash = hex_sha256(files.named(name).unwrap());
                assert!(head.contains(&format!("\n{name} {hash}\n")), "{head}");
            }
        }
        let plain = Files::new(&krl, &bundle, &[], Form::Plain, &secret);
        assert!(plain.krl.ends_with(b"-----END SSH SIGNATURE-----\nkrl"));
        let sealed = Files::new(&krl, &bundle, &[], Form::Sealed, &secret);
        assert!(!String::from_utf8_lossy(&sealed.krl).contains("SSH SIGNATURE"));
        assert_eq!(plain.named("../store"), None);
        // Where nothing waits, nothing is asked for.
        assert!(plain.order.is_empty() && !plain.head.windows(6).any(|part| part == b"order "));
        let order = signed(Namespace::Order, b"order");
        let waits = sealed.clone().with_order(&order, Form::Sealed, &secret);
        let head = String::from_utf8(waits.head.clone()).unwrap();
        assert!(head.ends_with(&format!("\norder {}\n", hex_sha256(&waits.order))));
        assert!(!String::from_utf8_lossy(&waits.order).contains("SSH SIGNATURE"));
    }

    #[test]
    fn a_report_is_read_with_what_its_signature_covers() {
        let text = "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\nssh-ca-pull-report v1\nmachine web-1\nnonce abc\n\
                    {\"step\":\"state\",\"krl_version\":7}\n{\"step\":\"done\"}\n";
        let report = PullReport::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (report.machine.as_str(), report.nonce.as_str()),
            ("web-1", "abc")
        );
        assert!(report.signed.starts_with(b"ssh-ca-pull-report v1\n"));
        assert_eq!(report.report.state().unwrap().krl_version, 7);
        for cut in [
            "machine web-1\n",
            "nonce abc\n",
            "ssh-ca-pull-report v1\n",
            "{\"step\":\"done\"}\n",
            "-----END SSH SIGNATURE-----\n",
        ] {
            assert!(
                PullReport::parse(text.replace(cut, "").as_bytes()).is_err(),
                "{cut}"
            );
        }
        assert!(PullReport::parse(text.replace("v1", "v10").as_bytes()).is_err());
    }

    #[test]
    fn r9_words_in_another_encoding_keep_no_report_from_being_heard() {
        let head = b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\nssh-ca-pull-report v1\nmachine web-1\nnonce n\n";
        let refused =
            b"{\"step\":\"refused\",\"code\":\"not-fetched\",\"detail\":\"404 \xff\xfe\"}\n";
        let bytes = [&head[..], refused].concat();
        let report = PullReport::parse(&bytes).unwrap();
        assert_eq!(report.report.refusal().unwrap().0, "not-fetched");
        // What is signed is what came, to the byte.
        assert!(bytes.ends_with(&report.signed) && report.signed.ends_with(refused));
    }

    proptest! {
        #[test]
        fn w3_no_report_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), text in ".{0,200}") {
            let _ = PullReport::parse(&bytes);
            let _ = PullReport::parse(format!("x\n{END_OF_SIGNATURE}{text}").as_bytes());
        }
    }
}
