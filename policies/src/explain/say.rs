//! The sentences of an answer as a whole; those of single reasons stand with the reasons.

use super::{
    Missing, Question, Rule, Verdict,
    reason::{and, utc},
};
use crate::{Grant, GrantAccount, GrantId, Grantee};

/// A rule in one sentence.
pub(super) fn rule(id: GrantId, grant: &Grant) -> String {
    let who = match &grant.who {
        Grantee::Employee(email) => email.to_string(),
        Grantee::Team(team) => format!("the team {team}"),
    };
    let account = match (&grant.account, &grant.who) {
        (GrantAccount::Shared(account), _) => format!("the account {account}"),
        (GrantAccount::Own, Grantee::Employee(_)) => "their own account".to_owned(),
        (GrantAccount::Own, Grantee::Team(_)) => "their own accounts".to_owned(),
    };
    format!(
        "grant {id} lets {who} use {account} on the pool {}",
        grant.pool
    )
}

/// The whole answer in one sentence.
pub(super) fn answer(
    question: &Question,
    verdict: Verdict,
    obstacles: &[Missing],
    rules: &[Rule],
) -> String {
    let (email, machine) = (&question.email, &question.machine);
    match verdict {
        Verdict::Granted => {
            let mut accounts: Vec<String> = Vec::new();
            for gives in rules.iter().filter_map(|rule| rule.gives.as_ref()) {
                let account = gives.account.to_string();
                if !accounts.contains(&account) {
                    accounts.push(account);
                }
            }
            let until = rules
                .iter()
                .filter_map(|rule| rule.gives.as_ref())
                .map(|gives| gives.ends_unix_secs)
                .max()
                .and_then(|ends| i64::try_from(ends).ok())
                .map_or_else(String::new, |ends| {
                    format!(", with a certificate until {}", utc(ends))
                });
            format!("{email} reaches {machine} as {}{until}", and(&accounts))
        }
        Verdict::Denied => {
            let account = question
                .account
                .as_ref()
                .map_or_else(String::new, |account| format!(" as {account}"));
            let why: Vec<String> = if obstacles.is_empty() {
                match rules.first() {
                    None => vec![format!(
                        "no grant names them or a team of theirs, and none is on a pool of {machine}"
                    )],
                    Some(nearest) => {
                        let missing = nearest
                            .missing
                            .iter()
                            .map(|missing| missing.sentence.clone());
                        let missing: Vec<String> = missing.collect();
                        vec![format!(
                            "the nearest is that {}, but {}",
                            nearest.sentence,
                            missing.join("; ")
                        )]
                    }
                }
            } else {
                obstacles
                    .iter()
                    .map(|missing| missing.sentence.clone())
                    .collect()
            };
            format!(
                "{email} does not reach {machine}{account}: {}",
                why.join("; ")
            )
        }
    }
}
