//! From a text to a sentence, word by word.

use std::{net::IpAddr, str::FromStr};

use super::{
    As, Expectation, Moment, Place, SudoDemand, Verb, Who,
    error::{ExpectError, ExpectRule},
};
use crate::{
    AccountName, Email, Hours, KeyKind, MachineName, Policy, PoolName, TeamName,
    document::{Kind, nearest},
};

const EXAMPLE: &str = "a member of ops reaches web-1 as deploy on Monday at 10:00";

const CLAUSES: [&str; 4] = ["as", "with", "from", "on"];

/// The words of a sentence, each with the byte at which it begins.
struct Words<'t> {
    text: &'t str,
    words: Vec<(usize, &'t str)>,
    next: usize,
}

impl<'t> Words<'t> {
    fn of(text: &'t str) -> Self {
        let mut words = Vec::new();
        let mut begun = None;
        for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
            match (c.is_whitespace(), begun) {
                (false, None) => begun = Some(at),
                (true, Some(begin)) => {
                    words.push((begin, &text[begin..at]));
                    begun = None;
                }
                (false, Some(_)) | (true, None) => {}
            }
        }
        Self {
            text,
            words,
            next: 0,
        }
    }

    fn peek(&self) -> Option<&'t str> {
        self.words.get(self.next).map(|(_, word)| *word)
    }

    fn after_next(&self) -> Option<&'t str> {
        self.words.get(self.next + 1).map(|(_, word)| *word)
    }

    /// Where the next word begins, or the text ends.
    fn at(&self) -> usize {
        self.words
            .get(self.next)
            .map_or(self.text.len(), |(at, _)| *at)
    }

    fn wrong<T>(&self, expected: &'static str) -> Result<T, ExpectError> {
        self.wrong_such_as(expected, EXAMPLE)
    }

    fn wrong_such_as<T>(
        &self,
        expected: &'static str,
        example: &'static str,
    ) -> Result<T, ExpectError> {
        let rule = match self.peek() {
            None => ExpectRule::Ends { expected, example },
            Some(word) => ExpectRule::Word {
                word: word.chars().take(80).collect(),
                expected,
                example,
            },
        };
        Err(ExpectError {
            at: self.at(),
            rule,
        })
    }

    fn word(&mut self, word: &str, expected: &'static str) -> Result<(), ExpectError> {
        if self.peek() != Some(word) {
            return self.wrong(expected);
        }
        self.next += 1;
        Ok(())
    }

    /// The next word as a name.
    fn name<N: FromStr>(&mut self, expected: &'static str) -> Result<(usize, N), ExpectError> {
        let at = self.at();
        match self.peek().map(str::parse) {
            Some(Ok(name)) => {
                self.next += 1;
                Ok((at, name))
            }
            Some(Err(_)) | None => self.wrong(expected),
        }
    }
}

pub(super) fn sentence(text: &str, policy: &Policy) -> Result<Expectation, ExpectError> {
    let mut words = Words::of(text);
    let who = who(&mut words, policy)?;
    let verb = verb(&mut words, &who)?;
    let place = place(&mut words, policy)?;
    let mut sentence = Expectation {
        text: words
            .words
            .iter()
            .map(|(_, word)| *word)
            .collect::<Vec<_>>()
            .join(" "),
        who,
        verb,
        place,
        account: None,
        sudo: SudoDemand::Open,
        from: None,
        key: None,
        moment: None,
    };
    while words.peek().is_some() {
        clause(&mut words, &mut sentence)?;
    }
    Ok(sentence)
}

fn who(words: &mut Words<'_>, policy: &Policy) -> Result<Who, ExpectError> {
    let expected = "somebody (an email, `a member of TEAM`, `every member of TEAM`, `a NAME`, `nobody` or `somebody`)";
    match words.peek() {
        Some("nobody") => {
            words.next += 1;
            Ok(Who::Nobody)
        }
        Some("somebody") => {
            words.next += 1;
            Ok(Who::Somebody)
        }
        Some("every") => {
            words.next += 1;
            words.word("member", "`member of TEAM`")?;
            words.word("of", "`of TEAM`")?;
            Ok(Who::Every(team(words, policy)?))
        }
        Some("a" | "an") => {
            words.next += 1;
            if words.peek() == Some("member") && words.after_next() == Some("of") {
                words.next += 2;
                return Ok(Who::Member(team(words, policy)?));
            }
            Ok(Who::Member(one_of(words, policy)?))
        }
        Some(word) if word.contains('@') => {
            let (at, email): (usize, Email) = words.name("an email")?;
            known(
                Kind::Employee,
                at,
                &email,
                policy.employees.keys(),
                Email::as_str,
            )?;
            Ok(Who::Employee(email))
        }
        Some(_) | None => words.wrong(expected),
    }
}

fn team(words: &mut Words<'_>, policy: &Policy) -> Result<TeamName, ExpectError> {
    let (at, team): (usize, TeamName) = words.name("a team's name")?;
    known(Kind::Team, at, &team, policy.teams.keys(), TeamName::as_str)?;
    Ok(team)
}

/// `a contractor`: one of the team `contractor` or `contractors`.
fn one_of(words: &mut Words<'_>, policy: &Policy) -> Result<TeamName, ExpectError> {
    let (at, name): (usize, TeamName) = words.name("a team's name, or `member of TEAM`")?;
    let plural = format!("{name}s").parse::<TeamName>().ok();
    let plural = plural.filter(|plural| policy.teams.contains_key(plural));
    match (policy.teams.contains_key(&name), plural) {
        (true, None) => Ok(name),
        (false, Some(plural)) => Ok(plural),
        (true, Some(_)) => Err(ExpectError {
            at,
            rule: ExpectRule::TwoTeams {
                name: name.to_string(),
            },
        }),
        (false, None) => {
            known(Kind::Team, at, &name, policy.teams.keys(), TeamName::as_str)?;
            Ok(name)
        }
    }
}

fn verb(words: &mut Words<'_>, who: &Who) -> Result<Verb, ExpectError> {
    let at = words.at();
    if words.peek() != Some("never") {
        words.word("reaches", "`reaches` or `never reaches`")?;
        return Ok(Verb::Reaches);
    }
    words.next += 1;
    words.word("reaches", "`reaches`")?;
    let who = match who {
        Who::Nobody => "nobody",
        Who::Somebody => "somebody",
        Who::Employee(_) | Who::Member(_) | Who::Every(_) => return Ok(Verb::Never),
    };
    Err(ExpectError {
        at,
        rule: ExpectRule::DoubleNegation { who },
    })
}

fn place(words: &mut Words<'_>, policy: &Policy) -> Result<Place, ExpectError> {
    if words.peek() == Some("pool") {
        words.next += 1;
        let (at, pool): (usize, PoolName) = words.name("a pool's name")?;
        known(Kind::Pool, at, &pool, policy.pools.keys(), PoolName::as_str)?;
        return Ok(Place::Pool(pool));
    }
    let (at, machine): (usize, MachineName) = words.name("a machine's name, or `pool POOL`")?;
    known(
        Kind::Machine,
        at,
        &machine,
        policy.machines.keys(),
        MachineName::as_str,
    )?;
    Ok(Place::Machine(machine))
}

fn clause(words: &mut Words<'_>, sentence: &mut Expectation) -> Result<(), ExpectError> {
    let at = words.at();
    let once = |is_first: bool, phrase: &'static str| {
        let rule = ExpectRule::Twice { phrase };
        is_first.then_some(()).ok_or(ExpectError { at, rule })
    };
    match words.peek() {
        Some("as") => {
            words.next += 1;
            let (_, account): (usize, AccountName) = words.name("an account, or `self`")?;
            once(sentence.account.is_none(), "as")?;
            sentence.account = Some(if account.as_str() == "self" {
                As::Own
            } else {
                As::Named(account)
            });
        }
        Some("with") => {
            words.next += 1;
            if words.peek() == Some("sudo") {
                words.next += 1;
                once(sentence.sudo == SudoDemand::Open, "with sudo")?;
                sentence.sudo = SudoDemand::Some;
                return Ok(());
            }
            let expected = "`sudo`, `a security key` or `a plain key`";
            words.word("a", expected)?;
            let kind = match words.peek() {
                Some("security") => KeyKind::SecurityKey,
                Some("plain") => KeyKind::Plain,
                Some(_) | None => return words.wrong("`security key` or `plain key`"),
            };
            words.next += 1;
            words.word("key", "`key`")?;
            once(sentence.key.is_none(), "with a … key")?;
            sentence.key = Some(kind);
        }
        Some("from") => {
            words.next += 1;
            let (_, address): (usize, IpAddr) =
                words.name("one IPv4 or IPv6 address, such as 192.0.2.7")?;
            once(sentence.from.is_none(), "from")?;
            sentence.from = Some(address.to_canonical());
        }
        Some("on") => {
            words.next += 1;
            let moment = moment(words)?;
            once(sentence.moment.is_none(), "on")?;
            sentence.moment = Some(moment);
        }
        Some(_) | None => {
            return words.wrong(
                "`as ACCOUNT`, `with sudo`, `with a security key`, `with a plain key`, `from ADDRESS`, `on DAY at HH:MM ZONE` or nothing",
            );
        }
    }
    Ok(())
}

/// `DAY at HH:MM [ZONE]`
fn moment(words: &mut Words<'_>) -> Result<Moment, ExpectError> {
    const SUCH_AS: &str = "on Monday at 10:00 Europe/Berlin";
    const DAYS: [&str; 7] = [
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
    ];
    let day = words.peek().map(str::to_ascii_lowercase);
    let day = day.and_then(|day| {
        DAYS.into_iter()
            .find(|full| *full == day || full[..3] == day)
    });
    let Some(day) = day else {
        return words.wrong_such_as("a day of the week", SUCH_AS);
    };
    words.next += 1;
    words.word("at", "`at HH:MM`")?;
    let Some((hour, minute)) = words.peek().and_then(time) else {
        return words.wrong_such_as("a time from 00:00 to 23:59", SUCH_AS);
    };
    words.next += 1;
    let zone_at = words.at();
    let zone = words.peek().filter(|word| !CLAUSES.contains(word));
    words.next += usize::from(zone.is_some());
    let next = u32::from(hour) * 60 + u32::from(minute) + 1;
    let window = format!(
        "{} {hour:02}:{minute:02}-{:02}:{:02} {}",
        &day[..3],
        next / 60,
        next % 60,
        zone.unwrap_or("UTC")
    );
    let minute_of_week: Hours = window.parse().map_err(|_| ExpectError {
        at: zone_at,
        rule: ExpectRule::Zone {
            zone: zone.unwrap_or_default().chars().take(80).collect(),
        },
    })?;
    let capital = day[..1].to_ascii_uppercase();
    Ok(Moment {
        minute: minute_of_week,
        text: format!(
            "{capital}{} at {hour:02}:{minute:02} {}",
            &day[1..],
            zone.unwrap_or("UTC")
        ),
    })
}

fn time(text: &str) -> Option<(u8, u8)> {
    let two = |text: &str| -> Option<u8> {
        let is_two = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| is_two)
    };
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (two(hour)?, two(minute)?);
    (hour < 24 && minute < 60).then_some((hour, minute))
}

fn known<'n, N: Ord + ToString + 'n>(
    kind: Kind,
    at: usize,
    name: &N,
    mut all: impl Iterator<Item = &'n N> + Clone,
    text: fn(&N) -> &str,
) -> Result<(), ExpectError> {
    if all.clone().any(|other| other == name) {
        return Ok(());
    }
    Err(ExpectError {
        at,
        rule: ExpectRule::Unknown {
            kind,
            name: name.to_string(),
            suggestion: nearest(text(name), all.by_ref().map(text)),
        },
    })
}
