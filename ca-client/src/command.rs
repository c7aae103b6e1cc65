//! The command line: one file a command, and what they share.

use clap::{Args, Parser, Subcommand};

use crate::{
    places::Places,
    prompt::{AnswerSource, Answers},
};

mod completions;
mod doctor;
mod enrol;
mod failure;
mod login;
mod logout;
mod machines;
mod password;
mod renew;
mod setup;
mod status;

pub use failure::Failure;

/// How a command ended, where it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Done: exit 0.
    Done,
    /// It found something amiss and has said so: exit 1.
    Amiss,
    /// Partly done: exit 3.
    Partly,
}

/// Log in once a day; then plain ssh, scp, rsync and git reach your machines.
#[derive(Debug, Parser)]
#[command(
    name = "ca-client",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trust a CA: once per computer, with the line that your admin gave you
    Setup(setup::Arguments),
    /// Open your invitation: set a password and an authenticator
    Enrol(enrol::Arguments),
    /// Begin the day: password and one code
    Login(login::Arguments),
    /// Renew the certificates now (ssh does it by itself)
    Renew(renew::Arguments),
    /// Who you are, until when, and how the key and the certificates are
    Status(JsonFlag),
    /// Which machines you reach, and as whom
    Machines(JsonFlag),
    /// Change your password
    Password(password::Arguments),
    /// Look for what is not in order, with the remedy
    Doctor(JsonFlag),
    /// End the day: forget the key, the certificates and the session
    Logout(logout::Arguments),
    /// Print shell completions
    Completions(completions::Arguments),
}

#[derive(Debug, Clone, Copy, Args)]
struct JsonFlag {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Where passwords and codes come from.
#[derive(Debug, Clone, Args)]
struct AnswerArguments {
    /// Take the answers from standard input, one a line, in the order of the questions
    #[arg(long, conflicts_with = "secrets_file")]
    secrets_stdin: bool,
    /// Take the answers from this file, one a line, in the order of the questions
    #[arg(long, value_name = "FILE")]
    secrets_file: Option<std::path::PathBuf>,
}

impl AnswerArguments {
    fn open(&self) -> Result<Answers, Failure> {
        let source = match (&self.secrets_file, self.secrets_stdin) {
            (Some(path), _) => AnswerSource::File(path.clone()),
            (None, true) => AnswerSource::Stdin,
            (None, false) => AnswerSource::Terminal,
        };
        Answers::open(&source).map_err(|error| Failure::answers_file(&source, &error))
    }
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// What happened, and what to do next.
    pub fn run(self) -> Result<Ending, Failure> {
        // Completions need no home.
        let places = || Places::of_user().map_err(Failure::from);
        match self.command {
            Command::Setup(arguments) => setup::run(&places()?, &arguments),
            Command::Enrol(arguments) => enrol::run(&places()?, arguments),
            Command::Login(arguments) => login::run(&places()?, &arguments),
            Command::Renew(arguments) => renew::run(&places()?, arguments),
            Command::Status(flag) => status::run(&places()?, flag.json()),
            Command::Machines(flag) => machines::run(&places()?, flag.json()),
            Command::Password(arguments) => password::run(&places()?, &arguments),
            Command::Doctor(flag) => doctor::run(&places()?, flag.json()),
            Command::Logout(arguments) => logout::run(&places()?, arguments),
            Command::Completions(arguments) => completions::run(arguments),
        }
    }
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

impl JsonFlag {
    fn json(self) -> Format {
        if self.json {
            Format::Json
        } else {
            Format::Text
        }
    }
}

/// Prints a value as JSON, and only that.
fn print_json(value: &impl serde::Serialize) {
    let text = serde_json::to_string_pretty(value).expect("what is shown is plain data");
    crate::say::out(&format!("{text}\n"));
}

/// Runs the network part of a command.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::runtime)?;
    Ok(runtime.block_on(work))
}
