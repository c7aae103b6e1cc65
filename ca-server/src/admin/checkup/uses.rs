//! What sshd's log says of certificates: uses of the break-glass credentials, and serials that the ledger does not know (S8).

use std::collections::{BTreeMap, BTreeSet};

use ca_api::admin::{CheckFinding, Gravity};
use ca_machine::{Report, facts::Fact, spec::BREAK_GLASS_ACCOUNT};

use crate::{
    break_glass::{self, open},
    ca::Ca,
    recovery,
    store::{Read, ReadError, Table},
};

/// Findings of one kind that are told one by one.
const MOST: usize = 50;

/// What is found. A log that cannot be compared is a finding too, and no silence.
pub fn found(ca: &Ca, report: &Report) -> Vec<CheckFinding> {
    compare(ca, report).unwrap_or_else(|error| {
        vec![CheckFinding {
            gravity: Gravity::Warning,
            code: "log-not-compared".to_owned(),
            what: format!("the log of sshd could not be compared with the ledger: {error}"),
            meaning: "a use of the break-glass credentials would not be seen".to_owned(),
            remedy: "look at the server's log".to_owned(),
            repairable: false,
        }]
    })
}

struct Login<'a> {
    at: &'a str,
    account: &'a str,
    from: &'a str,
    key_id: &'a str,
    serial: u64,
    ca: &'a str,
}

fn logins(report: &Report) -> impl Iterator<Item = Login<'_>> {
    report.facts().filter_map(|fact| match fact {
        Fact::CertificateLogin {
            at,
            account,
            from,
            key_id,
            serial,
            ca,
        } => Some(Login {
            at,
            account,
            from,
            key_id,
            // One that is no number of ours is none that the ledger knows.
            serial: serial.unwrap_or(0),
            ca,
        }),
        _ => None,
    })
}

fn compare(ca: &Ca, report: &Report) -> Result<Vec<CheckFinding>, ReadError> {
    let view = ca.db.snapshot()?;
    let break_glass = break_glass::record(&view)?;
    let restored = recovery::record(&view)?;
    let keys = ca.keys();
    let book = Book {
        break_glass: break_glass
            .keys
            .into_iter()
            .map(|key| key.fingerprint)
            .collect(),
        user_cas: keys
            .user_ca
            .all()
            .map(|held| held.fingerprint().to_owned())
            .collect(),
        restored_to: restored.map(|record| record.instance_epoch),
        knows: &|serial| view.contains(Table::Certificates, &serial.to_be_bytes()),
    };
    judge(report, &book)
}

/// What the CA knows.
struct Book<'a> {
    break_glass: BTreeSet<String>,
    user_cas: BTreeSet<String>,
    /// The instance epoch that the last restore began.
    restored_to: Option<u32>,
    knows: &'a dyn Fn(u64) -> Result<bool, ReadError>,
}

fn judge(report: &Report, book: &Book<'_>) -> Result<Vec<CheckFinding>, ReadError> {
    // The same login may stand in two logs.
    let mut told: BTreeMap<(u64, String, String), CheckFinding> = BTreeMap::new();
    for login in logins(report) {
        let glass = login.account == BREAK_GLASS_ACCOUNT || book.break_glass.contains(login.ca);
        let finding = if glass {
            of_break_glass(&login)
        } else if book.user_cas.contains(login.ca) && !(book.knows)(login.serial)? {
            let before = book
                .restored_to
                .is_some_and(|epoch| login.serial >> 32 < u64::from(epoch));
            of_nobody(&login, before)
        } else {
            continue;
        };
        let whose = format!("{} {}", login.account, login.key_id);
        told.insert((login.serial, login.at.to_owned(), whose), finding);
    }
    // The worst first: what is cut off is what matters least.
    let mut told: Vec<CheckFinding> = told.into_values().collect();
    told.sort_by_key(|finding| std::cmp::Reverse(finding.gravity));
    told.truncate(MOST);
    Ok(told)
}

/// Every use alarms; a drill alarms a little less.
fn of_break_glass(login: &Login<'_>) -> CheckFinding {
    let drill = login.key_id.starts_with(open::DRILL);
    let (gravity, code, meaning) = if drill {
        (
            Gravity::Warning,
            "break-glass-drill",
            "somebody with enough shares tried whether the break-glass credentials would open; nothing was opened",
        )
    } else {
        (
            Gravity::Danger,
            "break-glass-used",
            "somebody with enough shares came in as root, past every grant and every login at the CA",
        )
    };
    CheckFinding {
        gravity,
        code: code.to_owned(),
        what: format!(
            "{} was opened at {} from {} by {} (serial {})",
            login.account, login.at, login.from, login.key_id, login.serial
        ),
        meaning: meaning.to_owned(),
        remedy: "ask the holders of the shares; if it was none of them: `ca-server break-glass revoke`, then `break-glass make` anew".to_owned(),
        repairable: false,
    }
}

fn of_nobody(login: &Login<'_>, before_restore: bool) -> CheckFinding {
    let (gravity, meaning, remedy) = if before_restore {
        (
            Gravity::Notice,
            "it was issued between the backup and the restore, and nobody remembers it; it is refused now",
            "nothing, if the name and the time are as you expect",
        )
    } else {
        (
            Gravity::Danger,
            "a certificate of the user CA that this CA did not issue, or a line that somebody wrote into the log",
            "look at the machine's log; if it is real, the user CA key is in other hands: `ca-server ca compromise user`",
        )
    };
    CheckFinding {
        gravity,
        code: "unknown-serial".to_owned(),
        what: format!(
            "{} was opened at {} from {} by {} with serial {}, which the ledger does not know",
            login.account, login.at, login.from, login.key_id, login.serial
        ),
        meaning: meaning.to_owned(),
        remedy: remedy.to_owned(),
        repairable: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(account: &str, serial: u64, ca: &str, key_id: &str) -> String {
        format!(
            "{{\"step\":\"fact\",\"fact\":\"certificate-login\",\"at\":\"Nov 22 08:00:00\",\"account\":\"{account}\",\"from\":\"192.0.2.1\",\"key_id\":\"{key_id}\",\"serial\":{serial},\"ca\":\"{ca}\"}}\n"
        )
    }

    #[test]
    fn s8_a_serial_that_the_ledger_does_not_know_and_each_use_of_the_break_glass_are_found() {
        let book = Book {
            break_glass: BTreeSet::from(["SHA256:glass".to_owned()]),
            user_cas: BTreeSet::from(["SHA256:user".to_owned()]),
            restored_to: Some(100),
            knows: &|serial| Ok(serial == (100 << 32) + 1),
        };
        let text = [
            line(
                "alice",
                (100 << 32) + 1,
                "SHA256:user",
                "alice@corp.example/1",
            ),
            line(
                "alice",
                (100 << 32) + 2,
                "SHA256:user",
                "alice@corp.example/1",
            ),
            line(
                "alice",
                (99 << 32) + 3,
                "SHA256:user",
                "alice@corp.example/1",
            ),
            line("somebody", 4, "SHA256:of-others", "x"),
            line("breakglass", 5, "SHA256:glass", "break-glass/dana"),
            line("breakglass", 6, "SHA256:glass", "break-glass-drill/dana"),
            line("root", 7, "SHA256:glass", "break-glass/dana"),
            "{\"step\":\"done\"}\n".to_owned(),
        ]
        .concat();
        let report = Report::parse(text.as_bytes()).expect("an answer with its end");
        let found = judge(&report, &book).expect("nothing is read");
        let told: Vec<(&str, bool, Gravity)> = found
            .iter()
            .map(|one| (one.code.as_str(), one.what.contains("serial"), one.gravity))
            .collect();
        assert_eq!(
            told,
            [
                ("break-glass-used", true, Gravity::Danger),
                ("break-glass-used", true, Gravity::Danger),
                ("unknown-serial", true, Gravity::Danger),
                ("break-glass-drill", true, Gravity::Warning),
                ("unknown-serial", true, Gravity::Notice),
            ]
        );
    }
}
