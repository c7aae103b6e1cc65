//! Why somebody gets in, or not: the answer first, then every rule, then the machine.

use ca_api::admin::{MachineSide, MissingView, PolicyExplained, RuleView};

use super::table::{BAD, FAINT, GOOD, WARN, styled};
use crate::cli::{
    text::{count, line},
    time::Clock,
};

/// The answer, with everything that was looked at.
#[must_use]
pub fn explained(explained: &PolicyExplained, clock: Clock) -> String {
    let style = if explained.allowed { GOOD } else { BAD };
    let mut out = format!("{}\n", styled(style, &line(&verdict(explained, clock))));
    out.push_str("\nPolicy\n");
    for obstacle in &explained.obstacles {
        out.push_str(&missing(obstacle, "  "));
    }
    for rule in &explained.rules {
        out.push_str(&one_rule(rule, clock));
    }
    if explained.rules.is_empty() {
        out.push_str("  no grant names them or a team of theirs, and none is on this machine\n");
    }
    out.push_str("\nMachine\n");
    match &explained.machine_side {
        None => out.push_str("  not in the CA's keeping\n"),
        Some(side) => out.push_str(&machine(side, clock)),
    }
    out.push_str("\nCertificates\n");
    out.push_str(&certificates(explained, clock));
    if let Some(next) = &explained.next {
        out.push_str(&format!("\nNext:\n  {}\n", line(next)));
    }
    out
}

/// `yes, as deploy, by grant 4, until today 17:00`, `no: …`
fn verdict(explained: &PolicyExplained, clock: Clock) -> String {
    if !explained.allowed {
        return format!("no: {}", explained.verdict);
    }
    let gives = explained
        .rules
        .iter()
        .filter_map(|rule| rule.gives.as_ref().map(|gives| (rule.grant, gives)))
        .max_by_key(|(_, gives)| gives.ends_unix);
    match gives {
        Some((grant, gives)) => format!(
            "yes, as {}, by grant {grant}, until {}",
            gives.account,
            clock.until(gives.ends_unix)
        ),
        None => format!("yes: {}", explained.verdict),
    }
}

fn one_rule(rule: &RuleView, clock: Clock) -> String {
    let sign = if rule.gives.is_some() {
        styled(GOOD, "yes")
    } else {
        styled(FAINT, "no ")
    };
    let mut out = format!("  {sign}  {}\n", line(&rule.sentence));
    if rule.team_path.len() > 1 {
        out.push_str(&format!(
            "         through the teams {}\n",
            line(&rule.team_path.join(" > "))
        ));
    }
    if rule.pool_path.len() > 1 {
        out.push_str(&format!(
            "         through the pools {}\n",
            line(&rule.pool_path.join(" > "))
        ));
    }
    if let Some(gives) = &rule.gives {
        let conditions = if gives.conditions.is_empty() {
            String::new()
        } else {
            format!("; {}", line(&gives.conditions))
        };
        out.push_str(&format!(
            "         as {}, sudo {}, until {}{conditions}\n",
            line(&gives.account),
            line(&gives.sudo),
            clock.until(gives.ends_unix)
        ));
    }
    for one in &rule.missing {
        out.push_str(&missing(one, "       "));
    }
    out
}

fn missing(one: &MissingView, indent: &str) -> String {
    let mut out = format!("{indent}- {}\n", line(&one.sentence));
    if let Some(mend) = &one.mend {
        out.push_str(&format!("{indent}  {}\n", styled(FAINT, &line(mend))));
    }
    out
}

fn machine(side: &MachineSide, clock: Clock) -> String {
    let mut out = String::new();
    for one in &side.accounts {
        let (words, style) = match (one.wanted, one.there) {
            (true, true) => ("is there", GOOD),
            (true, false) => ("is on its way: not there yet", WARN),
            (false, true) => ("is to be closed, and still there", WARN),
            (false, false) => ("is not there, and not wanted there", BAD),
        };
        out.push_str(&format!(
            "  account {} {}\n",
            line(&one.account),
            styled(style, words)
        ));
    }
    let generation = if side.generation == side.generation_wanted {
        format!("configuration current ({})", side.generation)
    } else {
        styled(
            WARN,
            &format!(
                "configuration behind ({} of {})",
                side.generation, side.generation_wanted
            ),
        )
    };
    let krl = if side.krl_version == side.krl_wanted {
        format!("KRL {} proven", side.krl_version)
    } else {
        styled(
            BAD,
            &format!("KRL {} of {}", side.krl_version, side.krl_wanted),
        )
    };
    let seen = side
        .last_seen_unix
        .map_or("never".to_owned(), |at| clock.distance(at));
    out.push_str(&format!("  {generation}, {krl}, last seen {seen}\n"));
    for one in &side.findings {
        out.push_str(&missing(one, "  "));
    }
    out
}

fn certificates(explained: &PolicyExplained, clock: Clock) -> String {
    let all = &explained.certificates;
    if all.is_empty() {
        return "  none is valid now; a login gives one\n".to_owned();
    }
    let revoked = all.iter().filter(|one| one.revoked).count();
    let mut out = format!(
        "  {} valid by time, {} revoked\n",
        count(all.len(), "certificate"),
        revoked
    );
    for one in all {
        let state = if one.revoked {
            styled(BAD, "revoked")
        } else {
            styled(GOOD, "good")
        };
        out.push_str(&format!(
            "  serial {}: {state}, until {}, for {}\n",
            one.serial,
            clock.until(one.valid_before_unix),
            line(&one.principals.join(", "))
        ));
    }
    out
}
