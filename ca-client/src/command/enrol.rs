//! `enrol [CODE]`: opens an invitation, sets the password, shows the authenticator, proves it.

use std::io::{self, IsTerminal};

use ca_api::{EnrolFinish, EnrolStart, EnrolStarted, ErrorCode, Secret};
use clap::Args;

use super::{AnswerArguments, Ending, Failure, block_on, login::totp};
use crate::{
    api::{CallError, Client},
    config::Config,
    due::now_unix,
    places::Places,
    prompt::{Answers, PromptError},
    qr, say, text,
};

/// How often a person may try again before the command gives up; the invitation stays open.
const TRIES: usize = 10;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The code that your admin gave you; `-` reads it with the other answers, none asks for it
    code: Option<String>,
    #[command(flatten)]
    answers: AnswerArguments,
}

pub(super) fn run(places: &Places, arguments: Arguments) -> Result<Ending, Failure> {
    let config = Config::load(places)?;
    let mut answers = arguments.answers.open()?;
    let code = match arguments.code.filter(|code| code != "-") {
        Some(code) => Secret::new(code),
        None => answers.secret("enrolment code")?,
    };
    let code = Secret::new(code.expose().trim().to_owned());
    block_on(enrol(&config.client(), code, &mut answers))?
}

async fn enrol(client: &Client, code: Secret, answers: &mut Answers) -> Result<Ending, Failure> {
    let start = EnrolStart {
        code: code.clone(),
        password: None,
    };
    let started = client.enrol_start(&start).await.map_err(code_failure)?;
    greet(&started);
    let mut password = new_password(answers, "new password")?;
    // Before the authenticator is shown: whoever has to think of another password does it first.
    let mut tries = 0;
    loop {
        tries += 1;
        let start = EnrolStart {
            password: Some(password.clone()),
            ..start.clone()
        };
        match client.enrol_start(&start).await {
            Ok(_) => break,
            Err(CallError::Refused(error))
                if error.code == ErrorCode::Invalid && answers.is_person() && tries < TRIES =>
            {
                say::err(&Failure::from(error).to_string());
                password = new_password(answers, "another new password")?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    show_authenticator(&started)?;
    let mut tries = 0;
    let enrolled = loop {
        tries += 1;
        let request = EnrolFinish {
            code: code.clone(),
            password: password.clone(),
            totp: totp(answers, "code from the authenticator")?,
        };
        match client.enrol_finish(&request).await {
            Ok(enrolled) => break enrolled,
            // The password is not good enough, or the code was wrong: the invitation and the authenticator stay.
            Err(CallError::Refused(error))
                if matches!(error.code, ErrorCode::Invalid | ErrorCode::WrongCode)
                    && answers.is_person()
                    && tries < TRIES =>
            {
                let code_only = error.code == ErrorCode::WrongCode;
                say::err(&Failure::from(error).to_string());
                if !code_only && let Some(another) = another_password(answers)? {
                    password = another;
                }
            }
            Err(error) => return Err(error.into()),
        }
    };
    say::out(&format!(
        "\nWelcome, {}. Log in with: ca-client login\n",
        text::line(&enrolled.email)
    ));
    Ok(Ending::Done)
}

fn code_failure(error: CallError) -> Failure {
    match error {
        CallError::Refused(error)
            if error.hint.is_empty() && error.code != ErrorCode::Unavailable =>
        {
            Failure::new(
                text::line(&error.message),
                "A code works once and for a while; ask your admin for a new one.",
            )
        }
        error => error.into(),
    }
}

fn greet(started: &EnrolStarted) {
    let who = if started.name.is_empty() {
        &started.email
    } else {
        &started.name
    };
    say::out(&format!(
        "Invitation for {} ({}), account {} on machines; open until {}.\n\n",
        text::line(who),
        text::line(&started.email),
        text::line(&started.account),
        say::when(started.expires_unix, now_unix())
    ));
}

/// After a refusal: another password, or Enter where the password was not what was wrong.
fn another_password(answers: &mut Answers) -> Result<Option<Secret>, PromptError> {
    for _ in 0..TRIES {
        let first = answers.secret("another new password, or Enter to keep yours")?;
        if first.expose().is_empty() {
            return Ok(None);
        }
        if answers.secret("the same again")?.expose() == first.expose() {
            return Ok(Some(first));
        }
        say::err("The two are not the same.");
    }
    Err(PromptError::Cancelled)
}

/// Asks for a password twice, until both agree.
pub(super) fn new_password(answers: &mut Answers, what: &str) -> Result<Secret, PromptError> {
    if !answers.is_person() {
        return answers.secret(what);
    }
    for _ in 0..TRIES {
        let first = answers.secret(what)?;
        let second = answers.secret("the same again")?;
        if first.expose() == second.expose() {
            return Ok(first);
        }
        say::err("The two are not the same.");
    }
    Err(PromptError::Cancelled)
}

fn show_authenticator(started: &EnrolStarted) -> Result<(), Failure> {
    let secret = started.totp_secret.expose();
    if secret.is_empty()
        || !secret
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'=')
    {
        return Err(Failure::new(
            "the CA sent an authenticator secret that is not base32",
            "Tell your admin.",
        ));
    }
    if io::stdout().is_terminal()
        && let Some(drawing) = qr::draw(started.totp_url.expose())
    {
        say::out(&drawing);
    }
    let groups: Vec<_> = secret
        .as_bytes()
        .chunks(4)
        .map(|four| String::from_utf8_lossy(four).into_owned())
        .collect();
    say::out(&format!(
        "Scan this with an authenticator app, or type: {}\n",
        groups.join(" ")
    ));
    Ok(())
}
