//! `ca-server grant …`.

use ca_api::admin::{AdminRequest, GrantSpec};
use clap::{Args, Subcommand, ValueEnum};
use policies::{AccountName, Email, Hours, PoolName, TeamName};

use super::{ValueError, name};
use crate::cli::{
    order::Order,
    time::{Clock, Deadline, parse_deadline, parse_span_secs},
};

/// What to do with grants.
#[derive(Debug, Clone, Subcommand)]
pub enum GrantVerb {
    /// Let a team or an employee use an account on a pool.
    #[command(after_help = "Examples:\n  \
                            ca-server grant add --team ops --pool production --account deploy --sudo \"/usr/bin/systemctl restart app\"\n  \
                            ca-server grant add --employee alice@corp.example --pool db --until 2026-12-24 --source 10.0.0.0/8\n  \
                            ca-server grant add --team support --pool web --hours \"Mon-Fri 08:00-18:00 Europe/Berlin\" --allow pty,port-forwarding\n  \
                            ca-server grant add --team root-ops --pool db --account dba --security-key --sudo all")]
    Add(Box<GrantOptions>),
    /// List all grants.
    #[command(after_help = "Example:\n  ca-server grant list")]
    List,
    /// Remove a grant; live certificates that it gave are revoked.
    #[command(after_help = "Example:\n  ca-server grant remove 17")]
    Remove {
        /// Its number, as `grant list` shows it.
        id: u64,
    },
}

/// What a certificate may allow, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExtensionWord {
    /// A terminal.
    Pty,
    /// Tunnels: `ssh -L`, `-R`, `-W`, `-J`.
    PortForwarding,
    /// The person's ssh-agent on the machine: `ssh -A`.
    AgentForwarding,
    /// X11: `ssh -X`.
    X11Forwarding,
    /// The account's own `~/.ssh/rc`.
    UserRc,
}

impl ExtensionWord {
    fn as_written(self) -> String {
        self.to_possible_value()
            .expect("no variant is hidden")
            .get_name()
            .to_owned()
    }
}

/// A grant as it is written.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("who").required(true).args(["team", "employee"]))]
pub struct GrantOptions {
    /// For everybody in this team.
    #[arg(long, value_name = "TEAM", value_parser = name::<TeamName>)]
    team: Option<String>,
    /// For this employee.
    #[arg(long, value_name = "EMAIL", value_parser = name::<Email>)]
    employee: Option<String>,
    /// On the machines of this pool.
    #[arg(long, value_parser = name::<PoolName>)]
    pool: String,
    /// Their own account (`self`), or the name of a shared one.
    #[arg(long, value_name = "self|NAME", default_value = "self", value_parser = name::<AccountName>)]
    account: String,
    /// What the account may do through sudo.
    #[arg(long, value_name = "none|all|CMD,…", default_value = "none", value_parser = sudo)]
    sudo: String,
    /// Ends by itself: a date (its end), a date with a time, RFC 3339, or a span such as 8h or 30d from now.
    #[arg(long, value_name = "TIME", value_parser = parse_deadline)]
    until: Option<Deadline>,
    /// Longest lifetime of a certificate: 30m, 8h.
    #[arg(long, value_name = "SPAN", value_parser = parse_span_secs)]
    lifetime: Option<u64>,
    /// A network that it may be used from (may be repeated).
    #[arg(long = "source", value_name = "CIDR", value_parser = cidr)]
    sources: Vec<String>,
    /// The only command that it runs.
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// In force in these hours only; certificates end with them.
    #[arg(long, value_name = "DAYS TIMES ZONE", value_parser = hours)]
    hours: Option<String>,
    /// For keys in a security key only (`ssh-keygen -t ed25519-sk`), touched and unlocked at each login.
    #[arg(long)]
    security_key: bool,
    /// Sessions must be recorded.
    #[arg(long)]
    record: bool,
    /// Allow exactly this (may be repeated, or parted by commas); a terminal alone if not written.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT",
          conflicts_with_all = ["port_forwarding", "agent_forwarding", "no_pty"])]
    allow: Vec<ExtensionWord>,
    /// Allow a terminal and port forwarding.
    #[arg(long)]
    port_forwarding: bool,
    /// Allow a terminal and forwarding of the ssh-agent.
    #[arg(long)]
    agent_forwarding: bool,
    /// Withhold the terminal.
    #[arg(long)]
    no_pty: bool,
    /// The account is a system account, and that is meant.
    #[arg(long)]
    system_account: bool,
}

impl GrantVerb {
    /// The request that it means; `clock` settles a span or a local time.
    #[must_use]
    pub fn order(self, clock: Clock) -> Order {
        Order::new(match self {
            Self::Add(options) => AdminRequest::GrantAdd(GrantSpec {
                team: options.team,
                employee: options.employee,
                pool: options.pool,
                account: options.account,
                sudo: Some(options.sudo),
                until_unix: options.until.map(|until| until.unix(clock)),
                lifetime_secs: options.lifetime,
                sources: options.sources,
                command: options.command,
                port_forwarding: options.port_forwarding,
                agent_forwarding: options.agent_forwarding,
                no_pty: options.no_pty,
                allow: listed(options.allow),
                hours: options.hours,
                security_key: options.security_key,
                record: options.record,
                system_account: options.system_account,
            }),
            Self::List => AdminRequest::GrantList {},
            Self::Remove { id } => AdminRequest::GrantRemove { id },
        })
    }
}

/// `none`, `all`, or absolute commands parted by commas.
fn sudo(text: &str) -> Result<String, ValueError> {
    let fine = matches!(text, "none" | "all")
        || text
            .split(',')
            .all(|command| command.trim().starts_with('/') && !command.contains(char::is_control));
    fine.then(|| text.to_owned()).ok_or(ValueError {
        rule: "expected none, all, or commands that begin with /, parted by commas",
    })
}

/// Nothing written is no list at all.
fn listed(words: Vec<ExtensionWord>) -> Option<Vec<String>> {
    (!words.is_empty()).then(|| words.into_iter().map(ExtensionWord::as_written).collect())
}

/// Days, times and a zone, in their one canonical form.
fn hours(text: &str) -> Result<String, policies::hours::HoursError> {
    text.parse::<Hours>().map(|hours| hours.to_string())
}

/// `ADDRESS/BITS`, or an address alone.
fn cidr(text: &str) -> Result<String, ValueError> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let fine = address.parse::<std::net::IpAddr>().is_ok_and(|address| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        bits.is_none_or(|bits| {
            bits.bytes().all(|byte| byte.is_ascii_digit())
                && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
        })
    });
    fine.then(|| text.to_owned()).ok_or(ValueError {
        rule: "expected a network such as 10.0.0.0/8 or fd00::/8, or an IP address",
    })
}
