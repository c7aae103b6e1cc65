//! Whether a sentence is true.

use time::OffsetDateTime;

use super::{
    Broken, Expectation, Place, Verb, Who, why,
    world::{Ask, World},
};
use crate::{Email, Index, MachineName, Policy, PoolName};

pub(super) fn judge(
    policy: &Policy,
    sentences: Vec<&Expectation>,
    now: OffsetDateTime,
) -> Vec<Broken> {
    let world = World::of(policy, &sentences, now);
    let mut broken = Vec::new();
    for (at, sentence) in sentences.into_iter().enumerate() {
        if let Err(why) = holds(&world, sentence) {
            broken.push(Broken {
                at,
                text: sentence.text.clone(),
                why,
            });
        }
    }
    broken
}

fn holds(world: &World, sentence: &Expectation) -> Result<(), String> {
    let at = match &sentence.moment {
        None => None,
        Some(moment) => Some(next(moment, world.now).ok_or_else(|| why::no_moment(moment))?),
    };
    let ask = Ask {
        account: sentence.account.as_ref(),
        sudo: sentence.sudo,
        from: sentence.from,
        key: sentence.key,
        at,
    };
    why::unknown(world, sentence)?;
    match (&sentence.who, sentence.verb) {
        (Who::Nobody, _) => none(world, world.people(), sentence, ask),
        (Who::Employee(email), Verb::Never) => none(world, [email], sentence, ask),
        (Who::Member(team) | Who::Every(team), Verb::Never) => {
            let real = why::members(world, team);
            none(
                world,
                world.member(team).into_iter().chain(real),
                sentence,
                ask,
            )
        }
        (Who::Employee(email), Verb::Reaches) => everywhere(world, email, sentence, ask),
        (Who::Member(team), Verb::Reaches) => match world.member(team) {
            Some(somebody) => everywhere(world, somebody, sentence, ask),
            None => Ok(()),
        },
        (Who::Every(team), Verb::Reaches) => {
            let members = why::members(world, team);
            if members.is_empty() {
                return Err(why::empty_team(team));
            }
            let mut members = members.into_iter();
            members.try_for_each(|email| everywhere(world, email, sentence, ask))
        }
        (Who::Somebody, Verb::Reaches | Verb::Never) => {
            let machines = machines(world, &sentence.place, Verb::Reaches);
            let mut people = world.people();
            let can = |email: &Email| {
                let mut machines = machines.iter();
                machines.all(|machine| world.way(email, machine, ask).is_some())
            };
            if people.any(can) {
                Ok(())
            } else {
                Err(why::nobody_does(world, sentence, &machines, ask))
            }
        }
    }
}

/// The first second of that minute from now on.
fn next(moment: &super::Moment, now: OffsetDateTime) -> Option<OffsetDateTime> {
    match moment.minute.open_until(now) {
        Some(_) => Some(now),
        None => moment.minute.opens_at(now),
    }
}

/// Nobody of `people` reaches any of the machines.
fn none<'e>(
    world: &World,
    people: impl IntoIterator<Item = &'e Email>,
    sentence: &Expectation,
    ask: Ask<'_>,
) -> Result<(), String> {
    let machines = machines(world, &sentence.place, Verb::Never);
    for email in people {
        for machine in &machines {
            if let Some(way) = world.way(email, machine, ask) {
                return Err(why::does(world, email, machine, &way, &sentence.place));
            }
        }
    }
    Ok(())
}

/// That person reaches each of the machines.
fn everywhere(
    world: &World,
    email: &Email,
    sentence: &Expectation,
    ask: Ask<'_>,
) -> Result<(), String> {
    for machine in machines(world, &sentence.place, Verb::Reaches) {
        if world.way(email, machine, ask).is_none() {
            return Err(why::does_not(world, email, machine, sentence, ask));
        }
    }
    Ok(())
}

/// The machines that a sentence is about: `never` is also about one that is put into the pool some day.
fn machines<'w>(world: &'w World, place: &'w Place, verb: Verb) -> Vec<&'w MachineName> {
    match place {
        Place::Machine(machine) => vec![machine],
        Place::Pool(pool) => {
            let mut machines = real_machines(world.index(None), pool, world);
            if machines.is_empty() || verb == Verb::Never {
                machines.extend(world.machine(pool));
            }
            machines
        }
    }
}

fn real_machines<'w>(index: &'w Index, pool: &PoolName, world: &World) -> Vec<&'w MachineName> {
    let machines = index.machines_of(pool).into_iter();
    machines.filter(|machine| world.is_real(machine)).collect()
}
