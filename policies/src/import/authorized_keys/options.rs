//! The options before a key: names, quoted values, and what each does to the key.

use serde::{Deserialize, Serialize};

use super::{LineFault, printable};

/// One option of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyOption {
    /// Its name, in lower case.
    pub name: String,
    /// Its value without quotes and without control characters, where it has one.
    pub value: Option<String>,
    /// What it does to the key.
    pub kind: KeyOptionKind,
}

/// What an option does to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyOptionKind {
    /// The key signs certificates that are let in: it stands for any number of keys.
    CertAuthority,
    /// The key can do less.
    Limits,
    /// The key can do more than without it, or than `restrict` leaves it.
    Widens,
    /// The key is less safe than without it.
    Weakens,
}

/// Every option that sshd knows; `no-` forms are written out.
const KNOWN: &[(&str, Form, KeyOptionKind)] = {
    use Form::{Flag, Often, Once};
    use KeyOptionKind::{CertAuthority, Limits, Weakens, Widens};
    &[
        ("agent-forwarding", Flag, Widens),
        ("cert-authority", Flag, CertAuthority),
        ("command", Once, Limits),
        ("environment", Often, Weakens),
        ("expiry-time", Often, Limits),
        ("from", Once, Limits),
        ("no-agent-forwarding", Flag, Limits),
        ("no-port-forwarding", Flag, Limits),
        ("no-pty", Flag, Limits),
        ("no-touch-required", Flag, Weakens),
        ("no-user-rc", Flag, Limits),
        ("no-verify-required", Flag, Weakens),
        ("no-x11-forwarding", Flag, Limits),
        ("permitlisten", Often, Limits),
        ("permitopen", Often, Limits),
        ("port-forwarding", Flag, Widens),
        ("principals", Once, Limits),
        ("pty", Flag, Widens),
        ("restrict", Flag, Limits),
        ("touch-required", Flag, Limits),
        ("tunnel", Once, Widens),
        ("user-rc", Flag, Widens),
        ("verify-required", Flag, Limits),
        ("x11-forwarding", Flag, Widens),
    ]
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// No value.
    Flag,
    /// A quoted value, and sshd refuses a second one.
    Once,
    /// A quoted value, any number of times.
    Often,
}

impl KeyOption {
    /// What it does, in a few words.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        match self.name.as_str() {
            "agent-forwarding" => "allows forwarding of the ssh-agent",
            "cert-authority" => "trusts every certificate that the key signs",
            "command" => "runs only this command",
            "environment" => "sets variables of the session, where sshd permits it",
            "expiry-time" => "ends at this time",
            "from" => "works from these addresses only",
            "no-agent-forwarding" => "withholds forwarding of the ssh-agent",
            "no-port-forwarding" => "withholds port forwarding",
            "no-pty" => "withholds the terminal",
            "no-touch-required" => "logs in without a touch of the security key",
            "no-user-rc" => "does not run ~/.ssh/rc",
            "no-verify-required" => "logs in without the security key's PIN or finger",
            "no-x11-forwarding" => "withholds X11 forwarding",
            "permitlisten" => "limits remote forwarding to this",
            "permitopen" => "limits local forwarding to this",
            "port-forwarding" => "allows port forwarding",
            "principals" => "takes certificates for these principals only",
            "pty" => "allows a terminal",
            "restrict" => "withholds everything that is not allowed again",
            "touch-required" => "wants a touch of the security key",
            "tunnel" => "allows this tunnel device",
            "user-rc" => "runs ~/.ssh/rc",
            "verify-required" => "wants the security key's PIN or finger",
            "x11-forwarding" => "allows X11 forwarding",
            _ => "is not known",
        }
    }
}

/// The options at the beginning of `text` and what follows the blanks behind them; `None` for a quote that is not closed.
pub(super) fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    let mut quoted = false;
    while let Some(&byte) = text.get(at) {
        match byte {
            b' ' | b'\t' if !quoted => break,
            b'\\' if text.get(at + 1) == Some(&b'"') => at += 1,
            b'"' => quoted = !quoted,
            _ => {}
        }
        at += 1;
    }
    let (options, rest) = text.split_at(at.min(text.len()));
    let blanks = rest
        .iter()
        .take_while(|byte| matches!(**byte, b' ' | b'\t'))
        .count();
    (!quoted).then_some((options, &rest[blanks..]))
}

/// The options of `text`, and what is wrong with the first that sshd does not take; those before it are kept.
pub(super) fn read(text: &[u8]) -> (Vec<KeyOption>, Option<LineFault>) {
    let mut options: Vec<KeyOption> = Vec::new();
    let mut rest = text;
    loop {
        let end = rest
            .iter()
            .position(|byte| matches!(*byte, b',' | b'='))
            .unwrap_or(rest.len());
        let name = String::from_utf8_lossy(&rest[..end]).to_ascii_lowercase();
        rest = &rest[end..];
        let known = KNOWN.iter().find(|(known, ..)| *known == name);
        let Some(&(_, form, kind)) = known else {
            let name = printable(name.as_bytes());
            return (options, Some(LineFault::UnknownOption { name }));
        };
        let value = match form {
            Form::Flag => None,
            Form::Once | Form::Often => {
                let Some((value, after)) = rest.strip_prefix(b"=").and_then(quoted) else {
                    return (options, Some(LineFault::UnquotedValue { name }));
                };
                rest = after;
                Some(printable(&value))
            }
        };
        if form == Form::Once && options.iter().any(|option| option.name == name) {
            return (options, Some(LineFault::RepeatedOption { name }));
        }
        options.push(KeyOption { name, value, kind });
        match rest.split_first() {
            None => return (options, None),
            Some((b',', [])) => return (options, Some(LineFault::DanglingComma)),
            Some((b',', after)) => rest = after,
            Some(_) => {
                let name = printable(rest);
                return (options, Some(LineFault::UnknownOption { name }));
            }
        }
    }
}

/// The value in double quotes at the beginning of `text`, with `\"` read as `"`, and what follows it.
fn quoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut value = Vec::new();
    loop {
        rest = match rest {
            [b'\\', b'"', after @ ..] => {
                value.push(b'"');
                after
            }
            [b'"', after @ ..] => return Some((value, after)),
            [byte, after @ ..] => {
                value.push(*byte);
                after
            }
            [] => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_that_sshd_knows_are_sorted_and_have_a_meaning() {
        assert!(KNOWN.is_sorted_by_key(|(name, ..)| *name));
        for (name, _, kind) in KNOWN {
            let option = KeyOption {
                name: (*name).to_owned(),
                value: None,
                kind: *kind,
            };
            assert_ne!(option.meaning(), "is not known", "{name}");
        }
    }

    #[test]
    fn quotes_hold_blanks_commas_and_quotes() {
        let (options, fault) = read(br#"command="echo \"a, b\" | x",no-pty,FROM="10.0.0.0/8""#);
        assert_eq!(fault, None);
        assert_eq!(options[0].value.as_deref(), Some(r#"echo "a, b" | x"#));
        assert_eq!(options[1].name, "no-pty");
        assert_eq!(options[2].name, "from");
        assert_eq!(split(b"a=\"b c\" d"), Some((&b"a=\"b c\""[..], &b"d"[..])));
        assert_eq!(split(b"a=\"b c d"), None);
    }
}
