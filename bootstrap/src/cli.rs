//! The command line: what can be said, and what is wrong with it before anything is done.

use std::path::PathBuf;

use ca_machine::pull::PullUrl;
use clap::{Args, Parser, Subcommand};

/// Turns a machine with an `ssh-admin` login into a pool machine, once, over ssh.
#[derive(Debug, Parser)]
#[command(name = "bootstrap", version, disable_help_subcommand = true)]
#[command(
    after_help = "Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 some machines done and some not."
)]
pub struct Cli {
    /// How the CA is reached.
    #[command(flatten)]
    pub door: DoorArgs,
    /// Print the result as one JSON object on standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// How the CA is reached: over HTTPS as `ca-client setup` stored it, with an admin login, or over its socket.
#[derive(Debug, Clone, Args)]
pub struct DoorArgs {
    /// On the CA's own host, as root: its admin socket; no login is needed.
    #[arg(long, global = true, value_name = "PATH", conflicts_with_all = ["login_file", "login_stdin"])]
    pub socket: Option<PathBuf>,
    /// For scripts: a file with the admin's email, password and one TOTP code, a line each.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with = "login_stdin"
    )]
    pub login_file: Option<PathBuf>,
    /// For scripts: the same three lines on standard input.
    #[arg(long, global = true)]
    pub login_stdin: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Puts machines under the CA: preflight, snapshot, roll-back timer, proof with real logins.
    AddMachine(Box<AddArgs>),
    /// Compares machines with what the CA wants on them.
    Check(CheckArgs),
    /// Takes the CA off a machine and forgets it; `ssh-admin` keeps working.
    RemoveMachine(Box<RemoveArgs>),
    /// Prints a completion script.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

/// `add-machine`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The machines, by the names that they have in the CA.
    #[arg(
        value_name = "NAME",
        required_unless_present = "file",
        conflicts_with = "file"
    )]
    pub names: Vec<String>,
    /// A file with one machine a line.
    #[arg(
        long,
        value_name = "HOSTS",
        help = "A file with one machine a line: NAME [ADDRESS[:PORT]] [POOL,POOL] [user=…] [jump=…] [identity=…] [host-key=…]"
    )]
    pub file: Option<PathBuf>,
    /// A pool that the machines go into; may be given several times. Needed for a machine that the CA does not know yet.
    #[arg(long = "pool", value_name = "POOL")]
    pub pools: Vec<String>,
    /// Where the machine is reached, also by the CA [default: its name, port 22].
    #[arg(long, value_name = "HOST[:PORT]")]
    pub address: Option<String>,
    /// How to log in.
    #[command(flatten)]
    pub login: LoginArgs,
    /// The public key for ssh-admin, where the login is another one (such as root) and ssh-admin is to be made.
    #[arg(long, value_name = "FILE")]
    pub admin_key: Option<PathBuf>,
    /// An account that stands there already and that the CA may take over; may be given several times.
    #[arg(long = "adopt", value_name = "ACCOUNT")]
    pub adopt: Vec<String>,
    /// The machine fetches for itself as well, with curl or wget: from the CA, or from the tree at URL that `ca-server publish` writes.
    #[arg(long, value_name = "URL", num_args = 0..=1)]
    pub pull: Option<Option<PullUrl>>,
    /// The machine does not know the CA any more, or the CA does not know it: it was made anew under its old name, or its
    /// state or fleet key is another one. The CA pins the host key that it has now, and it is told everything anew.
    #[arg(long)]
    pub resync: bool,
    /// Show what would change; change nothing, neither on the machine nor at the CA.
    #[arg(long)]
    pub dry_run: bool,
    /// Go on after warnings without asking. Never accepts an unknown host key.
    #[arg(long)]
    pub yes: bool,
    /// How long a changed machine waits for a new login before it puts itself back, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(20..=600))]
    pub confirm_within: u64,
    /// How many machines are worked on at a time.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub at_once: u8,
}

/// How to log in to a machine.
#[derive(Debug, Clone, Args)]
pub struct LoginArgs {
    /// A host to jump over, as `ssh -J` takes it.
    #[arg(long, value_name = "HOST")]
    pub jump: Option<String>,
    /// The account to log in to; it must be root or become root through sudo or doas [default: ssh-admin].
    #[arg(long = "as", value_name = "USER")]
    pub user: Option<String>,
    /// The key to log in with [default: the agent's keys and the usual files in ~/.ssh, then the password].
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// The machine's host key, read on its console, for the first contact; for one machine.
    #[arg(long, value_name = "SHA256:…")]
    pub host_key: Option<String>,
    /// For scripts: a file with the password of the login, which is also tried for sudo.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The machines.
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// How to log in for the look from here.
    #[command(flatten)]
    pub login: LoginArgs,
}

/// `remove-machine`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// The machine.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// How to log in.
    #[command(flatten)]
    pub login: LoginArgs,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    fn refused(words: &[&str]) -> String {
        let words = ["bootstrap"].iter().chain(words);
        let error = Cli::try_parse_from(words).expect_err("it is refused");
        assert_eq!(error.exit_code(), 2);
        error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    #[test]
    fn wrong_usage_is_refused_in_a_sentence() {
        assert_eq!(
            refused(&["add-machine"]),
            "error: the following required arguments were not provided:"
        );
        assert_eq!(
            refused(&["add-machine", "web-1", "--file", "hosts"]),
            "error: the argument '[NAME]...' cannot be used with '--file <HOSTS>'"
        );
        assert_eq!(
            refused(&["add-machine", "web-1", "--confirm-within", "5"]),
            "error: invalid value '5' for '--confirm-within <SECONDS>': 5 is not in 20..=600"
        );
        assert_eq!(
            refused(&["add-machine", "--pull", "web-1"]),
            "error: invalid value 'web-1' for '--pull [<URL>]': \"web-1\" is not an address to fetch from: expected http://HOST or https://HOST, perhaps with :PORT and /PATH, without user name, ? or #"
        );
        assert_eq!(
            refused(&["add-machine", "web-1", "--password", "x"]),
            "error: unexpected argument '--password' found"
        );
        assert_eq!(
            refused(&["check", "web-1", "--socket", "/s", "--login-stdin"]),
            "error: the argument '--socket <PATH>' cannot be used with '--login-stdin'"
        );
    }
}
