//! An admin's day (issue 3): after each verb exactly the machines concerned get a new generation, and no other.

use std::collections::{BTreeMap, BTreeSet};

use ca_api::admin::{AdminReply, MachineView};
use ca_server::{fleet::wanted, records};
use serde_json::{Value, json};

use crate::world::{World, ed25519};

/// A machine after its bootstrap, as far as the store is concerned: nobody listens there.
pub async fn machine(world: &World, name: &str, pools: &[&str]) {
    let all = records_of(world).await;
    let request = json!({
        "verb": "machine_prepare", "machine": name, "address": format!("127.9.0.{}", all.len() + 1), "port": 1,
        "pools": pools, "host_key": ed25519().public_key().to_openssh().unwrap(),
        "admin_account": "ssh-admin", "sshd_version": "OpenSSH_9.2p1", "facts": "{}",
    });
    world.verb(request).await.unwrap();
}

async fn records_of(world: &World) -> BTreeMap<String, records::FleetRecord> {
    let all = world.ca.db.read(records::fleet).unwrap();
    all.into_iter()
        .map(|(name, record)| (name.to_string(), record))
        .collect()
}

/// The generation wanted on each machine, as the keeper would find it now.
pub async fn generations(world: &World) -> BTreeMap<String, u64> {
    wanted::refresh_all(&world.ca).await.unwrap();
    records_of(world)
        .await
        .into_iter()
        .map(|(name, record)| (name, record.generation))
        .collect()
}

/// Which machines' generations rose between the two; none may ever fall (R2).
pub fn risen(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeSet<String> {
    after
        .iter()
        .filter(|(name, generation)| match before.get(*name) {
            None => true,
            Some(was) => {
                assert!(was <= generation, "{name} fell from {was} to {generation}");
                was < generation
            }
        })
        .map(|(name, _)| name.clone())
        .collect()
}

async fn does(world: &World, request: Value, concerned: &[&str]) {
    let before = generations(world).await;
    let what = request.to_string();
    if let Err(error) = world.verb(request).await {
        panic!("{what}: {}", error.message);
    }
    let after = generations(world).await;
    let concerned: BTreeSet<String> = concerned.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(risen(&before, &after), concerned, "{what}");
}

/// `web-1`, `web-2` in web; `db-1` in db; `edge-1` in edge; `lone-1` in lone; production holds web and db.
pub async fn company() -> World {
    let world = World::new().await;
    for pool in ["web", "db", "edge", "lone"] {
        world.pool(pool).await;
    }
    let outer = json!({"verb": "pool_add", "pool": "production", "include": ["web", "db"]});
    world.verb(outer).await.unwrap();
    for (name, pool) in [
        ("web-1", "web"),
        ("web-2", "web"),
        ("db-1", "db"),
        ("edge-1", "edge"),
        ("lone-1", "lone"),
    ] {
        machine(&world, name, &[pool]).await;
    }
    world
}

async fn show(world: &World, machine: &str) -> MachineView {
    match world
        .verb(json!({"verb": "machine_show", "machine": machine}))
        .await
    {
        Ok(AdminReply::Machine(view)) => view,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_come_are_suspended_and_go() {
    let world = company().await;
    let alice = "alice@corp.example";
    let add = json!({
        "verb": "employee_add", "email": alice, "pools": ["web", "edge", "production"],
    });
    let hers = ["web-1", "web-2", "db-1", "edge-1"];
    does(&world, add, &hers).await;
    // Somebody who reaches nothing concerns no machine.
    let bob = json!({"verb": "employee_add", "email": "bob@corp.example"});
    does(&world, bob, &[]).await;
    let role = json!({"verb": "employee_set", "email": alice, "admin": true});
    does(&world, role, &[]).await;
    // What she has already by another way changes no file there.
    let again = json!({
        "verb": "grant_add", "employee": alice, "pool": "db", "account": "self", "lifetime_secs": 600,
    });
    does(&world, again, &[]).await;
    let less = json!({"verb": "employee_set", "email": alice, "remove_pools": ["edge"]});
    does(&world, less, &["edge-1"]).await;
    let hers = ["web-1", "web-2", "db-1"];
    let suspend = json!({"verb": "employee_suspend", "email": alice});
    does(&world, suspend, &hers).await;
    let resume = json!({"verb": "employee_resume", "email": alice});
    does(&world, resume, &hers).await;
    let reset = json!({"verb": "employee_reset", "email": alice});
    does(&world, reset, &[]).await;
    let remove = json!({"verb": "employee_remove", "email": alice});
    does(&world, remove, &hers).await;
    assert_eq!(show(&world, "web-1").await.who, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_come_are_nested_and_go() {
    let world = company().await;
    let alice = "alice@corp.example";
    let add = json!({"verb": "employee_add", "email": alice, "pools": ["web"]});
    does(&world, add, &["web-1", "web-2"]).await;
    // A new pool with people and no machine yet.
    let new = json!({"verb": "pool_add", "pool": "gpu", "employees": [alice]});
    does(&world, new, &[]).await;
    let inner = json!({"verb": "pool_include", "pool": "gpu", "inner": "edge"});
    does(&world, inner, &["edge-1"]).await;
    let out = json!({"verb": "pool_exclude", "pool": "gpu", "inner": "edge"});
    does(&world, out, &["edge-1"]).await;
    let title = json!({"verb": "pool_set", "pool": "web", "title": "Web servers"});
    does(&world, title, &[]).await;
    // While machines or grants need it, it goes by force only, and a refusal changes nothing.
    let before = generations(&world).await;
    for pool in ["web", "lone"] {
        let refused = world
            .verb(json!({"verb": "pool_remove", "pool": pool}))
            .await
            .unwrap_err();
        assert!(
            refused.message.contains(&format!("{pool}-1")),
            "{}",
            refused.message
        );
    }
    assert_eq!(generations(&world).await, before);
    // Nobody has an account on lone-1: its bundle stays as it is.
    let lone = json!({"verb": "pool_remove", "pool": "lone", "force": true});
    does(&world, lone, &[]).await;
    let web = json!({"verb": "pool_remove", "pool": "web", "force": true});
    does(&world, web, &["web-1", "web-2"]).await;
    assert_eq!(show(&world, "web-1").await.pools, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_come_move_and_go() {
    let world = company().await;
    let alice = "alice@corp.example";
    let add = json!({"verb": "employee_add", "email": alice, "pools": ["web", "production"]});
    does(&world, add, &["web-1", "web-2", "db-1"]).await;
    let before = generations(&world).await;
    machine(&world, "web-3", &["web"]).await;
    let after = generations(&world).await;
    assert_eq!(risen(&before, &after), BTreeSet::from(["web-3".to_owned()]));
    assert_eq!(
        show(&world, "web-3").await.who,
        ["alice@corp.example as alice (invited)"]
    );
    let moved = json!({"verb": "machine_move", "machine": "web-2", "pools": ["edge"]});
    does(&world, moved, &["web-2"]).await;
    assert_eq!(show(&world, "web-2").await.who, Vec::<String>::new());
    let twice = json!({"verb": "machine_move", "machine": "web-2", "pools": ["edge"]});
    does(&world, twice, &[]).await;
    let back = json!({"verb": "machine_move", "machine": "web-2", "pools": ["db", "edge"]});
    does(&world, back, &["web-2"]).await;
    let enforced = json!({"verb": "machine_enforce", "machine": "db-1", "enforce": true});
    does(&world, enforced, &["db-1"]).await;
    let gone = json!({"verb": "machine_remove", "machine": "web-3"});
    does(&world, gone, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn teams_and_grants_concern_the_machines_of_their_pool_and_no_other() {
    let world = company().await;
    for email in ["alice@corp.example", "bob@corp.example"] {
        let add = json!({"verb": "employee_add", "email": email});
        does(&world, add, &[]).await;
    }
    let team = json!({"verb": "team_add", "team": "ops", "employees": ["alice@corp.example"]});
    does(&world, team, &[]).await;
    let own = json!({"verb": "grant_add", "team": "ops", "pool": "web", "account": "self"});
    does(&world, own, &["web-1", "web-2"]).await;
    let shared = json!({
        "verb": "grant_add", "team": "ops", "pool": "production", "account": "deploy", "sudo": "/usr/bin/id",
    });
    does(&world, shared, &["web-1", "web-2", "db-1"]).await;
    // Bob's own account is new on web; deploy is everywhere that he gets it already.
    let join = json!({"verb": "team_join", "team": "ops", "employees": ["bob@corp.example"]});
    does(&world, join, &["web-1", "web-2"]).await;
    let leave = json!({"verb": "team_leave", "team": "ops", "employees": ["bob@corp.example"]});
    does(&world, leave, &["web-1", "web-2"]).await;
    let last = json!({"verb": "team_leave", "team": "ops", "employees": ["alice@corp.example"]});
    does(&world, last, &["web-1", "web-2", "db-1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_ends_by_itself_ends_on_its_machines_too() {
    let world = company().await;
    let alice = "alice@corp.example";
    let until = world.now() + 3600;
    let add = json!({"verb": "employee_add", "email": alice});
    does(&world, add, &[]).await;
    let grant = json!({
        "verb": "grant_add", "employee": alice, "pool": "edge", "account": "self", "until_unix": until,
    });
    does(&world, grant, &["edge-1"]).await;
    let before = generations(&world).await;
    world.ca.clock.shift(3601);
    let after = generations(&world).await;
    assert_eq!(
        risen(&before, &after),
        BTreeSet::from(["edge-1".to_owned()])
    );
}
