//! The file of `--file HOSTS`: one machine a line.
//!
//! ```text
//! # name    address[:port]   pools            further words
//! web-1     10.0.0.11        web-server
//! db-1      10.0.0.21:2222   database,backup  user=root jump=gate.corp.example
//! cache-1   -                web-server       host-key=SHA256:…
//! ```
//!
//! `-` stands for "as if it were left out". An error names its line, and all errors are told at once.

use std::{collections::BTreeMap, path::PathBuf};

use policies::{MachineName, PoolName};

use crate::address::{Address, Fingerprint};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name in the CA.
    pub name: MachineName,
    /// Where it is reached.
    pub address: Option<Address>,
    /// Its pools; empty for those of `--pool`.
    pub pools: Vec<PoolName>,
    /// The account to log in to.
    pub user: Option<String>,
    /// A host to jump over.
    pub jump: Option<String>,
    /// The key to log in with.
    pub identity: Option<PathBuf>,
    /// Its host key.
    pub host_key: Option<Fingerprint>,
}

/// A line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct LineError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads the file's text.
///
/// # Errors
/// Every line that cannot be used; a file without a machine is one too.
pub fn parse(text: &str) -> Result<Vec<Host>, Vec<LineError>> {
    let (mut hosts, mut errors) = (Vec::new(), Vec::new());
    let mut seen: BTreeMap<MachineName, usize> = BTreeMap::new();
    for (number, line) in text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
    {
        let words = line.split('#').next().unwrap_or_default();
        let mut words = words.split_whitespace();
        let Some(name) = words.next() else { continue };
        let host =
            host(name, words).and_then(|host| match seen.insert(host.name.clone(), number) {
                None => Ok(host),
                Some(earlier) => Err(format!("{} stands in line {earlier} already", host.name)),
            });
        match host {
            Ok(host) => hosts.push(host),
            Err(reason) => errors.push(LineError {
                line: number,
                reason,
            }),
        }
    }
    if hosts.is_empty() && errors.is_empty() {
        let reason =
            "the file names no machine: expected lines such as `web-1 10.0.0.11 web-server`"
                .to_owned();
        errors.push(LineError {
            line: text.lines().count().max(1),
            reason,
        });
    }
    if errors.is_empty() {
        Ok(hosts)
    } else {
        Err(errors)
    }
}

fn host<'a>(name: &str, words: impl Iterator<Item = &'a str>) -> Result<Host, String> {
    let mut host = Host {
        name: name
            .parse()
            .map_err(|error: policies::NameError| error.to_string())?,
        address: None,
        pools: Vec::new(),
        user: None,
        jump: None,
        identity: None,
        host_key: None,
    };
    let mut position = 0;
    let mut named = Vec::new();
    for word in words {
        match word.split_once('=') {
            None if !named.is_empty() => {
                return Err(format!("`{word}` must stand before `{}=…`", named[0]));
            }
            None => {
                match position {
                    0 if word != "-" => host.address = Some(address(word)?),
                    1 if word != "-" => host.pools = pools(word)?,
                    0 | 1 => {}
                    _ => {
                        return Err(format!(
                            "`{word}` is one word too many: expected NAME ADDRESS POOL,POOL and then words with ="
                        ));
                    }
                }
                position += 1;
            }
            Some((key, _)) if named.contains(&key) => {
                return Err(format!("`{key}=` stands there twice"));
            }
            Some((key, "")) => return Err(format!("`{key}=` has no value")),
            Some((key, value)) => {
                named.push(key);
                match key {
                    "user" => host.user = Some(value.to_owned()),
                    "jump" => host.jump = Some(value.to_owned()),
                    "identity" => host.identity = Some(PathBuf::from(value)),
                    "host-key" => {
                        host.host_key = Some(value.parse().map_err(|error| format!("{error}"))?)
                    }
                    _ => {
                        return Err(format!(
                            "`{key}=` is not known: expected user=, jump=, identity= or host-key="
                        ));
                    }
                }
            }
        }
    }
    Ok(host)
}

fn address(word: &str) -> Result<Address, String> {
    word.parse().map_err(|error| format!("{error}"))
}

fn pools(word: &str) -> Result<Vec<PoolName>, String> {
    word.split(',')
        .map(|pool| {
            pool.parse()
                .map_err(|error: policies::NameError| error.to_string())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_read_with_comments_and_left_out_words() {
        let text = "# the web\nweb-1\n\n  web-2 10.0.0.12:2222 web-server,eu # old\r\nweb-3 - web-server user=root jump=me@gate:22\n\
                    db-1 ::1 - identity=/k host-key=SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
        let hosts = parse(text).unwrap();
        let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        assert_eq!(names, ["web-1", "web-2", "web-3", "db-1"]);
        assert_eq!(hosts[0].address, None);
        let address = hosts[1].address.clone().unwrap();
        assert_eq!(
            (address.host.as_str(), address.port),
            ("10.0.0.12", Some(2222))
        );
        assert_eq!(hosts[1].pools.len(), 2);
        assert_eq!(
            (hosts[2].user.as_deref(), hosts[2].jump.as_deref()),
            (Some("root"), Some("me@gate:22"))
        );
        assert!(
            hosts[2].address.is_none() && hosts[3].pools.is_empty() && hosts[3].host_key.is_some()
        );
        assert_eq!(hosts[3].address.clone().unwrap().host, "::1");
    }

    #[test]
    fn every_wrong_line_is_named_with_its_number() {
        let text = "web-1 10.0.0.11\nWeb_2!\nweb-1\nweb-3 a b c\nweb-4 a:0\nweb-5 a p x=y\nweb-6 a P!\nweb-7 user=a b\nweb-8 user=a user=b\nweb-9 host-key=MD5:x\nweb-10 jump=";
        let errors: Vec<String> = parse(text)
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = [
            "line 2: ",
            "line 3: web-1 stands in line 1 already",
            "line 4: `c` is one word too many: expected NAME ADDRESS POOL,POOL and then words with =",
            "line 5: \"a:0\" has a port that is not a number from 1 to 65535",
            "line 6: `x=` is not known: expected user=, jump=, identity= or host-key=",
            "line 7: ",
            "line 8: `b` must stand before `user=…`",
            "line 9: `user=` stands there twice",
            "line 10: ",
            "line 11: `jump=` has no value",
        ];
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(
                error.starts_with(expected),
                "{error:?} should begin with {expected:?}"
            );
        }
    }

    #[test]
    fn a_file_without_a_machine_is_refused() {
        for text in ["", "# nothing\n\n"] {
            assert!(
                parse(text).unwrap_err()[0]
                    .reason
                    .starts_with("the file names no machine")
            );
        }
    }

    proptest! {
        #[test]
        fn w3_no_text_panics(text in "[ -~\n\t#=,é\u{1b}]{0,200}") {
            let _ = parse(&text);
        }
    }
}
