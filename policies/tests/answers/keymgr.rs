//! keymgr's file: its documented example and table, and every fault with its line and column.

use std::collections::{BTreeMap, BTreeSet};

use policies::{
    Filter, GrantAccount, Index, Machine, Policy, Status, Sudo, View, check,
    import::{Added, Domain, Imported, Next, keymgr},
    matrix,
};
use proptest::prelude::*;

use crate::{build::now, cases};

pub const EXAMPLE: &str = "\
hostgroup hg1 : h1 h2
hostgroup hg2 : h3 hg1
hostgroup hg3 : h1 h3
usergroup ug1 : u1 u2 u3
usergroup ug2 : u4
manage hg3 : u1 u2        #rule A
manage h4 : ug1 u5        #rule B
manage hg2 : ug2 u3       #rule C
";

const TABLE: &str = "        h1  h2  h3  h4
u1      A       A   B
u2      A       A   B
u3      C   C   C   B
u4      C   C   C
u5                  B
";

pub const NEXT: Next = Next {
    uid: 20_000,
    grant: 1,
};

pub fn domain() -> Domain {
    Domain::new("corp.example").unwrap()
}

pub fn read(text: &str) -> Imported {
    keymgr("keys.cfg", text, &domain()).unwrap_or_else(|faults| panic!("{faults:?}"))
}

pub fn faults(text: &str) -> Vec<String> {
    let faults = keymgr("keys.cfg", text, &domain()).expect_err(text);
    faults.iter().map(ToString::to_string).collect()
}

fn machines(names: &[&str]) -> Policy {
    let known = names
        .iter()
        .map(|name| (name.parse().unwrap(), Machine::default()));
    Policy {
        machines: known.collect(),
        ..Policy::default()
    }
}

/// The table that keymgr's documentation prints, from the policy that came out of an import.
fn table(added: &Added, hosts: &[&str]) -> String {
    let index = Index::new(&added.policy);
    let filter = Filter::all(View::Standing);
    let mut text = "      ".to_owned();
    for host in hosts {
        text.push_str(&format!("  {host}"));
    }
    text.push('\n');
    for row in matrix(&index, &filter, now()) {
        let rules: BTreeMap<String, String> = row
            .cells
            .iter()
            .map(|cell| {
                assert_eq!(
                    cell.account.as_str(),
                    row.email.as_str().split('@').next().unwrap()
                );
                let rules: BTreeSet<&str> = cell
                    .grants
                    .iter()
                    .map(|given| added.titles[&given.grant].trim_start_matches("rule "))
                    .collect();
                (
                    cell.machine.to_string(),
                    rules.into_iter().collect::<Vec<_>>().join("+"),
                )
            })
            .collect();
        let mut line = format!("{:<8}", row.email.as_str().split('@').next().unwrap());
        for host in hosts {
            line.push_str(&format!(
                "{:<4}",
                rules.get(*host).map_or("", String::as_str)
            ));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[test]
fn the_documented_example_gives_exactly_its_documented_table() {
    let hosts = ["h1", "h2", "h3", "h4"];
    let added = read(EXAMPLE).added_to(&machines(&hosts), NEXT).unwrap();
    assert_eq!(table(&added, &hosts), TABLE);
    assert_eq!(check(&added.policy), []);
    assert!(added.machines_to_bootstrap.is_empty());
}

#[test]
fn the_table_is_the_same_when_the_machines_come_later() {
    // First the import, into an empty CA; then `bootstrap add-machine` with the pools that the import told.
    let added = read(EXAMPLE).added_to(&Policy::default(), NEXT).unwrap();
    let mut policy = added.policy.clone();
    assert!(policy.machines.is_empty(), "an import makes no machine");
    assert_eq!(added.machines_to_bootstrap.len(), 4);
    for (name, pools) in &added.machines_to_bootstrap {
        let machine = Machine {
            pools: pools.clone(),
        };
        policy.machines.insert(name.clone(), machine);
    }
    let later = Added { policy, ..added };
    assert_eq!(table(&later, &["h1", "h2", "h3", "h4"]), TABLE);
}

#[test]
fn what_an_import_makes() {
    let imported = read(EXAMPLE);
    let added = imported.added_to(&machines(&["h1"]), NEXT).unwrap();
    let names: Vec<String> = added.policy.pools.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["h4", "hg1", "hg2", "hg3"]);
    assert_eq!(
        added.policy.pools[&"hg2".parse().unwrap()].include,
        ["hg1".parse().unwrap()].into()
    );
    let teams: Vec<String> = added.policy.teams.keys().map(ToString::to_string).collect();
    assert_eq!(teams, ["ug1", "ug2"]);
    assert_eq!(added.new_employees.len(), 5);
    for employee in added.policy.employees.values() {
        assert_eq!(employee.status, Status::Invited);
        assert!(employee.roles.is_empty());
    }
    let uids: BTreeSet<u32> = added
        .policy
        .employees
        .values()
        .map(|employee| employee.uid)
        .collect();
    assert_eq!(uids, (20_000..20_005).collect());
    assert_eq!(added.policy.grants.len(), 6);
    for grant in added.policy.grants.values() {
        assert_eq!(
            (&grant.account, &grant.sudo),
            (&GrantAccount::Own, &Sudo::None)
        );
    }
    assert_eq!(
        added.next,
        Next {
            uid: 20_005,
            grant: 7
        }
    );
    // Only what the CA does not know is to be bootstrapped, each with the pools it goes into.
    let told: Vec<String> = added
        .machines_to_bootstrap
        .iter()
        .map(|(name, pools)| {
            format!(
                "{name} {}",
                pools
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(",")
            )
        })
        .collect();
    assert_eq!(told, ["h2 hg1", "h3 hg2,hg3", "h4 h4"]);
    assert_eq!(imported.grants[0].at.to_string(), "keys.cfg:6:14");
}

#[test]
fn comments_blank_lines_tabs_and_colons_without_blanks() {
    let imported = read(
        "\u{feff}# the web servers\n\n  \t\r\nhostgroup web:\th1   h2#in the cellar\r\n\tmanage web h3:u1\n",
    );
    assert_eq!(
        imported.pools[&"web".parse().unwrap()].title,
        "in the cellar"
    );
    let granted: Vec<String> = imported
        .grants
        .iter()
        .map(|grant| format!("{:?} {}", grant.who, grant.pool))
        .collect();
    assert_eq!(granted.len(), 2);
    assert!(granted[1].ends_with(" h3"));
    assert_eq!(read("").pools.len(), 0);
    assert_eq!(read("# nothing").grants.len(), 0);
}

#[test]
fn capitals_become_small_and_a_user_may_be_an_email() {
    let imported = read("hostgroup Web : H1.Corp.Example\nmanage Web : u1 boss@other.example");
    assert!(
        imported
            .machines
            .contains_key(&"h1.corp.example".parse().unwrap())
    );
    assert!(
        imported
            .employees
            .contains(&"boss@other.example".parse().unwrap())
    );
    let told: Vec<&str> = imported
        .notes
        .iter()
        .map(|note| note.sentence.as_str())
        .collect();
    assert_eq!(
        told,
        [
            "Web is called web here",
            "H1.Corp.Example is called h1.corp.example here"
        ]
    );
    assert_eq!(
        faults("hostgroup Web : h1\nhostgroup web : h2\n"),
        ["keys.cfg:2:11: web is written Web above; write it the same everywhere"]
    );
}

#[test]
fn one_cell_by_two_rules_shows_both_and_is_one_grant() {
    let added = read("manage h1 : u1 #rule A\nmanage h1 : u1 u2 #rule B\n")
        .added_to(&machines(&["h1"]), NEXT)
        .unwrap();
    assert_eq!(added.policy.grants.len(), 2);
    assert_eq!(added.titles[&1], "rule A; rule B");
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn random_files_give_what_their_lines_say(members in proptest::collection::vec((0usize..4, 0usize..4, 0usize..4, 0usize..4), 1..6)) {
        // hostgroup gI and usergroup tI hold one host or user and perhaps earlier groups; manage says gI : tJ.
        let mut text = String::new();
        let count = members.len();
        let mut hosts: Vec<BTreeSet<usize>> = Vec::new();
        let mut users: Vec<BTreeSet<usize>> = Vec::new();
        for (at, (host, user, inner_host, inner_user)) in members.iter().enumerate() {
            let (mut in_host, mut in_user) = (BTreeSet::from([*host]), BTreeSet::from([*user]));
            text.push_str(&format!("hostgroup g{at} : h{host}"));
            if *inner_host < at {
                text.push_str(&format!(" g{inner_host}"));
                in_host.extend(&hosts[*inner_host]);
            }
            text.push_str(&format!("\nusergroup t{at} : u{user}"));
            if *inner_user < at {
                text.push_str(&format!(" t{inner_user}"));
                in_user.extend(&users[*inner_user]);
            }
            text.push('\n');
            hosts.push(in_host);
            users.push(in_user);
        }
        let mut expected: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for (at, (a, b, ..)) in members.iter().enumerate() {
            let (group, team) = (a % count, b % count);
            text.push_str(&format!("manage g{group} : t{team} #{at}\n"));
            for user in &users[team] {
                for host in &hosts[group] {
                    expected.entry((format!("u{user}"), format!("h{host}"))).or_default().insert(at.to_string());
                }
            }
        }
        let added = read(&text).added_to(&machines(&["h0", "h1", "h2", "h3"]), NEXT).unwrap();
        let index = Index::new(&added.policy);
        let filter = Filter::all(View::Standing);
        let mut shown: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for row in matrix(&index, &filter, now()) {
            for cell in row.cells {
                let rules = cell.grants.iter().flat_map(|given| added.titles[&given.grant].split("; ").map(str::to_owned)).collect();
                shown.insert((cell.account.to_string(), cell.machine.to_string()), rules);
            }
        }
        prop_assert_eq!(shown, expected, "{}", text);
    }
}
