//! `completions SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, Ending, Failure};
use crate::say;

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Arguments {
    /// Which shell
    shell: Shell,
}

pub(super) fn run(arguments: Arguments) -> Result<Ending, Failure> {
    let mut script = Vec::new();
    generate(
        arguments.shell,
        &mut Cli::command(),
        "ca-client",
        &mut script,
    );
    say::out(&String::from_utf8_lossy(&script));
    Ok(Ending::Done)
}
