//! `login`: password and one code; then who you are, until when, and which machines you reach.

use std::{path::PathBuf, time::Duration};

use ca_api::{ErrorCode, Narrow, Secret};
use clap::Args;
use policies::{Email, NameError, PoolName};
use tokio::time::{Instant, sleep_until};

use super::{
    AnswerArguments, Ending, Failure, Format, JsonFlag, block_on, machines::machine_list,
    print_json, status,
};
use crate::{
    agent::AgentError,
    api::CallError,
    config::Config,
    day::{self, Credentials, Day, LoginError},
    due::now_unix,
    install::Change,
    key::{FreshKey, KeyPlace, LoginKey},
    places::Places,
    prompt::{Answers, PromptError},
    say,
    security_key::{FindError, SecurityKey},
    text,
};

/// How often a person may mistype.
const TRIES: usize = 3;

/// What somebody is asked who has no security key in `~/.ssh` or in the agent.
const OFFER: &str =
    "There is no security key in ~/.ssh or in the ssh-agent yet. Plug it in: make its SSH key now?";

/// How long that stays on a terminal that nobody looks at.
const OFFER_PATIENCE: Duration = Duration::from_secs(300);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Who you are; remembered from the last login
    #[arg(long)]
    email: Option<String>,
    /// Ask for shorter certificates: 30m, 2h, 3600s
    #[arg(long, value_name = "DURATION", value_parser = lifetime_secs)]
    lifetime: Option<u64>,
    /// Ask for these pools only
    #[arg(long = "pool", value_name = "POOL")]
    pools: Vec<String>,
    /// Use a security key (FIDO): the only one in ~/.ssh or in the ssh-agent, or the one at PATH; remembered
    #[arg(long, value_name = "PATH", num_args = 0..=1, conflicts_with = "plain_key")]
    security_key: Option<Option<PathBuf>>,
    /// Use a key that is made for the day, although the last login was with a security key
    #[arg(long)]
    plain_key: bool,
    #[command(flatten)]
    answers: AnswerArguments,
    #[command(flatten)]
    json: JsonFlag,
}

/// Which key a login is with.
#[derive(Debug, Clone)]
pub(super) enum KeyChoice {
    /// As the last one was.
    AsBefore,
    /// One that is made for the day.
    Plain,
    /// A security key that is looked for.
    Security,
    /// The security key at this path.
    SecurityAt(PathBuf),
}

impl Arguments {
    fn key(&self) -> KeyChoice {
        match &self.security_key {
            None if self.plain_key => KeyChoice::Plain,
            None => KeyChoice::AsBefore,
            Some(None) => KeyChoice::Security,
            Some(Some(path)) => KeyChoice::SecurityAt(path.clone()),
        }
    }
}

impl KeyChoice {
    /// Finds the key, before anybody is asked for a password; a person who has none yet is offered to make it.
    fn key(
        &self,
        places: &Places,
        config: &Config,
        answers: &mut Answers,
    ) -> Result<LoginKey, Failure> {
        let security = match (self, &config.settings.security_key) {
            (Self::Plain, _) | (Self::AsBefore, None) => {
                return Ok(LoginKey::Fresh(Box::new(FreshKey::make())));
            }
            (Self::AsBefore, Some(last)) => last.recall(),
            (Self::Security, _) => match (SecurityKey::find(places), answers) {
                (Err(FindError::None), Answers::Terminal(terminal)) => {
                    if terminal.offer(OFFER, OFFER_PATIENCE)? {
                        SecurityKey::make(places)
                    } else {
                        Err(FindError::None)
                    }
                }
                (found, _) => found,
            },
            (Self::SecurityAt(path), _) => SecurityKey::at(path),
        };
        Ok(LoginKey::Security(security?))
    }
}

/// Parses `90s`, `30m`, `2h`; a bare number is seconds.
fn lifetime_secs(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(end) => text.split_at(end),
        None => (text, "s"),
    };
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(factor))
        .filter(|secs| *secs > 0)
        .ok_or_else(|| "expected a duration such as 30m or 2h".to_owned())
}

pub(super) fn run(places: &Places, arguments: &Arguments) -> Result<Ending, Failure> {
    let pools = arguments
        .pools
        .iter()
        .map(|pool| pool.parse::<PoolName>().map(String::from))
        .collect::<Result<Vec<_>, NameError>>()
        .map_err(|error| Failure::new(error.to_string(), "ca-client machines shows the pools."))?;
    let narrow = Narrow {
        lifetime_secs: arguments.lifetime,
        pools: (!pools.is_empty()).then_some(pools),
    };
    let mut answers = arguments.answers.open()?;
    let email = arguments.email.as_deref();
    let day = log_in(places, email, &arguments.key(), narrow, &mut answers)?;
    match arguments.json.json() {
        Format::Json => print_json(&status::facts(&day.session, Some(&day.reach))),
        Format::Text => say::out(&summary(&day)),
    }
    Ok(Ending::Done)
}

/// Asks and logs in; a person may try again.
pub(super) fn log_in(
    places: &Places,
    email: Option<&str>,
    key: &KeyChoice,
    narrow: Narrow,
    answers: &mut Answers,
) -> Result<Day, Failure> {
    let mut config = Config::load(places)?;
    let key = key.key(places, &config, answers)?;
    let client = config.client();
    let email = match (email, config.settings.email.clone()) {
        (Some(email), _) => email.to_owned(),
        // Answers that come from a file are secrets: the email is not among them where it is known.
        (None, Some(remembered)) if !answers.is_person() => remembered,
        (None, remembered) => answers.text("email", remembered.as_deref())?,
    };
    let email: Email = email
        .parse()
        .map_err(|error: NameError| Failure::new(error.to_string(), "Check the spelling."))?;
    block_on(async {
        let mut not_before = Instant::now();
        for attempt in 1.. {
            let who = Credentials {
                email: email.clone(),
                password: answers.secret("password")?,
                totp: totp(answers, "code")?,
            };
            sleep_until(not_before).await;
            match day::login(places, &mut config, &client, &key, who, narrow.clone()).await {
                Err(LoginError::Call(CallError::Refused(error)))
                    if error.code == ErrorCode::Refused
                        && answers.is_person()
                        && attempt < TRIES =>
                {
                    say::err(&Failure::from(error).to_string());
                    // The CA looks at no attempt for a second after the first mistake, for two after the second (A9): whoever
                    // types faster than that shall not be refused for it.
                    not_before = Instant::now() + Duration::from_secs(1 << (attempt - 1));
                }
                other => return Ok(other?),
            }
        }
        unreachable!("the loop returns at its last attempt")
    })?
}

/// Asks for a TOTP code. Spaces, which authenticators show, are left out; a person who types something else is asked
/// again before the CA counts it.
pub(super) fn totp(answers: &mut Answers, what: &str) -> Result<Secret, PromptError> {
    loop {
        let typed = answers.secret(what)?;
        let digits: String = typed.expose().chars().filter(|c| *c != ' ').collect();
        let digits = Secret::new(digits);
        let six = digits.expose().len() == 6 && digits.expose().bytes().all(|b| b.is_ascii_digit());
        if six || !answers.is_person() {
            return Ok(digits);
        }
        say::err("A code is six digits.");
    }
}

fn summary(day: &Day) -> String {
    let Day {
        session,
        reach,
        no_agent,
        include,
    } = day;
    let now = now_unix() + session.server_ahead_secs;
    let who = if reach.name.is_empty() {
        reach.email.to_string()
    } else {
        format!("{} <{}>", reach.name, reach.email)
    };
    let mut text = format!(
        "Logged in as {who} until {}.\n",
        say::when(session.ends_unix, now)
    );
    if session
        .certificates
        .iter()
        .any(|certificate| certificate.valid_before_unix < session.ends_unix)
    {
        text.push_str(
            if matches!(session.key_place, KeyPlace::SecurityKey { .. }) {
                "Until then ssh renews your certificates, each time with a touch of your security key.\n"
            } else {
                "Until then ssh renews your certificates by itself.\n"
            },
        );
    }
    if let KeyPlace::SecurityKey { handle } = &session.key_place {
        let place = handle.as_ref().map_or_else(
            || "in the ssh-agent".to_owned(),
            |handle| handle.display().to_string(),
        );
        text.push_str(&format!(
            "Your key is a security key ({}): ssh waits for its touch.\n",
            text::line(&place)
        ));
    }
    if let Some(left_out) = session.left_out() {
        text.push_str(&format!("{left_out}\n"));
    }
    match no_agent {
        None => {}
        Some(AgentError::Absent) => {
            text.push_str(
                "There is no ssh-agent, so the key is in ~/.ssh/ca/id, readable by you alone.\n",
            );
        }
        Some(error) => {
            text.push_str(&format!(
                "The key is in ~/.ssh/ca/id, readable by you alone: {}.\n",
                text::line(&error.to_string())
            ));
        }
    }
    if *include == Change::Changed {
        text.push_str("~/.ssh/config now begins with an Include of ~/.ssh/ca/config; nothing else in it was changed.\n");
    }
    if reach.left_out > 0 {
        text.push_str(&format!(
            "Left out {} that were not well formed; tell your admin.\n",
            reach.left_out
        ));
    }
    text.push('\n');
    text.push_str(&machine_list(reach));
    text
}

#[cfg(test)]
mod tests {
    use super::lifetime_secs;

    #[test]
    fn lifetimes() {
        assert_eq!(lifetime_secs("90"), Ok(90));
        assert_eq!(lifetime_secs("30m"), Ok(1800));
        assert_eq!(lifetime_secs("2h"), Ok(7200));
        for bad in [
            "",
            "h",
            "0m",
            "-1h",
            "1d",
            "2 h",
            "99999999999999999999h",
            "18446744073709551615h",
        ] {
            assert!(lifetime_secs(bad).is_err(), "{bad}");
        }
    }
}
