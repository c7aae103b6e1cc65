//! A plan as a person reads it: what hurts comes first.

use std::fmt;

use super::{Access, Changed, EmployeeStep, How, MachineChange, Names, Plan, Step};
use crate::{Email, GrantAccount, document::duration_text};

/// So many names are written before the rest is only counted.
const NAMES_SHOWN: usize = 8;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            writeln!(f, "nothing changes")?;
        }
        for error in &self.errors {
            writeln!(f, "refused: {error}")?;
        }
        self.people(f)?;
        for limit in &self.limits {
            let (before, after) = (limit.before_secs, limit.after_secs);
            let (before, after) = (duration_text(before), duration_text(after));
            writeln!(f, "limit {}: {after}, before {before}", limit.name)?;
        }
        for team in &self.teams {
            changed(f, "team", team)?;
        }
        for pool in &self.pools {
            changed(f, "pool", pool)?;
        }
        for grant in &self.grants {
            changed(f, "grant", grant)?;
        }
        for access in &self.access {
            writeln!(f, "{access}")?;
        }
        for machine in &self.machines {
            writeln!(f, "{machine}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "note: {warning}")?;
        }
        self.sums(f)
    }
}

impl Plan {
    fn people(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use EmployeeStep::{
            AccountChanged, AdminGained, AdminLost, Invited, Removed, Renamed, Resumed, Returned,
            Suspended,
        };
        let of = |step: EmployeeStep| -> Vec<&Email> {
            let people = self.employees.iter().filter(|change| change.step == step);
            people.map(|change| &change.email).collect()
        };
        for (step, words) in [
            (Removed, "REMOVED, with all that they reach"),
            (
                Suspended,
                "suspended: login closes, certificates are revoked",
            ),
            (AdminLost, "no admin of this CA any longer"),
            (AccountChanged, "another account or uid"),
            (AdminGained, "admin of this CA from now on"),
            (Resumed, "resumed: login opens again"),
            (Returned, "invited again, under their old account and uid"),
            (Invited, "invited"),
            (Renamed, "another full name"),
        ] {
            let people = of(step);
            if !people.is_empty() {
                writeln!(f, "{words}: {}", some(people.len(), &people))?;
            }
        }
        Ok(())
    }

    fn sums(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let (gained, lost, changed) =
            (counts.cells_gained, counts.cells_lost, counts.cells_changed);
        if gained + lost + changed > 0 {
            writeln!(
                f,
                "accounts on machines in all: {lost} lost by {}, {gained} gained by {}, {changed} kept under other terms by {}",
                people(counts.people_losing),
                people(counts.people_gaining),
                people(counts.people_changed),
            )?;
        }
        if counts.machines > 0 {
            writeln!(
                f,
                "machines in all: {} with {} and {} closed",
                counts.machines,
                plural(counts.accounts_appearing, "new account"),
                counts.accounts_disappearing
            )?;
        }
        Ok(())
    }
}

fn people(count: usize) -> String {
    if count == 1 {
        "1 person".to_owned()
    } else {
        format!("{count} people")
    }
}

fn plural(count: u64, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

fn changed<N: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    changed: &Changed<N>,
) -> fmt::Result {
    let how = match changed.how {
        How::Removed => "goes",
        How::Changed => "changes",
        How::Added => "is new",
    };
    write!(f, "{what} {} {how}", changed.name)?;
    if !changed.words.is_empty() {
        write!(f, ": {}", changed.words.join("; "))?;
    }
    writeln!(f)
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.step {
            Step::Lost => '-',
            Step::Changed => '~',
            Step::Gained => '+',
        };
        write!(f, "{mark} {}", self.people)?;
        match &self.account {
            GrantAccount::Own => write!(f, " as themselves")?,
            GrantAccount::Shared(account) => write!(f, " as {account}")?,
        }
        write!(f, " on {}", self.machines)?;
        if !self.words.is_empty() {
            write!(f, " ({})", self.words.join("; "))?;
        }
        let ids: Vec<String> = self.grants.iter().map(ToString::to_string).collect();
        let s = if ids.len() == 1 { "" } else { "s" };
        write!(f, " by grant{s} {}", ids.join(", "))
    }
}

impl fmt::Display for MachineChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        for pool in &self.leaves {
            words.push(format!("leaves pool {pool}"));
        }
        for pool in &self.joins {
            words.push(format!("joins pool {pool}"));
        }
        if self.disappear.count > 0 {
            words.push(format!("closes the accounts {}", self.disappear));
        }
        if self.appear.count > 0 {
            words.push(format!("gets the accounts {}", self.appear));
        }
        if self.sudo.count > 0 {
            words.push(format!("other sudo rights for {}", self.sudo));
        }
        if words.is_empty() && self.principals {
            words.push("gets other principals".to_owned());
        }
        write!(f, "machine {}: {}", self.machines, words.join("; "))
    }
}

impl<N: fmt::Display> fmt::Display for Names<N> {
    /// The first few, and how many more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&some(self.count, &self.names))
    }
}

fn some<N: fmt::Display>(count: usize, names: &[N]) -> String {
    // Naming the last one costs no more than saying "and 1 more".
    let most = if count == NAMES_SHOWN + 1 {
        count
    } else {
        NAMES_SHOWN
    };
    let shown: Vec<String> = names.iter().take(most).map(ToString::to_string).collect();
    match count - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
