//! The command line of `ca-server`: arguments in, one request to the running server, its answer for people or as JSON.
//!
//! Knows the wire types and nothing of the server's rooms: `main.rs` hands in what `init` and `serve` do.

use std::{env, ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use serde_json::Value;

pub mod args;
pub mod client;
pub mod order;
pub mod output;
pub mod passphrase;
pub mod progress;
pub mod render;
pub mod run;
pub mod terminal;
pub mod text;
pub mod time;

use args::{
    BackupArgs, Cli, Command, InitArgs, LockSource, OpenArgs, ServeArgs,
    backup::{BackupOptions, BackupVerb},
    break_glass::{Offline, Step},
};
use output::{Failure, Style, Verdict, print};
use time::Clock;

/// The commands that run the server's own code instead of asking a running server.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Makes a new CA.
    pub init: fn(InitArgs) -> Result<Report, Failure>,
    /// Runs the CA until it is told to stop.
    pub serve: fn(ServeArgs) -> Result<(), Failure>,
    /// Takes a backup from the running server and makes the file.
    pub backup: fn(BackupArgs, Clock) -> Result<Report, Failure>,
    /// Opens a backup and checks it.
    pub verify: fn(OpenArgs, Clock) -> Result<Report, Failure>,
    /// What break-glass credentials need no server for; for new ones the public key too.
    pub break_glass: fn(Offline, Clock) -> Result<Broken, Failure>,
    /// Puts a backup into a data folder.
    pub restore: fn(OpenArgs, PathBuf, Clock) -> Result<Report, Failure>,
}

/// What came of a break-glass command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// What to tell.
    pub report: Report,
    /// How it ended.
    pub verdict: Verdict,
    /// The public key of new credentials.
    pub public_key: Option<String>,
}

/// What a command of these tells: for people, and for scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// For people, ending with a newline.
    pub text: String,
    /// For scripts.
    pub data: Value,
}

/// Runs the command line of this process. Must be called before any thread is started (the local zone is read here).
#[must_use]
pub fn main(setup: Setup) -> ExitCode {
    let clock = Clock::local();
    let words: Vec<OsString> = env::args_os().collect();
    let parsed = Cli::try_parse_from(&words).and_then(|cli| here(&cli).map(|()| cli));
    match parsed {
        Ok(cli) => {
            let style = if cli.global.json {
                Style::Json
            } else {
                Style::Text
            };
            match dispatch(cli, setup, clock) {
                Ok(verdict) => verdict.into(),
                Err(failure) => failure.tell(style).into(),
            }
        }
        Err(error) => usage(&error, &words).into(),
    }
}

fn dispatch(cli: Cli, setup: Setup, clock: Clock) -> Result<Verdict, Failure> {
    let global = cli.global;
    let order = match cli.command {
        Command::Init(options) => {
            let report = (setup.init)(InitArgs {
                data: global.data.clone(),
                names: options.names,
                passphrase: options.passphrase.source(credentials()),
                signers: options.signers,
            })?;
            return tell(report, &global);
        }
        Command::Backup(BackupOptions {
            verb: Some(BackupVerb::Verify(options)),
            ..
        }) => return tell((setup.verify)(options.args(), clock)?, &global),
        Command::Backup(options) => {
            let lock = if options.recipients.is_empty() {
                LockSource::Passphrase(options.passphrase.source(None))
            } else {
                LockSource::Recipients(options.recipients)
            };
            let made = (setup.backup)(
                BackupArgs {
                    file: options
                        .file
                        .expect("the parser asks for it where no verb stands"),
                    with_keys: options.with_keys,
                    lock,
                    show_progress: !global.quiet && !global.json,
                    data: global.data.clone(),
                },
                clock,
            )?;
            return tell(made, &global);
        }
        Command::Restore(options) => {
            let restored = (setup.restore)(options.open.args(), global.data.clone(), clock)?;
            return tell(restored, &global);
        }
        Command::Recovery(verb) => verb.order(),
        Command::Clock(verb) => verb.order(),
        Command::BreakGlass(verb) => match verb.step() {
            Step::Ask(order) => order,
            Step::Offline(offline) => {
                let done = (setup.break_glass)(offline, clock)?;
                return tell(done.report, &global).map(|_| done.verdict);
            }
            Step::MakeAndTrust {
                look,
                make,
                trust: mut order,
            } => {
                // Is the folder's name free, and the server there at all? Then the person is asked, and only then anything is written.
                (setup.break_glass)(look, clock)?;
                run::run(
                    order::Order::new(ca_api::admin::AdminRequest::BreakGlassShow {})
                        .into_sink(order::Sink::Nowhere),
                    &global,
                    clock,
                )?;
                run::agree_to(&mut order)?;
                let done = (setup.break_glass)(make, clock)?;
                if let ca_api::admin::AdminRequest::BreakGlassTrust { public_key, .. } =
                    &mut order.request
                {
                    *public_key = done.public_key.unwrap_or_default();
                }
                run::run(order.into_sink(order::Sink::Nowhere), &global, clock).map_err(
                    |mut failure| {
                        failure.hint = format!(
                            "No machine trusts what was just made: delete the folder and make new ones. {}",
                            failure.hint
                        );
                        failure
                    },
                )?;
                return tell(done.report, &global);
            }
        },
        Command::Serve(options) => {
            (setup.serve)(ServeArgs {
                data: global.data.clone(),
                listen: options.listen,
                config: options.config,
                passphrase: options.passphrase.source(credentials()),
            })?;
            return Ok(Verdict::Done);
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ca-server", &mut script);
            return print(&String::from_utf8_lossy(&script)).map(|()| Verdict::Done);
        }
        Command::Employee(verb) => verb.order(),
        Command::Pool(verb) => verb.order(),
        Command::Team(verb) => verb.order(),
        Command::Grant(verb) => verb.order(clock),
        Command::Policy(verb) => verb.order()?,
        Command::Machine(verb) => verb.order(),
        Command::Krl(verb) => verb.order()?,
        Command::Sync(options) => options.order(),
        Command::Publish(options) => options.order(),
        Command::Check(options) => options.order(),
        Command::Session(verb) => verb.order(),
        Command::Ca(verb) => verb.order()?,
        Command::Cert(verb) => verb.order(),
        Command::Audit(verb) => verb.order()?,
    };
    run::run(order, &global, clock)
}

fn tell(report: Report, global: &args::GlobalArgs) -> Result<Verdict, Failure> {
    let text = if global.json {
        let mut data = report.data;
        output::add_iso(&mut data);
        format!("{data:#}\n")
    } else {
        report.text
    };
    print(&text).map(|()| Verdict::Done)
}

/// `init`, `serve` and backups run here and nowhere else.
fn here(cli: &Cli) -> Result<(), clap::Error> {
    match (&cli.command, &cli.global.url) {
        (
            Command::Init(_) | Command::Serve(_) | Command::Backup(_) | Command::Restore(_),
            Some(_),
        ) => Err(Cli::command().error(
            ErrorKind::ArgumentConflict,
            "--url is for admin commands; `init`, `serve`, `backup` and `restore` run on the CA's own host",
        )),
        (
            Command::Ca(args::ca::CaVerb::Rotate {
                key: args::ca::Key::Tls,
                leave_behind,
                step,
                ..
            }),
            _,
        ) if *step || !leave_behind.is_empty() => Err(Cli::command().error(
            ErrorKind::ArgumentConflict,
            "the TLS CA is replaced in one step, and no machine is waited for: `ca-server ca rotate tls`",
        )),
        (Command::Ca(args::ca::CaVerb::Move { .. }), Some(_)) => Err(Cli::command().error(
            ErrorKind::ArgumentConflict,
            "a key of the CA is moved on the CA's own host",
        )),
        (
            Command::BreakGlass(args::break_glass::BreakGlassVerb::Make { shares, needed, .. }),
            _,
        ) if needed > shares => Err(Cli::command().error(
            ErrorKind::ValueValidation,
            format!("--needed {needed} is more than there are: --shares {shares}"),
        )),
        (
            Command::BreakGlass(
                args::break_glass::BreakGlassVerb::Make { .. }
                | args::break_glass::BreakGlassVerb::Revoke { .. },
            ),
            Some(_),
        ) => Err(Cli::command().error(
            ErrorKind::ArgumentConflict,
            "break-glass credentials are made and revoked on the CA's own host",
        )),
        _ => Ok(()),
    }
}

fn credentials() -> Option<PathBuf> {
    env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// Tells help, version, or what is wrong with the command line.
fn usage(error: &clap::Error, words: &[OsString]) -> Verdict {
    let asked_for = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    if !asked_for && words.iter().any(|word| word == "--json") {
        let message = error.to_string();
        // The first paragraph says what is wrong; the rest is the usage, for people.
        let message = message.split("\n\n").next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message);
        let _ = Failure::new("usage", message.trim()).tell(Style::Json);
        return Verdict::Usage;
    }
    // A closed standard output or error is no reason to fail differently.
    let _ = error.print();
    if asked_for {
        Verdict::Done
    } else {
        Verdict::Usage
    }
}
