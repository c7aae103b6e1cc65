//! The CA taken off a machine: at whose word, what is left, and what a kill in the middle leaves to others.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ca_machine::{
    Order, Request, Signed,
    order::{Sessions, SignedOrder, Task},
    sign::Namespace,
};

use crate::{
    bench::{Bench, done, key, refusal},
    cut_off::{chosen, run_killed_at},
    sessions::session,
};

fn order(machine: &str, number: u64, task: Task) -> Result<Order> {
    Ok(Order {
        machine: machine.parse()?,
        number,
        task,
        shelf: None,
    })
}

/// As it was before the CA came, but for the homes of accounts that it made, and what it must remember of them.
fn nothing_is_left(bench: &Bench) -> Result<()> {
    let left = bench.machine.run(&[
        "sh",
        "-c",
        "for path in /etc/ssh/ca /etc/ssh/sshd_config.d/00-ssh-ca.conf /etc/sudoers.d/ssh-ca /etc/cron.d/ssh-ca-*; do \
           [ ! -e \"$path\" ] || echo \"$path\"; done; \
         grep -rlE 'ssh-ca|/etc/ssh/ca' /etc/ssh /etc/pam.d /etc/sudoers.d /etc/passwd /etc/group /etc/shadow | grep -v -- '-$'; \
         ls /var/lib/ssh-ca | grep -vxE 'accounts|order|crontabs'; sshd -t 2>&1; true",
    ])?;
    ensure!(left.stdout.is_empty(), "left on the machine: {left:?}");
    let shadow = bench.machine.run(&[
        "sh",
        "-c",
        "test -d /home/alice && getent shadow alice | cut -d: -f8",
    ])?;
    ensure!(
        shadow.stdout.trim() == "1",
        "alice's account is not expired: {shadow:?}"
    );
    ensure!(bench.admin_enters()?, "the admin is shut out");
    ensure!(
        !bench.enters("alice", "alice@web", "alice@corp.example/1")?,
        "a certificate still opens the machine"
    );
    Ok(())
}

#[test]
fn r9_only_an_order_of_the_fleet_key_takes_the_ca_off_over_the_sync_lane() -> Result<()> {
    let bench = bench!("r9_only_an_order_of_the_fleet_key_takes_the_ca_off_over_the_sync_lane");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    let fleet_key = &bench.ca.fleet_key;
    let send = |order: SignedOrder| {
        bench.sync(&Request::Order {
            order,
            successions: Vec::new(),
        })
    };

    // The key of ssh-ca-sync alone: no order, one of its own, one for another machine, one that asks for something else.
    ensure!(refusal(&bench.sync(&Request::Remove)?) == "bad-request");
    for wrong in [&key(), &bench.ca.sync_key, &bench.ca.user_ca] {
        let order = order("web-1", 10, Task::Remove)?.sign(wrong)?;
        ensure!(refusal(&send(order)?) == "bad-signature");
    }
    let elsewhere = order("web-2", 10, Task::Remove)?.sign(fleet_key)?;
    ensure!(refusal(&send(elsewhere)?) == "wrong-machine");
    let other = order("web-1", 10, Task::EndSessions(Sessions::default()))?;
    let other = SignedOrder {
        verb: "remove",
        signed: Signed::sign(fleet_key, Namespace::Order, other.encode())?,
    };
    ensure!(
        refusal(&send(other)?) == "bad-request",
        "an order to end sessions"
    );
    let second = order("web-1", 20, Task::EndSessions(Sessions::default()))?.sign(fleet_key)?;
    done(send(second)?)?;
    let late = order("web-1", 15, Task::Remove)?.sign(fleet_key)?;
    ensure!(refusal(&send(late)?) == "old-order");
    ensure!(
        bench.enters("alice", "alice@web", "alice@corp.example/1")?,
        "something was taken off"
    );

    // The genuine one, while somebody is logged in and the CA keeps another connection.
    let mut alice = session(&bench, "alice", "alice@corp.example/1", &[])?;
    let genuine = order("web-1", 30, Task::Remove)?.sign(fleet_key)?;
    let report = done(send(genuine)?)?;
    ensure!(report.changed(), "{report:?}");
    nothing_is_left(&bench)?;
    ensure!(
        crate::sessions::ends(&mut alice, Duration::from_secs(120))?,
        "her session lives on"
    );
    ensure!(
        bench.sync(&Request::Report).is_err(),
        "ssh-ca-sync still gets in"
    );

    // And again, as an admin: nothing is left to do. Then the CA comes back, and the old order is worth nothing.
    done(bench.send(&Request::Remove)?)?;
    nothing_is_left(&bench)?;
    bench.settle(&bench.ca.spec("web-1")?, 2, 2)?;
    ensure!(bench.enters("alice", "alice@web", "alice@corp.example/1")?);
    let replayed = order("web-1", 30, Task::Remove)?.sign(fleet_key)?;
    ensure!(refusal(&send(replayed)?) == "old-order", "a replay");
    Ok(())
}

#[test]
fn h8_killed_at_any_line_of_a_removal() -> Result<()> {
    let bench = bench!("h8_killed_at_any_line_of_a_removal", |spec| spec
        .disk_mib(256));
    let spec = bench.ca.spec("web-1")?;
    bench.settle(&spec, 1, 1)?;
    let (all, report) = run_killed_at(&bench, &Request::Remove, 0)?;
    done(report.context("a report")?)?;
    nothing_is_left(&bench)?;
    ensure!(all.len() > 60, "{} lines were counted", all.len());
    let points = chosen(&all, 2, 8);
    let mut generation = 1;
    for (turn, point) in points.iter().enumerate() {
        generation += 1;
        let mallory = bench
            .ca
            .signed_krl(generation, &["mallory@corp.example/1"])?;
        let apply = bench.apply(Some(mallory), Some(bench.ca.signed(&spec, generation)?));
        done(bench.send(&apply)?)?;
        bench.confirm(&apply)?;
        run_killed_at(&bench, &Request::Remove, *point)?;
        let when = || format!("killed at command {point}\n{}", bench.fleet.logs());
        ensure!(bench.admin_enters()?, "no way in: {}", when());
        ensure!(
            !bench.enters("alice", "alice@web", "mallory@corp.example/1")?,
            "a revoked certificate gets in: {}",
            when()
        );
        ensure!(
            !bench.enters("alice", "alice@db", "alice@corp.example/1")?,
            "another pool's certificate gets in: {}",
            when()
        );
        let begun = bench.machine.run(&[
            "sh",
            "-c",
            "test ! -d /var/lib/ssh-ca/removing || echo begun",
        ])?;
        if turn % 2 == 0 || begun.stdout.is_empty() {
            // Whoever asked asks again.
            done(bench.send(&Request::Remove)?).with_context(when)?;
        } else {
            // The timer of the machine does, after a power cut. What it runs is what ran: here, without the trap of this test.
            bench.machine.write_file(
                "/var/lib/ssh-ca/removing/applier",
                ca_machine::applier::APPLIER.as_bytes(),
            )?;
            bench.machine.power_off()?;
            bench.machine.power_on()?;
            ensure!(bench.admin_enters()?, "no way in: {}", when());
            let deadline = Instant::now() + Duration::from_secs(180);
            while bench
                .machine
                .run(&["ls", "/var/lib/ssh-ca"])?
                .stdout
                .contains("removing")
            {
                ensure!(
                    Instant::now() < deadline,
                    "no timer finished it: {}\n{:?}",
                    when(),
                    bench.machine.exec(&[
                        "sh",
                        "-c",
                        "ls -lR /var/lib/ssh-ca /etc/cron.d; cat /etc/cron.d/ssh-ca-*"
                    ])
                );
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        nothing_is_left(&bench).with_context(when)?;
    }
    eprintln!("killed: {} of {} lines", points.len(), all.len());
    Ok(())
}

#[test]
fn a_machine_that_comes_back_before_its_removal_was_done_is_a_new_one() -> Result<()> {
    let bench = bench!("a_machine_that_comes_back_before_its_removal_was_done_is_a_new_one");
    let spec = bench.ca.spec("web-1")?;
    bench.settle(&spec, 1, 1)?;
    let (all, _) = run_killed_at(&bench, &Request::Remove, 0)?;
    bench.settle(&spec, 2, 2)?;
    // Nearly at its end: hardly anything of the CA is there any more.
    let (point, _) = all[all.len() * 4 / 5];
    run_killed_at(&bench, &Request::Remove, point)?;
    bench.settle(&spec, 3, 3)?;
    ensure!(bench.enters("alice", "alice@web", "alice@corp.example/1")?);
    let check = done(bench.send(&Request::Check)?)?;
    ensure!(
        crate::bench::drift(&check).is_empty(),
        "{:?}",
        crate::bench::drift(&check)
    );
    // No timer takes it off now.
    let timer = bench.machine.run(&[
        "sh",
        "-c",
        "ls -d /etc/cron.d/ssh-ca-removal /var/lib/ssh-ca/removing 2>/dev/null; true",
    ])?;
    ensure!(timer.stdout.is_empty(), "{timer:?}");
    Ok(())
}
