//! Why somebody gets in, or not: policy's side, and what is known of the machine.

use std::collections::BTreeSet;

use ca_api::{
    ApiError,
    admin::{
        AccountThere, AdminReply, CertificateView, GivesView, MachineSide, MissingView,
        PolicyExplained, RuleView,
    },
};
use ca_machine::{Bundle, Namespace, bundle::AccountState};
use policies::{
    AccountName, Email, GrantAccount, KeyKind,
    explain::{Explanation, Missing, Question, Rule, Verdict},
};

use super::{Reply, failed, revocation::Revocations, view};
use crate::{
    admin::parse,
    ca::Ca,
    fleet::wanted,
    ledger::words,
    records::{
        Compiled, FleetRecord, KRL_CURRENT, KrlRecord, MachineStatus, SeenRecord, live_certificates,
    },
    store::{Read, ReadError, Snapshot, Table},
};

/// What an admin asks.
///
/// # Errors
/// A name is none.
pub fn question(
    email: &str,
    machine: &str,
    account: Option<&str>,
    security_key: bool,
) -> Result<Question, ApiError> {
    Ok(Question {
        email: parse(email)?,
        machine: parse(machine)?,
        account: account.map(parse).transpose()?,
        key: if security_key {
            KeyKind::SecurityKey
        } else {
            KeyKind::Plain
        },
    })
}

pub fn explain(ca: &Ca, question: Question) -> Reply {
    let (view, compiled) = view(ca)?;
    let now = ca.clock.now();
    let explanation = policies::explain::explain(&compiled.policy, &question, now);
    let granted = explanation.verdict == Verdict::Granted;
    let opened: BTreeSet<AccountName> = explanation
        .rules
        .iter()
        .filter_map(|rule| rule.gives.as_ref().map(|gives| gives.account.clone()))
        .collect();
    let near = if opened.is_empty() {
        nearest(&explanation, &compiled)
    } else {
        opened.clone()
    };
    let side = side(ca, &view, &compiled, &question, &near).map_err(failed)?;
    let certificates = certificates(ca, &view, &question.email).map_err(failed)?;
    // Any of the accounts will do where none was named.
    let let_in = side.as_ref().is_some_and(|side| {
        side.accounts.iter().any(|account| {
            account.there && opened.iter().any(|name| name.as_str() == account.account)
        })
    });
    let verdict = match (granted, &side) {
        (true, None) => format!(
            "policy allows it, and {} is not in the CA's keeping: nothing was ever brought there",
            question.machine
        ),
        (true, Some(side)) if !let_in => format!(
            "policy allows it, but {} has not got the configuration that is wanted there (generation {} of {}), so that the account may be missing",
            question.machine, side.generation, side.generation_wanted
        ),
        _ => explanation.sentence.clone(),
    };
    Ok(AdminReply::PolicyExplained(Box::new(PolicyExplained {
        email: question.email.to_string(),
        machine: question.machine.to_string(),
        account: question.account.as_ref().map(ToString::to_string),
        allowed: granted && let_in,
        verdict,
        granted,
        obstacles: explanation.obstacles.iter().map(missing).collect(),
        rules: explanation
            .rules
            .iter()
            .map(|one| rule(one, &compiled))
            .collect(),
        next: next(&explanation, &question, side.as_ref(), let_in),
        machine_side: side,
        certificates,
    })))
}

/// The accounts that access would be to if nothing but the person stood in the way, or else their own.
fn nearest(explanation: &Explanation, compiled: &Compiled) -> BTreeSet<AccountName> {
    let own = compiled.policy.employees.get(&explanation.question.email);
    let own = own.map(|person| person.account.clone());
    let near: BTreeSet<AccountName> = explanation
        .rules
        .iter()
        .filter(|rule| rule.missing.is_empty())
        .filter_map(|rule| match &rule.account {
            GrantAccount::Own => own.clone(),
            GrantAccount::Shared(account) => Some(account.clone()),
        })
        .collect();
    if near.is_empty() {
        own.into_iter().collect()
    } else {
        near
    }
}

/// The command to type next where access is wanted and is not there.
fn next(
    explanation: &Explanation,
    question: &Question,
    side: Option<&MachineSide>,
    let_in: bool,
) -> Option<String> {
    if explanation.verdict == Verdict::Denied {
        return explanation.next.clone();
    }
    if let_in {
        return None;
    }
    Some(match side {
        Some(side) if side.status == "managed" => format!("ca-server sync {}", question.machine),
        _ => format!("bootstrap add-machine {}", question.machine),
    })
}

fn missing(missing: &Missing) -> MissingView {
    MissingView {
        sentence: missing.sentence.clone(),
        mend: missing.mend.clone(),
    }
}

fn rule(rule: &Rule, compiled: &Compiled) -> RuleView {
    let grant = compiled.policy.grants.get(&rule.grant);
    RuleView {
        grant: rule.grant,
        sentence: rule.sentence.clone(),
        team_path: rule.team_path.iter().map(ToString::to_string).collect(),
        pool_path: rule.pool_path.iter().map(ToString::to_string).collect(),
        gives: rule.gives.as_ref().map(|gives| GivesView {
            account: gives.account.to_string(),
            principal: gives.principal.to_string(),
            ends_unix: i64::try_from(gives.ends_unix_secs).unwrap_or(i64::MAX),
            sudo: words::sudo(&gives.sudo_on_machine),
            conditions: grant
                .map(|grant| words::conditions(grant).join("; "))
                .unwrap_or_default(),
        }),
        missing: rule.missing.iter().map(missing).collect(),
    }
}

/// What is known of the machine; absent where it is not in the CA's keeping.
fn side(
    ca: &Ca,
    view: &Snapshot,
    compiled: &Compiled,
    question: &Question,
    near: &BTreeSet<AccountName>,
) -> Result<Option<MachineSide>, ReadError> {
    let key = question.machine.as_str().as_bytes();
    let Some(record) = view.get_json::<FleetRecord>(Table::Fleet, key)? else {
        return Ok(None);
    };
    let seen: SeenRecord = view.get_json(Table::Seen, key)?.unwrap_or_default();
    let krl: Option<KrlRecord> = view.get_json(Table::Krl, KRL_CURRENT)?;
    let krl_wanted = krl.map_or(0, |krl| krl.version);
    let here = accounts_in(ca, &record);
    let current = seen.generation == record.generation;
    let wanted = policies::accounts_on(&compiled.index, &question.machine, ca.clock.now());
    let mut asked = near.clone();
    asked.extend(question.account.clone());
    let accounts: Vec<AccountThere> = asked
        .iter()
        .map(|account| AccountThere {
            account: account.to_string(),
            wanted: wanted.contains_key(account),
            there: current && here.contains(account),
        })
        .collect();
    let mut side = MachineSide {
        status: record.status.word().to_owned(),
        observed: record.observed,
        generation_wanted: record.generation,
        generation: seen.generation,
        krl_wanted,
        krl_version: seen.krl_version,
        last_seen_unix: seen.last_seen_unix,
        trouble: seen.trouble,
        accounts,
        findings: Vec::new(),
    };
    side.findings = findings(&side, &question.machine, &record, &asked);
    Ok(Some(side))
}

/// The accounts that are open in the bundle of the wanted generation.
fn accounts_in(ca: &Ca, record: &FleetRecord) -> BTreeSet<AccountName> {
    let signed = wanted::signed(
        &ca.keys(),
        Namespace::Bundle,
        &record.bundle,
        &record.bundle_signature,
    );
    let bundle = signed
        .ok()
        .and_then(|signed| Bundle::decode(signed.object()).ok());
    bundle.map_or_else(BTreeSet::new, |bundle| {
        bundle
            .accounts
            .iter()
            .filter(|(_, account)| account.state == AccountState::Active)
            .map(|(name, _)| name.clone())
            .collect()
    })
}

/// What keeps somebody out whom policy lets in, or may let in somebody whom policy keeps out.
fn findings(
    side: &MachineSide,
    machine: &policies::MachineName,
    record: &FleetRecord,
    asked: &BTreeSet<AccountName>,
) -> Vec<MissingView> {
    let mut findings = Vec::new();
    let mut say = |sentence: String, mend: Option<String>| {
        findings.push(MissingView { sentence, mend });
    };
    if record.status == MachineStatus::Preparing {
        say(
            "bootstrap has not proven this machine yet".to_owned(),
            Some(format!("bootstrap add-machine {machine}")),
        );
    }
    if record.status == MachineStatus::Leaving {
        say(
            "it is being taken off the CA, and has not confirmed that yet".to_owned(),
            Some(format!("ca-server machine remove {machine}")),
        );
    }
    if side.generation != side.generation_wanted {
        say(
            format!(
                "its configuration is of generation {}, wanted is {}",
                side.generation, side.generation_wanted
            ),
            Some(format!("ca-server sync {machine}")),
        );
    }
    if side.krl_version != side.krl_wanted {
        say(
            format!(
                "its KRL is of version {}, wanted is {}: what was revoked since works there",
                side.krl_version, side.krl_wanted
            ),
            Some("ca-server krl push".to_owned()),
        );
    }
    if !side.trouble.is_empty() {
        say(format!("the last time: {}", side.trouble), None);
    }
    for account in asked {
        if record.adopt.contains(account) {
            say(
                format!("{account} was there before the CA, which has taken it over"),
                None,
            );
        }
    }
    if record.observed {
        say(
            "accounts that the CA did not make log in as before, whatever policy says".to_owned(),
            Some(format!("ca-server machine enforce {machine}")),
        );
    }
    findings
}

/// The person's certificates that are valid by their time, with whether each is revoked.
fn certificates(
    ca: &Ca,
    view: &Snapshot,
    email: &Email,
) -> Result<Vec<CertificateView>, ReadError> {
    let revoked = Revocations::read(view)?;
    let now = ca.clock.now().unix_timestamp();
    Ok(live_certificates(view, email, now)?
        .into_iter()
        .map(|(serial, record)| revoked.view(serial, record))
        .collect())
}
