//! What is proven of a revocation, machine by machine, and what to do next.
//!
//! Written for an admin at three in the morning: what is settled stands first, what is not stands last, next to the
//! summary, and every open point comes with the next command.

use anstyle::Style;
use ca_api::admin::{DeliveryOutcome, MachineDelivery, Revocation};

use super::{
    Context,
    delivery::{missed, worst_last},
    table::{BAD, Cell, GOOD, Table, WARN, styled},
};
use crate::cli::{
    text::{count, line},
    time::Clock,
};

/// A revocation: the table, the summary, what to do next.
#[must_use]
pub fn revoked(revocation: &Revocation, context: &Context) -> String {
    let clock = context.clock;
    let total = revocation.machines.len();
    let missed = missed(&revocation.machines);
    let mut out = String::new();
    if total > 0 {
        out.push_str(&table(&revocation.machines, Refusal::of(revocation), clock));
        out.push('\n');
    }
    out.push_str(&summary(revocation, total, missed.len(), clock));
    let next = next_steps(revocation, &missed, context);
    if !next.is_empty() {
        out.push_str("\nNext:\n");
        for step in next {
            out.push_str(&format!("  {step}\n"));
        }
    }
    out
}

/// What a proven machine does now.
#[derive(Clone, Copy)]
enum Refusal {
    /// It refuses what was just revoked.
    Now,
    /// It has the KRL; nothing new was revoked.
    Current,
}

impl Refusal {
    fn of(revocation: &Revocation) -> Self {
        if revocation.what.is_empty() {
            Self::Current
        } else {
            Self::Now
        }
    }
}

fn table(machines: &[MachineDelivery], refusal: Refusal, clock: Clock) -> String {
    let mut table = Table::new(["MACHINE", "KRL", "OUTCOME", "SESSIONS"]);
    for one in worst_last(machines) {
        let (krl, outcome, style, sessions) = match &one.outcome {
            DeliveryOutcome::Proven {
                krl_version,
                sessions_ended,
                sessions_open,
                ..
            } => {
                let outcome = match refusal {
                    Refusal::Now => "refuses now (proven)",
                    Refusal::Current => "has it (proven)",
                };
                let sessions = match (sessions_ended.len(), sessions_open.len()) {
                    (0, 0) => String::new(),
                    (ended, 0) => format!("{ended} ended"),
                    (0, open) => format!("{open} STILL OPEN"),
                    (ended, open) => format!("{ended} ended, {open} STILL OPEN"),
                };
                let sessions = Cell::text(&sessions).style(if sessions_open.is_empty() {
                    Style::new()
                } else {
                    WARN
                });
                (*krl_version, outcome.to_owned(), GOOD, sessions)
            }
            DeliveryOutcome::NotReached {
                krl_version,
                exposed_until_unix,
                ..
            } => {
                let exposed = match (exposed_until_unix, refusal) {
                    (Some(until), _) => format!(
                        "NOT REACHED — would still work there until {}",
                        clock.until(*until)
                    ),
                    (None, Refusal::Now) => {
                        "NOT REACHED — nothing live that would work there".to_owned()
                    }
                    (None, Refusal::Current) => "NOT REACHED".to_owned(),
                };
                (*krl_version, exposed, BAD, Cell::text("unknown"))
            }
        };
        table.row([
            Cell::text(&one.machine),
            Cell::number(krl),
            Cell::text(&outcome).style(style),
            sessions,
        ]);
    }
    table.render()
}

fn summary(revocation: &Revocation, total: usize, missed: usize, clock: Clock) -> String {
    let proven = total - missed;
    let mut out = String::new();
    if revocation.what.is_empty() {
        let text = format!(
            "KRL {} is proven on {proven} of {}.",
            revocation.krl_version,
            count(total, "machine")
        );
        out.push_str(&styled(if missed == 0 { GOOD } else { BAD }, &text));
        out.push('\n');
        return out;
    }
    let what = line(&revocation.what);
    let text = match (total, missed) {
        (0, _) => format!(
            "Revoked: {what} (KRL {}). The CA looks after no machine yet, so there is none to prove it on.",
            revocation.krl_version
        ),
        (1, 0) => format!(
            "Revoked: {what} (KRL {}). The only machine refuses it now, proven.",
            revocation.krl_version
        ),
        (_, 0) => format!(
            "Revoked: {what} (KRL {}). All {total} machines refuse it now, proven.",
            revocation.krl_version
        ),
        (_, _) => format!(
            "Revoked: {what} (KRL {}). {proven} of {} now, proven; {missed} NOT REACHED.",
            revocation.krl_version,
            if total == 1 {
                "1 machine refuses it".to_owned()
            } else {
                format!("{total} machines refuse it")
            },
        ),
    };
    out.push_str(&styled(if missed == 0 { GOOD } else { BAD }, &text));
    out.push('\n');
    let live = match revocation.last_expiry_unix {
        Some(until) if revocation.live_certificates > 0 => format!(
            "{} had been live, the last one until {}",
            count(revocation.live_certificates, "certificate"),
            clock.when(until)
        ),
        _ if revocation.live_certificates > 0 => {
            format!(
                "{} had been live",
                count(revocation.live_certificates, "certificate")
            )
        }
        _ => "No certificate was live".to_owned(),
    };
    let sessions = Sessions::of(&revocation.machines);
    let at_the_ca = count(revocation.sessions_ended, "session");
    out.push_str(&format!("{live}. {at_the_ca} at the CA ended"));
    if total > 0 {
        let live = count(sessions.ended, "live session");
        out.push_str(&format!(", {live} on machines ended"));
    }
    out.push_str(".\n");
    if !sessions.open.is_empty() {
        let open = count(sessions.open.len(), "live session");
        let text = format!("{open} could not be ended, or not be attributed to anybody:");
        out.push_str(&format!("{}\n", styled(WARN, &text)));
        for session in &sessions.open {
            out.push_str(&format!("  {session}\n"));
        }
    }
    out
}

fn next_steps(
    revocation: &Revocation,
    missed: &[(&MachineDelivery, &str)],
    context: &Context,
) -> Vec<String> {
    let mut steps = Vec::new();
    for (one, reason) in missed {
        steps.push(format!("{}: {}", line(&one.machine), line(reason)));
    }
    if !missed.is_empty() {
        let (who, gets) = match missed {
            [_] => ("It", "gets"),
            _ => ("They", "get"),
        };
        steps.push(format!(
            "{who} {gets} the KRL when back. To try now, and to prove it: ca-server krl push"
        ));
        let exposed = missed.iter().any(|(one, _)| {
            matches!(
                &one.outcome,
                DeliveryOutcome::NotReached {
                    exposed_until_unix: Some(_),
                    ..
                }
            )
        });
        if exposed {
            steps.push(
                "If that cannot wait: cut the machine off from the network until then.".to_owned(),
            );
        }
    }
    if !Sessions::of(&revocation.machines).open.is_empty() {
        steps.push("Look at the open sessions on the machine (`who`, `ps -ef`), and end what should not be there.".to_owned());
    }
    if let Some(email) = &context.employee {
        let email = line(email);
        if revocation.login_closed {
            steps.push(format!(
                "Login is closed for {email}. To open it again: ca-server employee resume {email}"
            ));
            steps.push(format!(
                "If password or phone may be in other hands, first: ca-server employee reset {email}"
            ));
        } else if !revocation.what.is_empty() {
            steps.push(format!(
                "Login stays open: {email} gets new certificates with password and TOTP. To close it: ca-server employee suspend {email}"
            ));
        }
    }
    steps
}

/// Live sessions on machines, each as `machine: session`.
#[derive(Default)]
struct Sessions {
    ended: usize,
    open: Vec<String>,
}

impl Sessions {
    fn of(machines: &[MachineDelivery]) -> Self {
        let mut sessions = Self::default();
        for one in machines {
            if let DeliveryOutcome::Proven {
                sessions_ended,
                sessions_open,
                ..
            } = &one.outcome
            {
                let name = line(&one.machine);
                sessions.ended += sessions_ended.len();
                let open = sessions_open
                    .iter()
                    .map(|session| format!("{name}: {}", line(session)));
                sessions.open.extend(open);
            }
        }
        sessions
    }
}
