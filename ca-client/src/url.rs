//! The CA's URL: `https://HOST[:PORT]` and nothing else, so that there is no way to say "insecure" (C2).

use std::{fmt, net::IpAddr, str::FromStr};

use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};

/// Where the CA's API is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerUrl {
    host: String,
    port: u16,
}

/// A text that is not such a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme, or none.
    #[error("the CA's URL begins with https://")]
    NotHttps,
    /// A path, a query, a user.
    #[error("the CA's URL is https://HOST or https://HOST:PORT, with nothing after it")]
    NotBare,
    /// Not a host.
    #[error("the CA's URL names no host name or IP address")]
    BadHost,
    /// Not a port.
    #[error("the CA's URL has a port that is not a number from 1 to 65535")]
    BadPort,
}

impl ServerUrl {
    /// Host name or IP address, IPv6 without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server's TLS certificate must be for.
    #[must_use]
    pub fn server_name(&self) -> ServerName<'static> {
        ServerName::try_from(self.host.clone()).expect("the host was parsed as a server name")
    }

    /// `HOST:PORT` for the Host header.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = text.strip_prefix("https://").ok_or(UrlError::NotHttps)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(UrlError::NotBare);
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(inner) => {
                let (host, after) = inner.split_once(']').ok_or(UrlError::BadHost)?;
                let _: std::net::Ipv6Addr = host.parse().map_err(|_| UrlError::BadHost)?;
                let port = match after {
                    "" => None,
                    _ => Some(after.strip_prefix(':').ok_or(UrlError::BadPort)?),
                };
                (host, port)
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let port = match port {
            None => 443,
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or(UrlError::BadPort)?,
            Some(_) => return Err(UrlError::BadPort),
        };
        let host = host.to_ascii_lowercase();
        if host.parse::<IpAddr>().is_err() && ServerName::try_from(host.as_str()).is_err() {
            return Err(UrlError::BadHost);
        }
        Ok(Self { host, port })
    }
}

impl TryFrom<String> for ServerUrl {
    type Error = UrlError;

    fn try_from(text: String) -> Result<Self, UrlError> {
        text.parse()
    }
}

impl From<ServerUrl> for String {
    fn from(url: ServerUrl) -> String {
        url.to_string()
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c2_only_https_and_only_a_host() {
        assert_eq!(
            "https://CA.corp.example:8443"
                .parse::<ServerUrl>()
                .unwrap()
                .to_string(),
            "https://ca.corp.example:8443"
        );
        assert_eq!(
            "https://ca.corp.example/"
                .parse::<ServerUrl>()
                .unwrap()
                .port(),
            443
        );
        let v6: ServerUrl = "https://[::1]:8443".parse().unwrap();
        assert_eq!((v6.host(), v6.authority().as_str()), ("::1", "[::1]:8443"));
        for (bad, why) in [
            ("http://ca.corp.example", UrlError::NotHttps),
            ("ca.corp.example", UrlError::NotHttps),
            ("https://ca.corp.example/v1", UrlError::NotBare),
            ("https://user@ca.corp.example", UrlError::NotBare),
            ("https://ca:0", UrlError::BadPort),
            ("https://ca:+8443", UrlError::BadPort),
            ("https://", UrlError::BadHost),
            ("https://a b", UrlError::BadHost),
            ("https://[::1]8443", UrlError::BadPort),
        ] {
            assert_eq!(bad.parse::<ServerUrl>(), Err(why), "{bad}");
        }
    }
}
