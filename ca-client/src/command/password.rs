//! `password`: changes the password; every session of the person ends with it.

use ca_api::{ErrorCode, PasswordRequest};
use clap::Args;
use policies::{Email, NameError};

use super::{AnswerArguments, Ending, Failure, block_on, enrol::new_password, login::totp};
use crate::{api::CallError, config::Config, places::Places, say};

/// How often a person may choose another new password.
const TRIES: usize = 10;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Who you are; remembered from the last login
    #[arg(long)]
    email: Option<String>,
    #[command(flatten)]
    answers: AnswerArguments,
}

pub(super) fn run(places: &Places, arguments: &Arguments) -> Result<Ending, Failure> {
    let config = Config::load(places)?;
    let mut answers = arguments.answers.open()?;
    let email = match arguments
        .email
        .clone()
        .or_else(|| config.settings.email.clone())
    {
        Some(email) => email,
        None => answers.text("email", None)?,
    };
    let email: Email = email
        .parse()
        .map_err(|error: NameError| Failure::new(error.to_string(), "Check the spelling."))?;
    let client = config.client();
    block_on(async {
        let password = answers.secret("current password")?;
        for attempt in 1.. {
            let new_password = new_password(&mut answers, "new password")?;
            let request = PasswordRequest {
                email: email.to_string(),
                password: password.clone(),
                totp: totp(&mut answers, "code")?,
                new_password,
            };
            match client.password(&request).await {
                Ok(_) => break,
                // Not good enough: only the new one, and the next code, are asked for again.
                Err(CallError::Refused(error))
                    if error.code == ErrorCode::Invalid
                        && answers.is_person()
                        && attempt < TRIES =>
                {
                    say::err(&Failure::from(error).to_string());
                }
                Err(error) => return Err(error.into()),
            }
        }
        say::out(
            "The password is changed, and your sessions are ended. Log in with the new one: ca-client login\n",
        );
        Ok(Ending::Done)
    })?
}
