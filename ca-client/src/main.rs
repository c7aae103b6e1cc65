//! The employee's command line.

use std::{env, process::ExitCode};

use ca_client::{
    command::{Cli, Ending},
    due,
    places::Places,
    say,
};
use clap::Parser;

fn main() -> ExitCode {
    // ssh asks this before every connection: the usual answer comes before anything else is set up.
    if env::args_os().skip(1).eq(["renew", "--if-due"])
        && Places::of_user().is_ok_and(|places| due::nothing_to_do(&places))
    {
        return ExitCode::SUCCESS;
    }
    match Cli::parse().run() {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::Amiss) => ExitCode::from(1),
        Ok(Ending::Partly) => ExitCode::from(3),
        Err(failure) => {
            say::err(&format!("ca-client: {failure}"));
            ExitCode::from(1)
        }
    }
}
