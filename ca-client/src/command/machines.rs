//! `machines`: which machines you reach and as whom, as the CA last said.

use serde::Serialize;

use super::{Ending, Failure, Format, print_json};
use crate::{
    directory::{Login, Machine, Reach},
    install,
    places::Places,
    say,
    session::Session,
};

#[derive(Serialize)]
pub(super) struct MachineFacts {
    name: String,
    address: String,
    port: u16,
    pools: Vec<String>,
    accounts: Vec<String>,
}

pub(super) fn run(places: &Places, format: Format) -> Result<Ending, Failure> {
    let session = Session::load(places)?;
    let reach = stored_reach(places, &session)?;
    match format {
        Format::Json => print_json(&facts(&reach)),
        Format::Text => say::out(&machine_list(&reach)),
    }
    Ok(Ending::Done)
}

/// The stored directory, parsed.
pub(super) fn stored_reach(places: &Places, session: &Session) -> Result<Reach, Failure> {
    install::stored_directory(places)
        .and_then(|directory| Reach::parse(&directory, session.certificates.len()).ok())
        .ok_or_else(|| {
            Failure::new(
                "the list of machines is not stored here",
                "Fetch it: ca-client renew",
            )
        })
}

pub(super) fn facts(reach: &Reach) -> Vec<MachineFacts> {
    let fact = |machine: &Machine| MachineFacts {
        name: machine.name.to_string(),
        address: machine.address.to_string(),
        port: machine.port,
        pools: machine.pools.iter().map(ToString::to_string).collect(),
        accounts: machine
            .logins
            .iter()
            .map(|login| login.account.to_string())
            .collect(),
    };
    reach.machines.iter().map(fact).collect()
}

/// The machines as a person reads them.
pub(super) fn machine_list(reach: &Reach) -> String {
    if reach.machines.is_empty() {
        return "You reach no machine at the moment. Ask your admin; then: ca-client renew\n"
            .to_owned();
    }
    let join = |parts: Vec<String>| parts.join(", ");
    let row = |machine: &Machine| {
        vec![
            format!("ssh {}", machine.name),
            join(
                machine
                    .logins
                    .iter()
                    .map(|Login { account, .. }| account.to_string())
                    .collect(),
            ),
            join(machine.pools.iter().map(ToString::to_string).collect()),
        ]
    };
    let mut rows = vec![vec![
        "command".to_owned(),
        "as".to_owned(),
        "pools".to_owned(),
    ]];
    rows.extend(reach.machines.iter().map(row));
    say::columns(&rows)
}
