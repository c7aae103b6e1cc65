//! Orders: what ends sessions at the server's word, and what must not.

use anyhow::{Result, ensure};
use ca_machine::{
    Order, Request, Signed,
    order::{Connection, Sessions, SignedOrder, Task},
    report::SessionState,
    sign::Namespace,
};
use ssh_key::PrivateKey;

use crate::{
    bench::{done, key, refusal},
    sessions::{ends, session},
};

fn ending(number: u64, sessions: Sessions) -> Result<Order> {
    Ok(Order {
        machine: "web-1".parse()?,
        number,
        task: Task::EndSessions(sessions),
        shelf: None,
    })
}

fn order(number: u64) -> Result<Order> {
    of(number, "alice@corp.example/1")
}

fn of(number: u64, key_id: &str) -> Result<Order> {
    let sessions = Sessions {
        key_ids: vec![key_id.into()],
        ..Sessions::default()
    };
    ending(number, sessions)
}

/// Some signed bytes, sent as an order to end sessions.
fn obey(signed: Signed) -> Request {
    Request::Order {
        order: SignedOrder {
            verb: "end-sessions",
            signed,
        },
        successions: Vec::new(),
    }
}

fn signed(order: &Order, key: &PrivateKey) -> Result<Request> {
    Ok(Request::Order {
        order: order.sign(key)?,
        successions: Vec::new(),
    })
}

#[test]
fn r8_no_order_is_obeyed_that_is_forged_replayed_old_or_for_another_machine() -> Result<()> {
    let bench = bench!("r8_no_order_is_obeyed_that_is_forged_replayed_old_or_for_another_machine");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    let fleet_key = &bench.ca.fleet_key;
    // Something is obeyed first: this copy will be worth nothing.
    let first = signed(&of(1_000, "nobody@corp.example/1")?, fleet_key)?;
    done(bench.sync(&first)?)?;
    let mut alice = session(&bench, "alice", "alice@corp.example/1", &[])?;

    let refused =
        |request: &Request| -> Result<String> { Ok(refusal(&bench.sync(request)?).to_owned()) };
    // The key of ssh-ca-sync alone: no signature, a key of one's own, a signature that was made for something else.
    let bare = |line: &str, parts: &[&[u8]]| -> Result<String> {
        let bytes = [
            format!("ssh-ca-request v1 {line}\n").as_bytes(),
            &parts.concat(),
        ]
        .concat();
        let output = bench
            .machine
            .exec_with_stdin(&["/var/lib/ssh-ca/applier"], &bytes)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let wanted = b"key-id alice@corp.example/1\n";
    let text = bare(&format!("end-sessions wanted={}", wanted.len()), &[wanted])?;
    ensure!(text.contains("bad-request"), "{text}");
    let text = bare("end-sessions", &[])?;
    ensure!(text.contains("bad-request"), "{text}");
    let body = order(2_000)?.encode();
    let text = bare(&format!("end-sessions order={}", body.len()), &[&body])?;
    ensure!(text.contains("bad-request"), "{text}");
    let text = bare("roll-back", &[])?;
    ensure!(
        text.contains("bad-request") && text.contains("admin's own login"),
        "{text}"
    );
    ensure!(refused(&signed(&order(2_000)?, &key())?)? == "bad-signature");
    ensure!(refused(&signed(&order(2_000)?, &bench.ca.sync_key)?)? == "bad-signature");
    ensure!(refused(&signed(&order(2_000)?, &bench.ca.user_ca)?)? == "bad-signature");
    for namespace in [Namespace::Bundle, Namespace::Krl] {
        let other = Signed::sign(fleet_key, namespace, body.clone())?;
        ensure!(refused(&obey(other))? == "bad-signature", "{namespace:?}");
    }
    // Genuine, but not for here, not for now, or not whole.
    let elsewhere = Order {
        machine: "web-2".parse()?,
        ..order(2_000)?
    };
    ensure!(refused(&signed(&elsewhere, fleet_key)?)? == "wrong-machine");
    ensure!(refused(&first)? == "old-order", "a replay");
    ensure!(
        refused(&signed(&order(1_000)?, fleet_key)?)? == "old-order",
        "the same number again"
    );
    ensure!(
        refused(&signed(&order(999)?, fleet_key)?)? == "old-order",
        "a lower one"
    );
    let mut cut = order(2_000)?.encode();
    cut.truncate(cut.len() - 4);
    let cut = Signed::sign(fleet_key, Namespace::Order, cut)?;
    ensure!(refused(&obey(cut))? == "bad-request", "no end");
    let more = [order(2_000)?.encode(), b"serial 77\n".to_vec()].concat();
    let more = Signed::sign(fleet_key, Namespace::Order, more)?;
    ensure!(refused(&obey(more))? == "bad-request", "more after the end");
    ensure!(alice.try_wait()?.is_none(), "her session ended");

    // With a full disk nothing is obeyed either, for it could be replayed.
    bench.machine.fill_disk()?;
    ensure!(refused(&signed(&order(2_000)?, fleet_key)?)? == "disk");
    bench.machine.free_disk()?;
    ensure!(alice.try_wait()?.is_none(), "her session ended");

    // And the genuine one: once, also after a reboot, which forgets /run.
    let genuine = signed(&order(2_000)?, fleet_key)?;
    done(bench.sync(&genuine)?)?;
    ensure!(ends(&mut alice, std::time::Duration::from_secs(120))?);
    bench.machine.power_off()?;
    bench.machine.power_on()?;
    ensure!(refused(&genuine)? == "old-order", "a replay after a reboot");
    Ok(())
}

#[test]
fn r8_an_order_ends_the_one_connection_that_it_names() -> Result<()> {
    let bench = bench!("r8_an_order_ends_the_one_connection_that_it_names");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    let mut first = session(&bench, "first", "alice@corp.example/1", &[])?;
    let report = done(bench.sync(&Request::Report)?)?;
    let named = report
        .sessions()
        .find(|one| one.account == "alice")
        .map(|one| Connection {
            pid: one.pid,
            started: one.started,
        });
    let named = named.ok_or_else(|| anyhow::anyhow!("{report:?}"))?;
    ensure!(
        report.sessions().filter(|one| one.own).count() == 1,
        "the CA's own connection is told apart: {report:?}"
    );
    let mut second = session(&bench, "second", "alice@corp.example/1", &[])?;
    let naming = |number, connection| -> Result<Request> {
        let sessions = Sessions {
            connections: vec![connection],
            ..Sessions::default()
        };
        signed(&ending(number, sessions)?, &bench.ca.fleet_key)
    };
    // The pid came to mean another process: nothing ends.
    let stale = Connection {
        started: named.started - 1,
        ..named
    };
    let report = done(bench.sync(&naming(1, stale)?)?)?;
    ensure!(report.sessions().count() == 0, "{report:?}");
    // Nor a process that is no connection.
    let init = Connection { pid: 1, started: 0 };
    done(bench.sync(&naming(2, init)?)?)?;
    ensure!(first.try_wait()?.is_none() && second.try_wait()?.is_none());
    let report = done(bench.sync(&naming(3, named)?)?)?;
    let told: Vec<_> = report.sessions().collect();
    ensure!(
        told.len() == 1 && told[0].state == SessionState::Ended && told[0].pid == named.pid,
        "{report:?}"
    );
    ensure!(ends(&mut first, std::time::Duration::from_secs(120))?);
    ensure!(
        second.try_wait()?.is_none(),
        "the other one of the same certificate ended too"
    );
    second.kill()?;
    second.wait()?;
    Ok(())
}
