//! The bytes of a bundle, written and strictly read.

use std::{collections::BTreeMap, fmt::Write, str::FromStr};

use sha2::{Digest, Sha256};

use super::{Account, AccountState, Bundle, Origin, Place};

/// Bytes that are no bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeBundleError {
    /// A manifest line is not as it must be.
    #[error("line {line} of the bundle is not {expected}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What had to stand there.
        expected: &'static str,
    },
    /// The bytes of a file are cut off, or more follow than the manifest lists.
    #[error("the bundle holds {held} bytes of files where its manifest lists {listed}")]
    Size {
        /// Bytes after the manifest.
        held: usize,
        /// Bytes that the manifest lists.
        listed: u64,
    },
    /// The bytes of a file have another hash.
    #[error("the bytes for {path} do not have the hash that the manifest gives")]
    Hash {
        /// The file.
        path: String,
    },
    /// The same wish could be written in another way: only one form is accepted.
    #[error("the bundle is not in its one canonical form")]
    NotCanonical,
}

pub(super) fn encode(bundle: &Bundle) -> Vec<u8> {
    let mut text = String::from("ssh-ca-bundle v1\n");
    let mut line = |args: std::fmt::Arguments<'_>| {
        text.write_fmt(args)
            .expect("writing to a String does not fail");
        text.push('\n');
    };
    line(format_args!("machine {}", bundle.machine));
    line(format_args!("generation {}", bundle.generation));
    line(format_args!("issued {}", bundle.issued_unix));
    line(format_args!("fresh-until {}", bundle.fresh_until_unix));
    for (place, bytes) in &bundle.files {
        let hash = hex(&Sha256::digest(bytes));
        line(format_args!(
            "file {hash} {} {} {}",
            bytes.len(),
            place.mode(),
            place.path()
        ));
    }
    for (name, account) in &bundle.accounts {
        let uid = account
            .uid
            .map_or_else(|| "-".to_owned(), |uid| uid.to_string());
        let groups: Vec<&str> = account
            .groups
            .iter()
            .map(super::GroupName::as_str)
            .collect();
        let groups = if groups.is_empty() {
            "-".to_owned()
        } else {
            groups.join(",")
        };
        let gecos = if account.gecos.as_str().is_empty() {
            "-"
        } else {
            account.gecos.as_str()
        };
        line(format_args!(
            "account {name} {uid} {} {} {} {groups} {gecos}",
            account.origin.as_str(),
            account.state.as_str(),
            account.shell,
        ));
    }
    line(format_args!("end"));
    let mut bytes = text.into_bytes();
    for content in bundle.files.values() {
        bytes.extend_from_slice(content);
    }
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<Bundle, DecodeBundleError> {
    let mut lines = Lines {
        rest: bytes,
        line: 0,
    };
    lines.exactly("ssh-ca-bundle v1", "`ssh-ca-bundle v1`")?;
    let machine = lines.value("machine ", "`machine NAME`")?;
    let generation = lines.number("generation ", "`generation NUMBER`")?;
    let issued_unix = lines.number("issued ", "`issued UNIX-SECONDS`")?;
    let fresh_until_unix = lines.number("fresh-until ", "`fresh-until UNIX-SECONDS`")?;
    let mut listed = Vec::new();
    let mut accounts = BTreeMap::new();
    loop {
        let line = lines.next("`file …`, `account …` or `end`")?;
        if line == "end" {
            break;
        } else if let Some(rest) = line.strip_prefix("file ") {
            listed.push(
                file(rest).ok_or(lines.wrong("`file SHA256 SIZE MODE PATH` of a known place"))?,
            );
        } else if let Some(rest) = line.strip_prefix("account ") {
            let (name, account) = account(rest)
                .ok_or(lines.wrong("`account NAME UID ORIGIN STATE SHELL GROUPS GECOS`"))?;
            accounts.insert(name, account);
        } else {
            return Err(lines.wrong("`file …`, `account …` or `end`"));
        }
    }
    let mut rest = lines.rest;
    let sum = listed
        .iter()
        .fold(0_u64, |sum, (_, _, size)| sum.saturating_add(*size));
    if sum != rest.len() as u64 {
        return Err(DecodeBundleError::Size {
            held: rest.len(),
            listed: sum,
        });
    }
    let mut files = BTreeMap::new();
    for (place, hash, size) in listed {
        let size = usize::try_from(size).expect("the sum of the sizes is the length of a slice");
        let (content, after) = rest.split_at(size);
        rest = after;
        if hex(&Sha256::digest(content)) != hash {
            return Err(DecodeBundleError::Hash { path: place.path() });
        }
        files.insert(place, content.to_vec());
    }
    let bundle = Bundle {
        machine,
        generation,
        issued_unix,
        fresh_until_unix,
        files,
        accounts,
    };
    // Order, duplicates, leading zeros, other spellings: whatever would not be written like this is refused.
    if encode(&bundle) != bytes {
        return Err(DecodeBundleError::NotCanonical);
    }
    Ok(bundle)
}

fn file(rest: &str) -> Option<(Place, String, u64)> {
    let mut words = rest.splitn(4, ' ');
    let (hash, size, mode) = (words.next()?, words.next()?, words.next()?);
    let place = Place::from_path(words.next()?)?;
    (place.mode() == mode).then_some(())?;
    Some((place, hash.to_owned(), number(size)?))
}

fn account(rest: &str) -> Option<(policies::AccountName, Account)> {
    let mut words = rest.splitn(7, ' ');
    let mut word = || words.next();
    let name = word()?.parse().ok()?;
    let uid = match word()? {
        "-" => None,
        digits => Some(u32::try_from(number(digits)?).ok()?),
    };
    let origin = Origin::from_word(word()?)?;
    let state = AccountState::from_word(word()?)?;
    let shell = word()?.parse().ok()?;
    let groups = match word()? {
        "-" => Vec::new(),
        names => names
            .split(',')
            .map(FromStr::from_str)
            .collect::<Result<_, _>>()
            .ok()?,
    };
    let gecos = match word()? {
        "-" => super::Gecos::nearest(""),
        text => text.parse().ok()?,
    };
    let account = Account {
        uid,
        origin,
        state,
        shell,
        groups,
        gecos,
    };
    Some((name, account))
}

/// The lines of a manifest, with the number of the one read last.
pub(crate) struct Lines<'a> {
    pub(crate) rest: &'a [u8],
    pub(crate) line: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self, expected: &'static str) -> Result<&'a str, DecodeBundleError> {
        self.line += 1;
        let line = self.take().ok_or(self.wrong(expected))?;
        Ok(line)
    }

    /// The next line without its end, or `None` at the end of the bytes or where they are no text.
    pub(crate) fn take(&mut self) -> Option<&'a str> {
        let end = self.rest.iter().position(|b| *b == b'\n')?;
        let (line, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        std::str::from_utf8(line).ok()
    }

    fn wrong(&self, expected: &'static str) -> DecodeBundleError {
        DecodeBundleError::Line {
            line: self.line,
            expected,
        }
    }

    fn exactly(&mut self, text: &str, expected: &'static str) -> Result<(), DecodeBundleError> {
        (self.next(expected)? == text)
            .then_some(())
            .ok_or(self.wrong(expected))
    }

    fn value<T: FromStr>(
        &mut self,
        key: &str,
        expected: &'static str,
    ) -> Result<T, DecodeBundleError> {
        let value = self
            .next(expected)?
            .strip_prefix(key)
            .and_then(|text| text.parse().ok());
        value.ok_or(self.wrong(expected))
    }

    fn number(&mut self, key: &str, expected: &'static str) -> Result<u64, DecodeBundleError> {
        let value = self.next(expected)?.strip_prefix(key).and_then(number);
        value.ok_or(self.wrong(expected))
    }
}

/// A number of 1 to 18 digits.
pub(crate) fn number(text: &str) -> Option<u64> {
    let ok = (1..=18).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    ok.then(|| text.parse().ok()).flatten()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String does not fail");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{Gecos, GroupName, PathName};
    use policies::AccountName;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = AccountName> {
        "[a-z_][a-z0-9_-]{0,31}".prop_map(|text| text.parse().unwrap())
    }

    fn place() -> impl Strategy<Value = Place> {
        prop_oneof![
            Just(Place::UserCa),
            Just(Place::SshdDropIn),
            Just(Place::Sudoers),
            Just(Place::Applier),
            name().prop_map(Place::Principals),
        ]
    }

    fn any_account() -> impl Strategy<Value = Account> {
        (
            prop::option::of(any::<u32>()),
            prop_oneof![
                Just(Origin::Made),
                Just(Origin::Adopted),
                Just(Origin::System)
            ],
            prop_oneof![
                Just(AccountState::Active),
                Just(AccountState::Expired),
                Just(AccountState::Purged)
            ],
            "(/[a-z0-9._+-]{1,8}){1,4}"
                .prop_filter_map("no ..", |text| text.parse::<PathName>().ok()),
            prop::collection::vec(
                name().prop_map(|name| name.as_str().parse::<GroupName>().unwrap()),
                0..4,
            ),
            ".{0,40}".prop_map(|text| Gecos::nearest(&text)),
        )
            .prop_map(|(uid, origin, state, shell, groups, gecos)| Account {
                uid,
                origin,
                state,
                shell,
                groups,
                gecos,
            })
    }

    fn bundle() -> impl Strategy<Value = Bundle> {
        (
            "[a-z0-9]{1,10}(\\.[a-z0-9]{1,10})?",
            (
                1..=Bundle::MAX_NUMBER,
                0..=Bundle::MAX_NUMBER,
                0..=Bundle::MAX_NUMBER,
            ),
            prop::collection::btree_map(place(), prop::collection::vec(any::<u8>(), 0..60), 0..6),
            prop::collection::btree_map(name(), any_account(), 0..5),
        )
            .prop_map(
                |(machine, (generation, issued_unix, fresh_until_unix), files, accounts)| Bundle {
                    machine: machine.parse().unwrap(),
                    generation,
                    issued_unix,
                    fresh_until_unix,
                    files,
                    accounts,
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bundle in bundle()) {
            prop_assert_eq!(Bundle::decode(&bundle.encode()), Ok(bundle));
        }

        #[test]
        fn w3_no_bytes_panic_and_no_change_goes_unseen(bundle in bundle(), at in any::<prop::sample::Index>(), bit in 0_u8..8, cut in any::<prop::sample::Index>()) {
            let whole = bundle.encode();
            let mut flipped = whole.clone();
            let at = at.index(whole.len());
            flipped[at] ^= 1 << bit;
            prop_assert_ne!(Bundle::decode(&flipped), Ok(bundle));
            prop_assert!(Bundle::decode(&whole[..cut.index(whole.len())]).is_err());
            let mut longer = whole;
            longer.push(b'\n');
            prop_assert!(Bundle::decode(&longer).is_err());
        }

        #[test]
        fn w3_no_text_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Bundle::decode(&bytes).is_err());
        }
    }

    #[test]
    fn h6_a_bundle_names_places_of_the_closed_list_only() {
        for path in [
            "/etc/passwd",
            "/etc/ssh/ca/revoked.krl",
            "/etc/ssh/ca/principals/../x",
            "/etc/ssh/ca/principals/a b",
            "/etc/ssh/ca/principals/-a",
        ] {
            assert_eq!(Place::from_path(path), None, "{path}");
        }
        assert_eq!(
            Place::from_path("/var/lib/ssh-ca/applier"),
            Some(Place::Applier)
        );
    }
}
