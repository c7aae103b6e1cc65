//! Teams: added, joined, left, removed.

use std::{collections::BTreeSet, sync::Arc};

use ca_api::{ApiError, ErrorCode, admin::AdminReply};
use policies::{Email, Grantee, Policy, Status, Team, TeamName};

use super::{change::policy_change, look, parse, parse_all, unknown};
use crate::{
    ca::Ca,
    ledger::{Actor, Event},
};

fn known_people(policy: &Policy, people: &BTreeSet<Email>) -> Result<(), ApiError> {
    for email in people {
        let here = policy
            .employees
            .get(email)
            .is_some_and(|employee| employee.status != Status::Removed);
        if !here {
            return Err(unknown("employee", email, "employee"));
        }
    }
    Ok(())
}

pub async fn add(
    ca: &Arc<Ca>,
    actor: Actor,
    team: &str,
    employees: &[String],
) -> Result<AdminReply, ApiError> {
    let name: TeamName = parse(team)?;
    let employees: BTreeSet<Email> = parse_all(employees)?;
    let team = name.clone();
    policy_change(ca, actor, move |policy, editing| {
        known_people(policy, &employees)?;
        if policy.teams.contains_key(&team) {
            return Err(ApiError::new(
                ErrorCode::Conflict,
                format!("there is a team {team} already"),
            )
            .hint(format!(
                "`ca-server team join {team} EMAIL` adds people to it"
            ))
            .into());
        }
        let entry = Team {
            employees: employees.clone(),
            ..Team::default()
        };
        policy.teams.insert(team.clone(), entry);
        editing.record(&Event::TeamAdded {
            team: team.clone(),
            employees: employees.clone(),
        });
        Ok(())
    })
    .await?;
    look::team(ca, name.as_str())
}

pub async fn join(
    ca: &Arc<Ca>,
    actor: Actor,
    team: &str,
    employees: &[String],
) -> Result<AdminReply, ApiError> {
    members(ca, actor, team, employees, |policy, team, employees| {
        known_people(policy, employees)?;
        let entry = known_team(policy, team)?;
        entry.employees.extend(employees.iter().cloned());
        Ok(Event::TeamJoined {
            team: team.clone(),
            employees: employees.clone(),
        })
    })
    .await
}

pub async fn leave(
    ca: &Arc<Ca>,
    actor: Actor,
    team: &str,
    employees: &[String],
) -> Result<AdminReply, ApiError> {
    members(ca, actor, team, employees, |policy, team, employees| {
        let entry = known_team(policy, team)?;
        for email in employees {
            if !entry.employees.remove(email) {
                return Err(ApiError::new(
                    ErrorCode::NotFound,
                    format!("{email} is not in team {team}"),
                ));
            }
        }
        Ok(Event::TeamLeft {
            team: team.clone(),
            employees: employees.clone(),
        })
    })
    .await
}

/// Changes who is in a team.
async fn members(
    ca: &Arc<Ca>,
    actor: Actor,
    team: &str,
    employees: &[String],
    change: fn(&mut Policy, &TeamName, &BTreeSet<Email>) -> Result<Event, ApiError>,
) -> Result<AdminReply, ApiError> {
    let name: TeamName = parse(team)?;
    let employees: BTreeSet<Email> = parse_all(employees)?;
    let team = name.clone();
    policy_change(ca, actor, move |policy, editing| {
        let event = change(policy, &team, &employees)?;
        editing.record(&event);
        Ok(())
    })
    .await?;
    look::team(ca, name.as_str())
}

fn known_team<'a>(policy: &'a mut Policy, team: &TeamName) -> Result<&'a mut Team, ApiError> {
    policy
        .teams
        .get_mut(team)
        .ok_or_else(|| unknown("team", team, "team"))
}

pub async fn remove(ca: &Arc<Ca>, actor: Actor, team: &str) -> Result<AdminReply, ApiError> {
    let name: TeamName = parse(team)?;
    let team = name.clone();
    policy_change(ca, actor, move |policy, editing| {
        let used: Vec<String> = policy
            .grants
            .iter()
            .filter(|(_, grant)| grant.who == Grantee::Team(team.clone()))
            .map(|(id, _)| id.to_string())
            .collect();
        if !used.is_empty() {
            return Err(ApiError::new(
                ErrorCode::Conflict,
                format!("team {team} is named by grants {}", used.join(", ")),
            )
            .hint("remove them first: `ca-server grant remove ID`")
            .into());
        }
        if policy.teams.remove(&team).is_none() {
            return Err(unknown("team", &team, "team").into());
        }
        for outer in policy.teams.values_mut() {
            outer.teams.remove(&team);
        }
        editing.record(&Event::TeamRemoved { team: team.clone() });
        Ok(())
    })
    .await?;
    Ok(AdminReply::Text(format!("team {name} is removed")))
}
