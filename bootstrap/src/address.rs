//! Where a machine is, and what its host key must be, as a person writes them.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use ssh_key::{HashAlg, PublicKey};

/// `HOST`, `HOST:PORT`, `[IPv6]:PORT` or a bare IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// Port, if one was given.
    pub port: Option<u16>,
}

/// A text that is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a host.
    #[error(
        "{0:?} is not an address: expected a host name or IP address, and perhaps :PORT ([…]:PORT for IPv6)"
    )]
    Host(String),
    /// Not a port.
    #[error("{0:?} has a port that is not a number from 1 to 65535")]
    Port(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let shown = || text.chars().take(80).collect::<String>();
        let (host, port) = if text.parse::<Ipv6Addr>().is_ok() {
            (text, None)
        } else if let Some(rest) = text.strip_prefix('[') {
            let (host, port) = rest
                .split_once(']')
                .ok_or_else(|| AddressError::Host(shown()))?;
            host.parse::<Ipv6Addr>()
                .map_err(|_| AddressError::Host(shown()))?;
            let port = match port {
                "" => None,
                port => Some(
                    port.strip_prefix(':')
                        .ok_or_else(|| AddressError::Port(shown()))?,
                ),
            };
            (host, port)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_:".contains(&b);
        if host.is_empty() || host.len() > 253 || host.starts_with('-') || !host.bytes().all(plain)
        {
            return Err(AddressError::Host(shown()));
        }
        let port = match port {
            None => None,
            Some(digits) => {
                let all_digits = digits.bytes().all(|b| b.is_ascii_digit());
                let port = digits
                    .parse::<u16>()
                    .ok()
                    .filter(|port| *port != 0 && all_digits);
                Some(port.ok_or_else(|| AddressError::Port(shown()))?)
            }
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            None => f.write_str(&self.host),
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
        }
    }
}

/// `SHA256:…` of a host key, as `ssh-keygen -l` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(ssh_key::Fingerprint);

/// A text that is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a host key is given as SHA256: and 43 characters, as `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints it on the machine's console"
)]
pub struct FingerprintError;

impl Fingerprint {
    /// The fingerprint of a key.
    #[must_use]
    pub fn of(key: &PublicKey) -> Self {
        Self(key.fingerprint(HashAlg::Sha256))
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        // The line of a .pub file says the same, and more.
        if let Ok(key) = PublicKey::from_openssh(text.trim()) {
            return Ok(Self::of(&key));
        }
        let fingerprint = text
            .trim_end_matches('=')
            .parse()
            .map_err(|_| FingerprintError)?;
        matches!(fingerprint, ssh_key::Fingerprint::Sha256(_))
            .then_some(Self(fingerprint))
            .ok_or(FingerprintError)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_whole_or_refused() {
        for (text, host, port) in [
            ("web-1.corp.example", "web-1.corp.example", None),
            ("10.0.0.1:2222", "10.0.0.1", Some(2222)),
            ("2001:db8::7", "2001:db8::7", None),
            ("[2001:db8::7]:2222", "2001:db8::7", Some(2222)),
            ("[::1]", "::1", None),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
        }
        for text in [
            "",
            "-oProxyCommand=x",
            "a b",
            "web;1",
            "web:",
            "web:0",
            "web:65536",
            "web:+1",
            "[::1",
            "[::1]22",
            ":22",
            "user@web",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn fingerprints_are_sha256_and_whole() {
        let text = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
        assert_eq!(text.parse::<Fingerprint>().unwrap().to_string(), text);
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIJ59HSVLYQwZ3EiKMcAWcsNbM0Ow8wtFJjQOh8oDGfb root@web-1";
        let key = PublicKey::from_openssh(line).unwrap();
        assert_eq!(line.parse(), Ok(Fingerprint::of(&key)));
        for bad in ["", "SHA256:", &text[..40], &text[7..], "MD5:aa:bb"] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad:?}");
        }
    }
}
