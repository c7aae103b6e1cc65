//! From the command line to the exit status.

use std::{fmt::Display, process::ExitCode, sync::Arc, time::Duration};

use clap::{CommandFactory, Parser};
use nix::sys::termios::{self, SetArg, Termios};
use policies::MachineName;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    add::{self, Order, Run},
    check,
    cli::{AddArgs, CheckArgs, Cli, DoorArgs, LoginArgs, RemoveArgs, Verb},
    contact::{Contacts, Passwords, Rebuilt},
    door::{self, Door, DoorError},
    narrate::{Narrator, Stage},
    outcome::{self, DONE, FAILED, PARTLY, USAGE},
    pace::Pace,
    remove,
    terminal::{self, Person},
    wanted::{self, UsageError},
};

/// The `bootstrap` program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let Cli { door, json, verb } = cli;
    let shape = if json { Shape::Json } else { Shape::Text };
    if let Verb::Completions { shell } = verb {
        clap_complete::generate(
            shell,
            &mut Cli::command(),
            "bootstrap",
            &mut std::io::stdout(),
        );
        return ExitCode::from(DONE);
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(FAILED, &error, "Try again."),
    };
    let code = runtime.block_on(async {
        match verb {
            Verb::AddMachine(args) => add_machines(door, shape, *args).await,
            Verb::Check(args) => check_machines(door, shape, args).await,
            Verb::RemoveMachine(args) => remove_machine(door, shape, *args).await,
            Verb::Completions { .. } => unreachable!("printed above"),
        }
    });
    // Long enough for every ssh that was started to be ended; a question that still waits at the terminal must not keep the program.
    runtime.shutdown_timeout(Duration::from_millis(500));
    code
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Text,
    Json,
}

async fn add_machines(door: DoorArgs, shape: Shape, args: AddArgs) -> ExitCode {
    let wanted = match wanted::machines(&args) {
        Ok(wanted) => wanted,
        Err(error) => return misused(&error),
    };
    let person = Person::look();
    let narrator = Narrator::new(wanted.iter().map(|wanted| wanted.name.as_str()));
    let password = match password(&args.login) {
        Ok(password) => password,
        Err(error) => return refuse(FAILED, &error, error.hint()),
    };
    let watched = narrator.clone();
    let work = async move {
        let door = match Door::open(&door, person).await {
            Ok(door) => door,
            Err(error) => return refuse(FAILED, &error, error.hint()),
        };
        let order = match (args.dry_run, args.yes) {
            (true, _) => Order::Show,
            (false, true) => Order::ChangeWithoutAsking,
            (false, false) => Order::Change,
        };
        let run = Run {
            door,
            contacts: Contacts {
                person,
                passwords: Passwords::new(password, wanted.len()),
            },
            narrator,
            pace: Pace::new(args.at_once),
            confirm_within: Duration::from_secs(args.confirm_within),
            rebuilt: if args.resync {
                Rebuilt::PersonSaysSo
            } else {
                Rebuilt::No
            },
            order,
        };
        let outcomes = add::machines(Arc::new(run), wanted).await;
        match shape {
            Shape::Json => anstream::println!("{}", outcome::json(&outcomes)),
            Shape::Text => anstream::print!("{}", outcome::summary(&outcomes)),
        }
        outcome::exit_code(&outcomes)
    };
    or_interrupted(work, &watched).await
}

async fn check_machines(door: DoorArgs, shape: Shape, args: CheckArgs) -> ExitCode {
    let names: Result<Vec<MachineName>, _> = args.names.iter().map(|name| name.parse()).collect();
    let (names, way) = match names
        .map_err(UsageError::from)
        .and_then(|names| Ok((names, wanted::way(&args.login)?)))
    {
        Ok(meant) => meant,
        Err(error) => return misused(&error),
    };
    let person = Person::look();
    let narrator = Narrator::new(names.iter().map(MachineName::as_str));
    let watched = narrator.clone();
    let work = async move {
        let password = match password(&args.login) {
            Ok(password) => password,
            Err(error) => return refuse(FAILED, &error, error.hint()),
        };
        let door = match Door::open(&door, person).await {
            Ok(door) => door,
            Err(error) => return refuse(FAILED, &error, error.hint()),
        };
        let checked = match check::machines(&door, &names, &way, password, &narrator).await {
            Ok(checked) => checked,
            Err(error) => {
                terminal::let_an_interrupt_come().await;
                return refuse(FAILED, &error, "");
            }
        };
        if shape == Shape::Json {
            let value = serde_json::json!({ "machines": checked });
            anstream::println!(
                "{}",
                serde_json::to_string_pretty(&value).expect("texts are JSON")
            );
        }
        let found = checked.iter().any(|machine| !machine.findings.is_empty());
        let unreached = checked.iter().any(|machine| !machine.reached_by_ca);
        ExitCode::from(match (unreached, found) {
            (true, _) if checked.iter().any(|machine| machine.reached_by_ca) => PARTLY,
            (true, _) | (_, true) => FAILED,
            (false, false) => DONE,
        })
    };
    or_interrupted(work, &watched).await
}

async fn remove_machine(door: DoorArgs, shape: Shape, args: RemoveArgs) -> ExitCode {
    let name = args.name.parse::<MachineName>().map_err(UsageError::from);
    let (name, way) = match name.and_then(|name| Ok((name, wanted::way(&args.login)?))) {
        Ok(meant) => meant,
        Err(error) => return misused(&error),
    };
    let person = Person::look();
    let narrator = Narrator::new([name.as_str()]);
    let watched = narrator.clone();
    let work = async move {
        let password = match password(&args.login) {
            Ok(password) => password,
            Err(error) => return refuse(FAILED, &error, error.hint()),
        };
        if !args.yes {
            let question = format!(
                "Take the CA off {name}? Certificates stop working there at once; the accounts that the CA made are closed, their homes stay, {} keeps working.",
                way.user
            );
            match tokio::task::spawn_blocking(move || person.agrees(&question))
                .await
                .expect("asking does not panic")
            {
                Ok(true) => {}
                Ok(false) => {
                    return refuse(FAILED, &"stopped at your word; nothing was changed", "");
                }
                Err(error) => return refuse(FAILED, &error, "Add --yes if you mean it."),
            }
        }
        let door = match Door::open(&door, person).await {
            Ok(door) => door,
            Err(error) => return refuse(FAILED, &error, error.hint()),
        };
        let contacts = Contacts {
            person,
            passwords: Passwords::new(password, 1),
        };
        match remove::machine(&door, &contacts, &name, &way, &narrator).await {
            Ok(()) => {
                if shape == Shape::Json {
                    anstream::println!("{}", serde_json::json!({ "removed": name.as_str() }));
                }
                ExitCode::from(DONE)
            }
            Err(error) => {
                terminal::let_an_interrupt_come().await;
                refuse(FAILED, &error, &error.hint())
            }
        }
    };
    or_interrupted(work, &watched).await
}

fn password(args: &LoginArgs) -> Result<Option<String>, DoorError> {
    let text = args
        .password_file
        .as_deref()
        .map(door::private_text)
        .transpose()?;
    Ok(text.map(|text| text.expose().to_owned()))
}

/// The work, or where every machine stands when the person presses Ctrl-C.
async fn or_interrupted(work: impl Future<Output = ExitCode>, narrator: &Narrator) -> ExitCode {
    // A question that hides what is typed has switched the terminal's echo off; whoever interrupts it wants it back.
    let before = termios::tcgetattr(std::io::stdin()).ok();
    let signals = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    );
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = signals else {
        return work.await;
    };
    tokio::select! {
        code = work => code,
        _ = interrupt.recv() => interrupted(narrator, before.as_ref()),
        _ = terminate.recv() => interrupted(narrator, before.as_ref()),
        // Nobody is there to be told; every ssh ends with this program.
        _ = hangup.recv() => ExitCode::from(FAILED),
    }
}

fn interrupted(narrator: &Narrator, before: Option<&Termios>) -> ExitCode {
    if let Some(before) = before {
        let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
    }
    anstream::eprintln!("\nInterrupted.");
    let stages = narrator.stages();
    for (name, stage) in &stages {
        anstream::eprintln!("  {name}: {}", stage.words());
    }
    let done = stages
        .iter()
        .filter(|(_, stage)| *stage == Stage::Done)
        .count();
    ExitCode::from(if done > 0 { PARTLY } else { FAILED })
}

fn misused(error: &UsageError) -> ExitCode {
    refuse(
        USAGE,
        error,
        "`bootstrap add-machine --help` shows what can be said.",
    )
}

fn refuse(code: u8, error: &dyn Display, hint: &str) -> ExitCode {
    let text = format!("error: {error}");
    anstream::eprintln!("{}", ca_client::text::clean(&text));
    if !hint.is_empty() {
        anstream::eprintln!("{}", ca_client::text::clean(hint.trim()));
    }
    ExitCode::from(code)
}
