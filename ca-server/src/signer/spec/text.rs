//! A specification as it is typed: read, and written back the same.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{AGENT_WAIT, AgentSpec, KeyKind, Pkcs11Spec, SignerSpec, SpecError, TOKEN_WAIT};

/// Nobody at a client waits longer.
const WAIT_MAX_SECS: u64 = 60;

impl FromStr for SignerSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        match kind {
            "file" if rest.is_empty() => Ok(Self::File),
            "agent" => AgentSpec::parse(path, query).map(Self::Agent),
            "pkcs11" => Pkcs11Spec::parse(path, query).map(Self::Pkcs11),
            _ => Err(SpecError::Kind(text.chars().take(80).collect())),
        }
    }
}

impl AgentSpec {
    fn parse(path: &str, query: &str) -> Result<Self, SpecError> {
        if path.is_empty() {
            return Err(SpecError::Missing {
                kind: "agent",
                attribute: "the path of its socket: agent:/path/to/socket",
            });
        }
        let mut spec = Self::at(&absolute("the agent's socket", path.into())?);
        let mut seen = Seen::default();
        for attribute in query.split('&').filter(|part| !part.is_empty()) {
            // A fingerprint's base64 has characters that a URI would encode; both forms are read.
            let (name, value) = seen.take(attribute)?;
            match name {
                "key" => {
                    spec.key = Some(value.parse().map_err(|_| SpecError::Value {
                        attribute: "key",
                        value,
                        expected: "SHA256: and 43 characters, as `ssh-add -l` prints it",
                    })?);
                }
                "wait" => spec.wait = wait(value)?,
                _ => return Err(SpecError::Attribute(attribute.to_owned())),
            }
        }
        Ok(spec)
    }
}

impl Pkcs11Spec {
    fn parse(path: &str, query: &str) -> Result<Self, SpecError> {
        let mut spec = Self::token(Path::new(""), "");
        spec.token = None;
        let mut seen = Seen::default();
        for attribute in path.split(';').filter(|part| !part.is_empty()) {
            let (name, value) = seen.take(attribute)?;
            match name {
                "token" => spec.token = Some(value),
                "serial" => spec.serial = Some(value),
                "object" => spec.object = Some(value),
                // The one attribute of bytes: its text is decoded again, as bytes.
                "id" => {
                    let (_, raw) = attribute.split_once('=').unwrap_or_default();
                    spec.id = Some(percent_decode_str(raw).collect());
                }
                "type" if value == "private" => {}
                _ => return Err(SpecError::Attribute(attribute.to_owned())),
            }
        }
        for attribute in query.split('&').filter(|part| !part.is_empty()) {
            if attribute.starts_with("pin-value") {
                return Err(SpecError::Pin);
            }
            if let Some(variable) = attribute.strip_prefix("env=") {
                let decoded = decode(variable, attribute)?;
                let Some((name, value)) =
                    decoded.split_once('=').filter(|(name, _)| !name.is_empty())
                else {
                    return Err(SpecError::Value {
                        attribute: "env",
                        value: decoded,
                        expected: "NAME=VALUE",
                    });
                };
                spec.env.insert(name.to_owned(), value.to_owned());
                continue;
            }
            let (name, value) = seen.take(attribute)?;
            match name {
                "module-path" => spec.module = absolute("module-path", value.into())?,
                "pin-source" => {
                    let path = value.strip_prefix("file:").unwrap_or(&value);
                    spec.pin_file = Some(absolute("pin-source", path.into())?);
                }
                "key-type" => {
                    spec.kind = Some(match value.as_str() {
                        "ed25519" => KeyKind::Ed25519,
                        "ecdsa-p256" => KeyKind::EcdsaP256,
                        _ => {
                            return Err(SpecError::Value {
                                attribute: "key-type",
                                value,
                                expected: "ed25519 or ecdsa-p256",
                            });
                        }
                    });
                }
                "wait" => spec.wait = wait(value)?,
                _ => return Err(SpecError::Attribute(attribute.to_owned())),
            }
        }
        if spec.module.as_os_str().is_empty() {
            return Err(SpecError::Missing {
                kind: "pkcs11",
                attribute: "module-path=/path/to/the/vendors/module.so after a ?",
            });
        }
        if spec.token.is_none() && spec.serial.is_none() {
            return Err(SpecError::Missing {
                kind: "pkcs11",
                attribute: "token=LABEL or serial=NUMBER",
            });
        }
        Ok(spec)
    }
}

/// Which attributes were there already.
#[derive(Default)]
struct Seen<'a>(std::collections::BTreeSet<&'a str>);

impl<'a> Seen<'a> {
    /// Name and decoded value of `name=value`.
    fn take(&mut self, attribute: &'a str) -> Result<(&'a str, String), SpecError> {
        let unclear = || SpecError::Attribute(attribute.to_owned());
        let (name, value) = attribute.split_once('=').ok_or_else(unclear)?;
        if value.is_empty() || !self.0.insert(name) {
            return Err(unclear());
        }
        // The bytes of an ID are no text; whoever wants them decodes them again.
        let value = match name {
            "id" => String::new(),
            _ => decode(value, attribute)?,
        };
        Ok((name, value))
    }
}

fn decode(value: &str, attribute: &str) -> Result<String, SpecError> {
    let decoded = percent_decode_str(value)
        .decode_utf8()
        .map_err(|_| SpecError::Attribute(attribute.to_owned()))?;
    if decoded.chars().any(char::is_control) {
        return Err(SpecError::Attribute(attribute.escape_debug().to_string()));
    }
    Ok(decoded.into_owned())
}

fn absolute(what: &'static str, path: PathBuf) -> Result<PathBuf, SpecError> {
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(SpecError::Relative { what, path })
    }
}

fn wait(value: String) -> Result<Duration, SpecError> {
    match value.parse() {
        Ok(secs @ 1..=WAIT_MAX_SECS) => Ok(Duration::from_secs(secs)),
        _ => Err(SpecError::Value {
            attribute: "wait",
            value,
            expected: "a number of seconds from 1 to 60",
        }),
    }
}

/// What stays readable in an attribute's value (RFC 7512 lets more stand; a slash and a colon are what paths need).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/')
    .remove(b':')
    .remove(b'=')
    .remove(b'+');

impl fmt::Display for SignerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file"),
            Self::Agent(spec) => spec.fmt(f),
            Self::Pkcs11(spec) => spec.fmt(f),
        }
    }
}

impl fmt::Display for AgentSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "agent:{}", self.socket.display())?;
        let mut query = Vec::new();
        if let Some(key) = &self.key {
            query.push(format!("key={key}"));
        }
        if self.wait != AGENT_WAIT {
            query.push(format!("wait={}", self.wait.as_secs()));
        }
        mark(f, &query)
    }
}

impl fmt::Display for Pkcs11Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &str| utf8_percent_encode(value, ENCODED).to_string();
        let mut path = Vec::new();
        for (name, value) in [
            ("token", &self.token),
            ("serial", &self.serial),
            ("object", &self.object),
        ] {
            if let Some(value) = value {
                path.push(format!("{name}={}", text(value)));
            }
        }
        if let Some(id) = &self.id {
            let id: String = id.iter().map(|byte| format!("%{byte:02X}")).collect();
            path.push(format!("id={id}"));
        }
        let place = |path: &Path| text(&path.display().to_string());
        let mut query = vec![format!("module-path={}", place(&self.module))];
        if let Some(file) = &self.pin_file {
            query.push(format!("pin-source=file:{}", place(file)));
        }
        if let Some(kind) = self.kind {
            query.push(format!("key-type={}", kind.as_str()));
        }
        if self.wait != TOKEN_WAIT {
            query.push(format!("wait={}", self.wait.as_secs()));
        }
        for (name, value) in &self.env {
            query.push(format!("env={}", text(&format!("{name}={value}"))));
        }
        write!(f, "pkcs11:{}", path.join(";"))?;
        mark(f, &query)
    }
}

fn mark(f: &mut fmt::Formatter<'_>, query: &[String]) -> fmt::Result {
    if query.is_empty() {
        return Ok(());
    }
    write!(f, "?{}", query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_as_the_same() {
        for text in [
            "file",
            "agent:/run/ca/agent.sock",
            "agent:/run/ca/agent.sock?key=SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU&wait=45",
            "pkcs11:token=ssh-ca?module-path=/usr/lib/softhsm/libsofthsm2.so",
            "pkcs11:token=my%20token;object=user%3Bca;id=%00%FF?module-path=/lib/a.so&pin-source=file:/etc/pin&key-type=ecdsa-p256&wait=3&env=SOFTHSM2_CONF=/tmp/x",
            "pkcs11:serial=0123?module-path=/lib/a.so",
        ] {
            let spec: SignerSpec = text
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_a_pin_most_of_all() {
        for text in [
            "",
            "files",
            "file:/etc/key",
            "agent:",
            "agent:agent.sock",
            "agent:/a?key=47DEQ",
            "agent:/a?wait=0",
            "agent:/a?wait=61",
            "agent:/a?wait=1&wait=2",
            "agent:/a?colour=blue",
            "pkcs11:",
            "pkcs11:token=a",
            "pkcs11:?module-path=/lib/a.so",
            "pkcs11:token=a?module-path=a.so",
            "pkcs11:token=a;token=b?module-path=/lib/a.so",
            "pkcs11:token=%ff?module-path=/lib/a.so",
            "pkcs11:token=a%0a?module-path=/lib/a.so",
            "pkcs11:token=a;colour=blue?module-path=/lib/a.so",
            "pkcs11:token=a?module-path=/lib/a.so&key-type=rsa",
            "pkcs11:token=a?module-path=/lib/a.so&env=NAME",
        ] {
            assert!(text.parse::<SignerSpec>().is_err(), "{text}");
        }
        assert_eq!(
            "pkcs11:token=a?module-path=/lib/a.so&pin-value=1234".parse::<SignerSpec>(),
            Err(SpecError::Pin)
        );
    }
}
