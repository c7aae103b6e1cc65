//! Machines, for people.

use anstyle::Style;
use ca_api::admin::{MachineRemoved, MachineView, RemovalOutcome};

use super::{
    checkup,
    table::{BAD, Cell, Fields, Table, WARN, styled},
};
use crate::cli::{
    text::{count, line},
    time::Clock,
};

/// All of them, one a row.
#[must_use]
pub fn all(machines: &[MachineView], clock: Clock) -> String {
    if machines.is_empty() {
        return "No machines yet. Add the first: bootstrap add-machine NAME --pool POOL\n"
            .to_owned();
    }
    let mut table = Table::new([
        "MACHINE",
        "ADDRESS",
        "POOLS",
        "STATE",
        "KRL",
        "OTHER LOGINS",
        "CHECK-UP",
        "LAST SEEN",
        "TROUBLE",
    ]);
    for one in machines {
        let (state, state_style) = state(one);
        let (krl, krl_style) = krl(one, clock);
        table.row([
            Cell::text(&one.name),
            Cell::text(&address(one)),
            Cell::list(&one.pools),
            Cell::text(&state).style(state_style),
            Cell::text(&krl).style(krl_style),
            Cell::text(if one.observed { "observed" } else { "ended" }),
            checkup::cell(one.check.as_ref(), clock),
            Cell::text(
                &one.last_seen_unix
                    .map_or("never".to_owned(), |unix| clock.distance(unix)),
            ),
            Cell::text(&one.trouble).style(if one.trouble.is_empty() {
                Style::new()
            } else {
                BAD
            }),
        ]);
    }
    table.render()
}

/// One, in full.
#[must_use]
pub fn one(one: &MachineView, clock: Clock) -> String {
    let (state, state_style) = state(one);
    let (krl, krl_style) = krl(one, clock);
    let others = if one.observed {
        "accounts that the CA did not make log in as before (`machine enforce` ends that)"
    } else {
        "accounts that the CA did not make cannot log in, but the admins' own"
    };
    // What is wanted is not said to be so before it is.
    let others = if one.generation == one.generation_wanted {
        others.to_owned()
    } else {
        format!("wanted there: {others}")
    };
    let last_seen = one
        .last_seen_unix
        .map_or("never".to_owned(), |unix| clock.until(unix));
    Fields::new(&format!("machine {}", one.name))
        .field("address", &address(one))
        .list("pools", &one.pools)
        .styled("state", state_style, &state)
        .styled("KRL", krl_style, &krl)
        .field("other logins", &others)
        .field("fetches", &fetches(one, clock))
        .field("last seen", &last_seen)
        .styled("trouble", BAD, &one.trouble)
        .field("host key", &one.host_key)
        .field(
            "host certificate until",
            &clock.until(one.host_certificate_until_unix),
        )
        .list("who", &one.who)
        .list("check-up", &checkup::lines(one.check.as_ref(), clock))
        .render()
}

/// Only who can log in, one a line.
#[must_use]
pub fn who(one: &MachineView) -> String {
    if one.who.is_empty() {
        return format!(
            "Nobody reaches {} through the CA.\n",
            crate::cli::text::line(&one.name)
        );
    }
    one.who
        .iter()
        .map(|line| format!("{}\n", crate::cli::text::line(line)))
        .collect()
}

/// What came of removing one.
#[must_use]
pub fn removed(removed: &MachineRemoved, clock: Clock) -> String {
    let name = line(&removed.machine);
    let host_key = "Employees' ssh refuses its host key from their next login or renewal on.";
    match &removed.outcome {
        RemovalOutcome::TakenOff {
            files,
            accounts,
            notes,
            sshd_answers,
        } => {
            let mut out = format!(
                "{name}: the CA is off it, by its own report ({}), and it is forgotten.\n",
                count(*files as usize, "file")
            );
            if !accounts.is_empty() {
                out.push_str(&format!(
                    "Accounts there (homes stay): {}.\n",
                    line(&accounts.join(", "))
                ));
            }
            for note in notes {
                out.push_str(&format!("{}\n", styled(WARN, &line(note))));
            }
            out.push_str(if *sshd_answers {
                "Its sshd answers; the admins' own account logs in as before. "
            } else {
                "Its sshd did NOT answer afterwards: look at its console. "
            });
            out.push_str(&format!("{host_key}\n"));
            out
        }
        RemovalOutcome::Shut => format!(
            "{name}: its answer was lost, but it lets the CA in no more, as after a removal; it finishes by itself what it began. \
             It is forgotten. {host_key}\n"
        ),
        RemovalOutcome::Left => format!(
            "{name} is forgotten, and nothing was changed on it. {host_key}\n\
             If the CA's files are still there, it gets no more revocations, and certificates for its old pools still open it: \
             `bootstrap add-machine {name}` and `machine remove {name}` mend that.\n"
        ),
        RemovalOutcome::Waiting { reason } => format!(
            "{}\n\
             It has left its pools. {host_key} Until it is off it still trusts the CA: the CA goes on bringing it revocations, and \
             asks it again each minute (`machine list` shows it as leaving).\n\
             Gone for good? ca-server machine remove {name} --leave-files\n",
            styled(BAD, &format!("{name}: NOT YET OFF — {}", line(reason)))
        ),
        RemovalOutcome::Fetches {
            tree,
            until_unix,
            reported_unix,
        } => {
            let mut out = format!(
                "{}\n\
                 It has left its pools. {host_key} It is forgotten when it reports, signed with its host key, that the CA is off; until then it still \
                 trusts the CA, gets revocations, and `machine list` shows it as leaving. The order is good until {} and is made anew before.\n",
                styled(
                    BAD,
                    &format!(
                        "{name}: NOT YET OFF — it fetches for itself, and the signed order lies ready for its next fetch"
                    )
                ),
                clock.until(*until_unix)
            );
            if let Some(tree) = tree {
                out.push_str(&format!(
                    "It fetches from {}: the order comes there with the next `ca-server publish`.\n",
                    line(tree)
                ));
            }
            if reported_unix.is_none() {
                out.push_str(&format!(
                    "{}\n",
                    styled(WARN, "It has never reported to this CA. If it cannot reach the CA, only an admin can say that the CA is off.")
                ));
            }
            out.push_str(&format!(
                "With a login of your own, now: bootstrap remove-machine {name}. Off already, or gone for good: ca-server machine remove {name} --leave-files\n"
            ));
            out
        }
    }
}

fn address(one: &MachineView) -> String {
    match (one.port, one.address.contains(':')) {
        (22, _) => one.address.clone(),
        (port, true) => format!("[{}]:{port}", one.address),
        (port, false) => format!("{}:{port}", one.address),
    }
}

/// How it fetches for itself; empty where it does not.
fn fetches(one: &MachineView, clock: Clock) -> String {
    let Some(pull) = &one.pull else {
        return String::new();
    };
    let from = match &pull.tree {
        None => "from the CA".to_owned(),
        Some(tree) => format!("from {tree}/v1/{}", pull.place),
    };
    let alone = match pull.reach.as_str() {
        "pull only" => {
            "; the CA does not log in there, so only what the machine reports itself is proven"
        }
        _ => "; the CA logs in there as well",
    };
    let reported = pull
        .reported_unix
        .map_or("none yet".to_owned(), |unix| clock.distance(unix));
    let order = match &pull.order {
        None => String::new(),
        Some(order) => {
            let what = match order.verb.as_str() {
                "remove" => "the order to take the CA off it",
                _ => "an order to end sessions",
            };
            format!(
                "; {what} waits for its next fetch, since {}",
                clock.distance(order.made_unix)
            )
        }
    };
    format!("{from}{alone}; last report: {reported}{order}")
}

fn state(one: &MachineView) -> (String, Style) {
    if one.status != "managed" {
        return (one.status.clone(), WARN);
    }
    let fetches = match one.pull.as_ref().map(|pull| pull.reach.as_str()) {
        None => "",
        Some("pull only") => "; pulls",
        Some(_) => "; pulls too",
    };
    if one.generation == one.generation_wanted {
        return (
            format!("current ({}){fetches}", one.generation),
            Style::new(),
        );
    }
    (
        format!(
            "behind ({} of {}){fetches}",
            one.generation, one.generation_wanted
        ),
        WARN,
    )
}

fn krl(one: &MachineView, clock: Clock) -> (String, Style) {
    if one.krl_version == one.krl_wanted {
        return (format!("{} (proven)", one.krl_version), Style::new());
    }
    let exposed = one
        .exposed_until_unix
        .map(|until| format!(", exposed until {}", clock.until(until)))
        .unwrap_or_default();
    let text = format!("{} of {}{exposed}", one.krl_version, one.krl_wanted);
    (text, BAD)
}
