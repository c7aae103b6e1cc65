//! How a machine fetches: the settings that its bundle carries, as lines that the puller reads word by word and never runs.

use std::{fmt, str::FromStr};

use ssh_key::PublicKey;

/// How one machine fetches for itself.
#[derive(Debug, Clone)]
pub struct PullSpec {
    /// Where from.
    pub source: Source,
    /// The CA's own address: `https://ca.corp.example:8443`. It is told how the machine stands, where it can be reached.
    pub ca: PullUrl,
    /// The certificate that the CA's TLS is checked with (PEM); without one, the system's.
    pub trusted: Option<String>,
    /// How often, in minutes, 1 to 59.
    pub every_minutes: u8,
    /// How long one transfer may take, in seconds.
    pub timeout_secs: u16,
    /// The host key that the CA has pinned: what it is told is signed with it.
    pub host_key: PublicKey,
}

/// Where a machine fetches from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The CA's own door, with the machine's token.
    Ca,
    /// A folder of any web server: the published tree's, with the machine's place.
    Place {
        /// Where the tree is.
        tree: PullUrl,
        /// The machine's folder in it.
        place: String,
    },
}

/// An address that is safe to hand to `curl` and `wget`: `http://` or `https://`, a host, perhaps a port and a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullUrl(String);

/// A text that is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an address to fetch from: expected http://HOST or https://HOST, perhaps with :PORT and /PATH, without user name, ? or #"
)]
pub struct PullUrlError(String);

impl FromStr for PullUrl {
    type Err = PullUrlError;

    fn from_str(text: &str) -> Result<Self, PullUrlError> {
        let wrong = || PullUrlError(text.chars().take(80).collect());
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or_else(wrong)?;
        let (host, _) = rest.split_once('/').unwrap_or((rest, ""));
        // curl takes braces and brackets for patterns; an IPv6 address is the one good use of brackets.
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/%+,=".contains(&b);
        let bare = match host.strip_prefix('[') {
            Some(rest) => rest.split_once(']').filter(|(address, after)| {
                address.parse::<std::net::Ipv6Addr>().is_ok()
                    && (after.is_empty() || after.starts_with(':'))
            }),
            None => Some((host, "")),
        };
        let (bare, _) = bare.ok_or_else(wrong)?;
        let without_brackets = rest.replacen(['[', ']'], "", 2);
        let fine = text.len() <= 300
            && !bare.is_empty()
            && !bare.starts_with(['-', ':', '.'])
            && without_brackets.bytes().all(plain)
            && (host.starts_with('[') || !rest.contains(['[', ']']))
            && !rest.contains("..");
        fine.then(|| Self(text.trim_end_matches('/').to_owned()))
            .ok_or_else(wrong)
    }
}

impl fmt::Display for PullUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PullSpec {
    /// The file that the puller reads.
    #[must_use]
    pub(crate) fn settings(&self, machine: &policies::MachineName) -> String {
        let from = match &self.source {
            Source::Ca => "ca".to_owned(),
            Source::Place { tree, place } => format!("{tree}/v1/{place}"),
        };
        let trust = if self.trusted.is_some() {
            "pinned"
        } else {
            "system"
        };
        let every = self.every_minutes.clamp(1, 59);
        // A fleet does not come at once: each machine waits for a part of the pause, drawn anew each time.
        let jitter = u32::from(every) * 45;
        let key = PublicKey::from(self.host_key.key_data().clone());
        let key = key.to_openssh().expect("a public key in memory encodes");
        format!(
            "ssh-ca-pull v1\nmachine {machine}\nfrom {from}\nca {}\ntrust {trust}\nevery {every}\njitter {jitter}\ntimeout {}\nhost-key {}\nend\n",
            self.ca,
            self.timeout_secs,
            key.trim_end()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h6_only_plain_addresses_are_fetched_from() {
        for good in [
            "https://ca.corp.example:8443",
            "http://10.77.0.1:8080/tree",
            "https://[2001:db8::1]:8443/a/b",
            "http://mirror/~ops/ssh-ca/",
        ] {
            let url: PullUrl = good.parse().unwrap();
            assert_eq!(url.to_string(), good.trim_end_matches('/'));
        }
        for wrong in [
            "",
            "ca",
            "ftp://ca",
            "file:///etc/passwd",
            "https://",
            "https:///x",
            "http://-x",
            "http://a b",
            "http://a\nheader",
            "http://user@host",
            "http://a/{b,c}",
            "http://a/[1-9]",
            "http://[x]/",
            "http://a?b",
            "http://a#b",
            "http://a/$(id)",
            "http://a/`id`",
            "http://a/\"",
            "http://a/../b",
            "http://[::1]x/",
            "http://[::1]/[a]",
        ] {
            assert!(wrong.parse::<PullUrl>().is_err(), "{wrong:?}");
        }
        assert!(
            format!("http://{}", "a".repeat(300))
                .parse::<PullUrl>()
                .is_err()
        );
    }
}
