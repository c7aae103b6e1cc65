//! What lies in a tree, or comes instead of it, and is not what the CA wants there: nothing changes, and the next good one works.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ca_machine::{
    Order,
    order::{Sessions, Shelf, Task},
    pull::{Files, Form, PullSecret},
};
use ssh_key::PrivateKey;

use crate::{
    bench::{done, key, now_unix},
    fetching::Scene,
    web::Manner,
};

/// Everything of the CA's on the machine, in one text.
fn stands(scene: &Scene) -> Result<String> {
    let state = scene.state()?;
    let files = scene.bench.machine.run(&[
        "sh",
        "-c",
        "cd / && find etc/ssh etc/sudoers.d etc/passwd etc/pam.d etc/cron.d var/lib/ssh-ca -type f ! -name 'pull-*' -exec sha256sum {} + | sort",
    ])?;
    Ok(format!("{state:?}\n{}", files.stdout))
}

/// Fetches, must be refused with one of these words, and nothing may have changed.
fn refused(scene: &Scene, before: &str, what: &str, codes: &[&str]) -> Result<()> {
    let report = scene.pull().with_context(|| what.to_owned())?;
    let code = report
        .refusal()
        .map_or("(taken)", |(code, _)| code)
        .to_owned();
    ensure!(codes.contains(&code.as_str()), "{what}: {code}: {report:?}");
    let after = stands(scene)?;
    ensure!(
        after == before,
        "{what} changed something:\n{before}\n{after}"
    );
    Ok(())
}

#[test]
fn r9_nothing_but_what_the_ca_wants_there_is_taken_from_a_tree() -> Result<()> {
    let bench = bench!("r9_nothing_but_what_the_ca_wants_there_is_taken_from_a_tree");
    let mut scene = Scene::new(bench)?;
    let old = scene.files(1, 1, &[], Form::Sealed)?;
    scene.hire("carol", 61_200)?;
    scene.put(&scene.files(3, 3, &["bob@corp.example/1"], Form::Sealed)?);
    ca_machine_done(&scene)?;
    let before = stands(&scene)?;

    // A mirror that was turned back, and one with another history at the same numbers.
    scene.put(&old);
    refused(&scene, &before, "an old tree", &["old-krl"])?;
    scene.put(&scene.files(3, 3, &[], Form::Sealed)?);
    refused(
        &scene,
        &before,
        "the same numbers with other content",
        &["other-hash"],
    )?;

    // What another machine would take.
    scene.hire("dave", 61_201)?;
    let krl = scene.bench.ca.signed_krl(3, &["bob@corp.example/1"])?;
    let mut other = scene.spec.clone();
    other.machine = "web-2".parse()?;
    let bundle = scene.bench.ca.signed(&other, 4)?;
    let (foreign, stranger) = (PullSecret::random(), crate::bench::key());
    scene.put(&Files::new(&krl, &bundle, &[], Form::Plain, &scene.secret));
    refused(
        &scene,
        &before,
        "another machine's bundle",
        &["wrong-machine", "other-hash"],
    )?;
    scene.put(&Files::new(&krl, &bundle, &[], Form::Sealed, &foreign));
    refused(
        &scene,
        &before,
        "sealed for another machine",
        &["not-fetched"],
    )?;
    let forged = scene.bench.ca.bundle(&scene.spec, 4)?.sign(&stranger)?;
    scene.put(&Files::new(
        &scene.bench.ca.krl(4, &[])?.sign(&stranger)?,
        &forged,
        &[],
        Form::Sealed,
        &scene.secret,
    ));
    refused(
        &scene,
        &before,
        "signed by somebody else",
        &["bad-signature"],
    )?;

    // One bit, at every place that is sampled; cut at every place that is sampled.
    let samples = if std::env::var_os("E2E_FULL").is_some() {
        40
    } else {
        3
    };
    for form in [Form::Plain, Form::Sealed] {
        let good = scene.files(4, 4, &["bob@corp.example/1"], form)?;
        for number in 0..samples {
            let flipped = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                let at = (bytes.len() - 1) * (2 * number + 1) / (2 * samples);
                bytes[at] ^= 1 << (number % 8);
                bytes
            };
            let cut = |bytes: &[u8]| bytes[..bytes.len() * number / samples].to_vec();
            let codes = ["bad-signature", "not-fetched", "bad-request"];
            scene.put(&Files {
                krl: flipped(&good.krl),
                order: Vec::new(),
                bundle: flipped(&good.bundle),
                head: flipped(&good.head),
                successions: b"ssh-ca-succession v1\nnumber 7\n".to_vec(),
            });
            refused(
                &scene,
                &before,
                &format!("{form:?}, bit {number} of {samples}"),
                &codes,
            )?;
            scene.put(&Files {
                krl: cut(&good.krl),
                order: Vec::new(),
                bundle: cut(&good.bundle),
                head: cut(&good.head),
                successions: Vec::new(),
            });
            refused(
                &scene,
                &before,
                &format!("{form:?}, cut {number} of {samples}"),
                &codes,
            )?;
        }
    }

    // A server that misbehaves, before a tree that is good.
    scene.put(&scene.files(4, 4, &["bob@corp.example/1"], Form::Sealed)?);
    for manner in [
        Manner::Hang,
        Manner::Endless,
        Manner::Half,
        Manner::Empty,
        Manner::Page,
        Manner::Elsewhere,
    ] {
        scene.web.behave(manner);
        refused(&scene, &before, &format!("{manner:?}"), &["not-fetched"])?;
    }
    scene.web.behave(Manner::Well);
    // A hint that lies makes it fetch, and nothing else.
    scene.web.put_file(
        &scene.secret.place(),
        "head",
        b"ssh-ca-head v1\nkrl x\nbundle $(touch /lied)\n".to_vec(),
    );
    ca_machine_done(&scene)?;
    let state = scene.state()?;
    ensure!(
        (state.applied_generation, state.krl_version) == (4, 4),
        "{state:?}"
    );
    ensure!(
        scene.has_account("dave")? && scene.bench.probe_enters()? && scene.bench.admin_enters()?
    );
    ensure!(
        !scene
            .bench
            .machine
            .exec(&["test", "-e", "/lied"])?
            .status
            .success()
    );
    let left = scene.bench.machine.run(&[
        "sh",
        "-c",
        "ls -d /run/ssh-ca-work.* /var/lib/ssh-ca/work.* 2>/dev/null | wc -l",
    ])?;
    ensure!(
        left.stdout.trim() == "0",
        "folders of killed runs are left: {}",
        left.stdout
    );
    Ok(())
}

fn ca_machine_done(scene: &Scene) -> Result<()> {
    crate::bench::done(scene.pull()?).map(drop)
}

/// An order that lies in the tree beside what is good.
fn lay(scene: &Scene, good: &Files, order: &Order, by: &PrivateKey) -> Result<()> {
    let signed = order.sign(by)?.signed;
    let files = good.clone();
    scene.put(&files.with_order(&signed, Form::Sealed, &scene.secret));
    Ok(())
}

fn order(number: u64, task: Task, generation: Option<u64>) -> Result<Order> {
    Ok(Order {
        machine: "web-1".parse()?,
        number,
        task,
        shelf: Some(Shelf {
            until_unix: now_unix() + 3600,
            generation,
        }),
    })
}

fn poll(what: &str, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(300);
    while !so()? {
        ensure!(Instant::now() < deadline, "{what}: not within 300 s");
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(())
}

#[test]
fn r9_an_order_in_a_tree_is_obeyed_once_in_time_and_by_its_own_machine() -> Result<()> {
    let bench = bench!("r9_an_order_in_a_tree_is_obeyed_once_in_time_and_by_its_own_machine");
    let scene = Scene::new(bench)?;
    let fleet_key = scene.bench.ca.fleet_key.clone();
    let end = || Task::EndSessions(Sessions::default());
    let good = scene.files(2, 2, &[], Form::Sealed)?;
    scene.put(&good);
    done(scene.pull()?)?;
    let before = stands(&scene)?;

    // What the keeper of a mirror may put there.
    let elsewhere = Order {
        machine: "web-2".parse()?,
        ..order(10, Task::Remove, Some(2))?
    };
    let late = Order {
        shelf: Some(Shelf {
            until_unix: now_unix() - 1,
            generation: Some(2),
        }),
        ..order(10, Task::Remove, None)?
    };
    for (what, order, by, code) in [
        ("another machine's", elsewhere, &fleet_key, "wrong-machine"),
        ("one that has ended", late, &fleet_key, "stale"),
        (
            "one from before it was added again",
            order(10, Task::Remove, Some(1))?,
            &fleet_key,
            "stale",
        ),
        (
            "somebody else's",
            order(10, Task::Remove, Some(2))?,
            &key(),
            "bad-signature",
        ),
    ] {
        lay(&scene, &good, &order, by)?;
        refused(&scene, &before, what, &[code])?;
    }
    ensure!(scene.state()?.order == 0);

    // A genuine one is obeyed once; a copy of it, or an older one, is passed over in silence, whoever serves it.
    lay(&scene, &good, &order(20, end(), None)?, &fleet_key)?;
    let report = done(scene.pull()?)?;
    let accepted = |report: &ca_machine::Report| format!("{report:?}").contains("order-accepted");
    ensure!(
        accepted(&report) && scene.state()?.order == 20,
        "{report:?}"
    );
    for number in [20, 15] {
        scene
            .bench
            .machine
            .run(&["rm", "-f", "/var/lib/ssh-ca/pulled-order"])?;
        lay(&scene, &good, &order(number, end(), None)?, &fleet_key)?;
        let report = done(scene.pull()?)?;
        ensure!(!accepted(&report), "{number}: {report:?}");
    }
    ensure!(scene.state()?.order == 20);

    // The one that takes the CA off, killed while it does: the machine's own timer finishes it. Nobody hears of it here, so it keeps, for root
    // alone, what it takes to say so.
    lay(
        &scene,
        &good,
        &order(30, Task::Remove, Some(2))?,
        &fleet_key,
    )?;
    scene.bench.machine.run(&[
        "sh",
        "-c",
        "setsid sh -c 'exec /var/lib/ssh-ca/puller now' >/dev/null 2>&1 & p=$!; n=0; \
         until [ -d /var/lib/ssh-ca/removing ] || [ $n -gt 600 ]; do sleep 0.05; n=$((n + 1)); done; \
         kill -9 -$p 2>/dev/null; wait $p 2>/dev/null; true",
    ])?;
    ensure!(scene.bench.admin_enters()?, "the admin is shut out");
    poll("the CA to be off the machine", || {
        let there = scene
            .bench
            .machine
            .exec(&["test", "-e", "/var/lib/ssh-ca/removing/off"])?;
        Ok(there.status.success())
    })?;
    let left = scene.bench.machine.run(&[
        "sh",
        "-c",
        "ls -d /etc/ssh/ca /etc/cron.d/ssh-ca-pull /etc/sudoers.d/ssh-ca /var/lib/ssh-ca/p* /var/lib/ssh-ca/applier 2>/dev/null; \
         stat -c '%a' /var/lib/ssh-ca/removing; ls /var/lib/ssh-ca/removing/farewell",
    ])?;
    let words: Vec<&str> = left.stdout.split_whitespace().collect();
    ensure!(
        words.first() == Some(&"700") && words.contains(&"pull-key") && words.contains(&"order"),
        "{left:?}"
    );
    ensure!(scene.bench.admin_enters()?, "the admin is shut out");

    // It is added again: nothing of that is left, and an order to leave that was kept back until now means nothing.
    scene.settle(5)?;
    let gone = scene
        .bench
        .machine
        .exec(&["test", "-e", "/var/lib/ssh-ca/removing"])?;
    ensure!(!gone.status.success(), "it would still say that it left");
    let good = scene.files(6, 6, &[], Form::Sealed)?;
    scene.put(&good);
    done(scene.pull()?)?;
    let before = stands(&scene)?;
    lay(
        &scene,
        &good,
        &order(40, Task::Remove, Some(2))?,
        &fleet_key,
    )?;
    refused(&scene, &before, "an order that was kept back", &["stale"])
}
