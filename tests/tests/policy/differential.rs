//! Random policies, written as documents and applied: every cell of the matrix equals what real ssh does, in both directions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Result, ensure};
use e2e::{Company, Person};

use crate::scene::{Door, Scene, doors, gets_in, plain_ssh};

const MACHINES: [&str; 3] = ["m-1", "m-2", "m-3"];
const PEOPLE: [&str; 3] = ["ann", "bob", "cleo"];
const SHARED: [&str; 2] = ["deploy", "report"];
const POOLS: [&str; 4] = ["edge", "web", "db", "everything"];
const TEAMS: [&str; 3] = ["ops", "dev", "guests"];

/// Small numbers from a seed (SplitMix64, Steele, Lea and Flood 2014): the same policies in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % sides as u64).expect("less than a usize")
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }

    fn some<'a>(&mut self, of: &[&'a str], one_in: usize) -> Vec<&'a str> {
        of.iter()
            .copied()
            .filter(|_| self.roll(one_in) == 0)
            .collect()
    }
}

fn email(name: &str) -> String {
    format!("{name}@corp.example")
}

fn list<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    let quoted: Vec<String> = words
        .into_iter()
        .map(|word| format!("{:?}", word.as_ref()))
        .collect();
    format!("[{}]", quoted.join(", "))
}

/// A policy over the fixed names, with nesting and with conditions that a login in this minute meets or does not meet.
fn random_document(seed: u64) -> String {
    let mut dice = Dice(seed);
    let mut text = String::new();
    for name in PEOPLE {
        write!(text, "[employee.{:?}]\naccount = {name:?}\n\n", email(name))
            .expect("a String takes everything");
    }
    let mut teams_before: Vec<&str> = Vec::new();
    for team in TEAMS {
        let people = dice.some(&PEOPLE, 2);
        let nested = dice.some(&teams_before, 2);
        write!(
            text,
            "[team.{team}]\nemployees = {}\nteams = {}\n\n",
            list(people.iter().map(|name| email(name))),
            list(nested)
        )
        .expect("a String takes everything");
        teams_before.push(team);
    }
    let mut pools_of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for machine in MACHINES {
        // In one pool at least, else it would be nobody's.
        pools_of
            .entry(dice.one(&POOLS))
            .or_default()
            .insert(machine);
        for pool in dice.some(&POOLS, 4) {
            pools_of.entry(pool).or_default().insert(machine);
        }
    }
    let mut pools_before: Vec<&str> = Vec::new();
    for pool in POOLS {
        write!(
            text,
            "[pool.{pool}]\nmachines = {}\ninclude = {}\n\n",
            list(pools_of.remove(pool).unwrap_or_default()),
            list(dice.some(&pools_before, 3))
        )
        .expect("a String takes everything");
        pools_before.push(pool);
    }
    for _ in 0..5 + dice.roll(4) {
        let who = if dice.roll(2) == 0 {
            format!("team = {:?}", dice.one(&TEAMS))
        } else {
            format!("employee = {:?}", email(dice.one(&PEOPLE)))
        };
        let account = match dice.roll(3) {
            0 => dice.one(&SHARED),
            _ => "self",
        };
        let condition = match dice.roll(8) {
            0 => "hours = \"Mon-Sun 00:00-24:00 UTC\"\n",
            1 => "hours = \"Mon-Sun 00:00-24:00 Asia/Tokyo\"\nlifetime = \"30m\"\n",
            2 => "security_key = true\n",
            3 => "sources = [\"10.77.0.0/16\"]\n",
            4 => "until = 2099-01-01T00:00:00Z\n",
            5 => "allow = [\"pty\", \"port-forwarding\"]\n",
            _ => "",
        };
        write!(
            text,
            "[[grant]]\n{who}\npool = {:?}\naccount = {account:?}\n{condition}\n",
            dice.one(&POOLS)
        )
        .expect("a String takes everything");
    }
    text
}

/// Every door that there could be: each machine, and each account that anybody might have there.
fn all_doors() -> BTreeSet<Door> {
    MACHINES
        .iter()
        .flat_map(|machine| {
            PEOPLE
                .iter()
                .chain(&SHARED)
                .map(|account| ((*machine).to_owned(), (*account).to_owned()))
        })
        .collect()
}

#[test]
fn p1_every_cell_of_the_matrix_is_what_ssh_does() -> Result<()> {
    let fleet = fleet!("p1_every_cell_of_the_matrix_is_what_ssh_does");
    let company = Company::new(&fleet)?;
    for pool in POOLS {
        company.ca_ok(&["pool", "add", pool])?;
    }
    let mut people = Vec::new();
    for name in PEOPLE {
        people.push(company.hire(&email(name), &["--account", name])?);
    }
    let everywhere = MACHINES.map(|machine| (machine, "everything"));
    let scene = Scene::bootstrap(&fleet, company, &everywhere)?;

    let (mut open, mut closed) = (0, 0);
    let rounds: u64 = if std::env::var_os("E2E_FULL").is_some() {
        12
    } else {
        2
    };
    for seed in 1..=rounds {
        let document = random_document(seed);
        let file = scene.document("policy.toml", &document)?;
        scene.company.ca_ok(&["policy", "apply", &file, "--yes"])?;
        scene.settle()?;
        let matrix = scene.company.ca_json(&["policy", "matrix", "--now"])?;
        // Each person in a lane of their own: somebody else's logins are no concern of theirs.
        let counts = std::thread::scope(|scope| {
            let lanes: Vec<_> = people
                .iter_mut()
                .map(|person| {
                    let (scene, matrix) = (&scene, &matrix);
                    scope.spawn(move || try_all(scene, matrix, person))
                })
                .collect();
            lanes
                .into_iter()
                .map(|lane| lane.join().expect("a person's lane does not panic"))
                .collect::<Result<Vec<_>>>()
        })
        .map_err(|error| error.context(format!("policy {seed}:\n{document}")))?;
        for (in_count, out_count) in counts {
            open += in_count;
            closed += out_count;
        }
    }
    // A company in which nobody gets in anywhere, or everybody everywhere, would show nothing.
    ensure!(
        open >= 5 && closed >= 5,
        "{open} doors open and {closed} closed: these policies show nothing"
    );
    eprintln!("{open} doors open, {closed} closed, as the matrix says");
    Ok(())
}

/// Logs in, and tries every door; how many were open and how many closed.
fn try_all(
    scene: &Scene,
    matrix: &serde_json::Value,
    person: &mut Person,
) -> Result<(usize, usize)> {
    let expected = doors(matrix, &person.email)?;
    person.home.agent()?;
    let login = person.try_login(&[])?;
    ensure!(
        login.status.success() != expected.is_empty(),
        "{}: the login ended with {} where the matrix has {expected:?}:\n{}",
        person.email,
        login.status,
        e2e::said(&login)
    );
    let mut counts = (0, 0);
    for (machine, account) in all_doors() {
        let open = gets_in(person, scene.machine(&machine)?, &account)?;
        let door = (machine, account);
        ensure!(
            open == expected.contains(&door),
            "{} at {}@{}: ssh says {open}, the matrix has {expected:?}",
            person.email,
            door.1,
            door.0
        );
        if open {
            plain_ssh(person, &door.0, &door.1)?;
            counts.0 += 1;
        } else {
            counts.1 += 1;
        }
    }
    Ok(counts)
}
