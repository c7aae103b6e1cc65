//! What is proven of a sync, machine by machine, and one machine as it comes in.

use ca_api::admin::{DeliveryOutcome, MachineDelivery};

use super::table::{BAD, Cell, GOOD, Table, WARN, styled};
use crate::cli::{
    text::{count, line},
    time::{Clock, millis},
};

/// A sync: one row a machine, what was changed, what to do next.
#[must_use]
pub fn synced(machines: &[MachineDelivery], clock: Clock) -> String {
    if machines.is_empty() {
        return "No machine to sync.\n".to_owned();
    }
    let mut table = Table::new(["MACHINE", "STATE", "KRL", "OUTCOME", "TOOK"]);
    for one in worst_last(machines) {
        let (state, krl, outcome, style) = match &one.outcome {
            DeliveryOutcome::Proven {
                krl_version,
                generation,
                ..
            } => {
                let outcome = match one.changes.len() {
                    0 => "as wanted, nothing to change".to_owned(),
                    changes => format!("{} made, proven", count(changes, "change")),
                };
                (generation.to_string(), *krl_version, outcome, GOOD)
            }
            DeliveryOutcome::NotReached {
                reason,
                krl_version,
                exposed_until_unix,
            } => {
                let exposed = exposed_until_unix
                    .map(|until| {
                        format!(
                            "; what is revoked may work there until {}",
                            clock.until(until)
                        )
                    })
                    .unwrap_or_default();
                (
                    "unknown".to_owned(),
                    *krl_version,
                    format!("NOT REACHED — {reason}{exposed}"),
                    BAD,
                )
            }
        };
        table.row([
            Cell::text(&one.machine),
            Cell::text(&state),
            Cell::number(krl),
            Cell::text(&outcome).style(style),
            Cell::text(&millis(one.millis)),
        ]);
    }
    let mut out = table.render();
    for one in machines.iter().filter(|one| !one.changes.is_empty()) {
        out.push_str(&format!("\n{}:\n", line(&one.machine)));
        for change in &one.changes {
            out.push_str(&format!("  {}\n", line(change)));
        }
    }
    let missed = missed(machines).len();
    out.push('\n');
    if missed == 0 {
        out.push_str(&format!("{} as wanted.\n", are(machines.len())));
    } else {
        let text = format!(
            "{} of {} not reached.",
            missed,
            count(machines.len(), "machine")
        );
        out.push_str(&format!(
            "{} What is back is caught up; to try now: ca-server sync\n",
            styled(BAD, &text)
        ));
    }
    out
}

/// One machine as it comes in: `web-1: refuses now (proven), 310 ms`.
#[must_use]
pub fn progress(state: &MachineDelivery) -> String {
    let name = line(&state.machine);
    match &state.outcome {
        DeliveryOutcome::Proven {
            krl_version,
            sessions_ended,
            sessions_open,
            ..
        } => {
            let mut text = format!(
                "{name}: {}, KRL {krl_version}, {}",
                styled(GOOD, "proven"),
                millis(state.millis)
            );
            if !sessions_ended.is_empty() {
                text.push_str(&format!(
                    ", {} ended",
                    count(sessions_ended.len(), "session")
                ));
            }
            if !sessions_open.is_empty() {
                let open = format!("{} still open", count(sessions_open.len(), "session"));
                text.push_str(&format!(", {}", styled(WARN, &open)));
            }
            text
        }
        DeliveryOutcome::NotReached { reason, .. } => {
            format!("{name}: {} — {}", styled(BAD, "NOT REACHED"), line(reason))
        }
    }
}

/// How long proven machines took: `half within 310 ms, 99 % within 1.2 s`; nothing for fewer than two.
#[must_use]
pub fn timing(millis_each: &[u64]) -> Option<String> {
    if millis_each.len() < 2 {
        return None;
    }
    let mut sorted = millis_each.to_vec();
    sorted.sort_unstable();
    // Nearest rank: the smallest value that at least so many per cent do not exceed.
    let rank = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100) - 1];
    Some(format!(
        "{} proven: half within {}, 99 % within {}",
        count(sorted.len(), "machine"),
        millis(rank(50)),
        millis(rank(99))
    ))
}

pub(super) fn are(machines: usize) -> String {
    match machines {
        1 => "1 machine is".to_owned(),
        machines => format!("All {machines} machines are"),
    }
}

/// The machines that were not reached, with the reason.
pub(super) fn missed(machines: &[MachineDelivery]) -> Vec<(&MachineDelivery, &str)> {
    machines
        .iter()
        .filter_map(|one| match &one.outcome {
            DeliveryOutcome::NotReached { reason, .. } => Some((one, reason.as_str())),
            DeliveryOutcome::Proven { .. } => None,
        })
        .collect()
}

/// All is well first, open sessions next, not reached last: the end of a long table is what stands on the screen.
pub(super) fn worst_last(machines: &[MachineDelivery]) -> Vec<&MachineDelivery> {
    let weight = |one: &&MachineDelivery| match &one.outcome {
        DeliveryOutcome::Proven { sessions_open, .. } if sessions_open.is_empty() => 0,
        DeliveryOutcome::Proven { .. } => 1,
        DeliveryOutcome::NotReached { .. } => 2,
    };
    let mut rows: Vec<_> = machines.iter().collect();
    rows.sort_by_key(weight);
    rows
}
