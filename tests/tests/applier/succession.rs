//! The change of the fleet key on a real machine: led from key to key, in one trip with a KRL, and never back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ca_machine::{
    Bundle, Delivery, FirstContact, Namespace, Nonce, Order, Report, Request, Signed, Succession,
    Trust, applier,
    order::{Sessions, Task},
    report::Event,
};
use ssh_key::PrivateKey;

use crate::{
    bench::{Bench, done, key, refusal},
    cut_off::{chosen, run_killed_at},
};

fn link(number: u64, old: &PrivateKey, new: &PrivateKey) -> Result<Signed> {
    let succession = Succession {
        number,
        old: old.public_key().clone(),
        new: new.public_key().clone(),
    };
    Ok(succession.sign(old)?)
}

/// As the server sends it, through `ssh-ca-sync`.
fn led(successions: Vec<Signed>, krl: Option<Signed>, bundle: Option<Signed>) -> Request {
    Request::Apply {
        delivery: Delivery {
            successions,
            krl,
            bundle,
            first: None,
        },
        nonce: Nonce::random(),
        confirm_within: Duration::from_secs(600),
    }
}

/// Exactly these fleet keys are what the machine goes by.
fn trusts(bench: &Bench, keys: &[&PrivateKey]) -> Result<()> {
    let state = bench.state()?;
    ensure!(
        state.fleet_keys.len() == keys.len()
            && keys.iter().all(|key| state.trusts(key.public_key())),
        "{state:?}"
    );
    Ok(())
}

fn warned(report: &Report, word: &str) -> bool {
    report
        .events
        .iter()
        .any(|event| matches!(event, Event::Warning { code, .. } if code == word))
}

#[test]
fn r9_r10_a_machine_that_missed_two_changes_takes_the_keys_and_a_krl_in_one_trip() -> Result<()> {
    let mut bench =
        bench!("r9_r10_a_machine_that_missed_two_changes_takes_the_keys_and_a_krl_in_one_trip");
    let spec = bench.ca.spec("web-1")?;
    bench.settle(&spec, 1, 1)?;
    let [one, two, three] = [bench.ca.fleet_key.clone(), key(), key()];
    trusts(&bench, &[&one])?;
    let chain = [link(1_000, &one, &two)?, link(2_000, &two, &three)?];
    bench.ca.fleet_key = three.clone();

    // Without the chain nothing of the new key's counts, and the machine says which key it goes by.
    let mallory = ["mallory@corp.example/1"];
    let krl = bench.ca.signed_krl(2, &mallory)?;
    let report = bench.sync(&led(Vec::new(), Some(krl.clone()), None))?;
    ensure!(refusal(&report) == "bad-signature", "{report:?}");
    let state = report.state().context("it says where it stands")?;
    ensure!(state.trusts(one.public_key()) && state.krl_version == 1);
    // The second link alone leads from nowhere.
    let report = bench.sync(&led(chain[1..].to_vec(), Some(krl.clone()), None))?;
    ensure!(refusal(&report) == "bad-signature", "{report:?}");
    trusts(&bench, &[&one])?;
    // A dry run shows it and changes nothing.
    let delivery = Delivery {
        successions: chain.to_vec(),
        krl: Some(krl.clone()),
        ..Delivery::default()
    };
    done(bench.sync(&Request::DryRun(delivery))?)?;
    trusts(&bench, &[&one])?;

    ensure!(bench.enters("alice", "alice@web", "mallory@corp.example/1")?);
    let report = done(bench.sync(&led(chain.to_vec(), Some(krl), None))?)?;
    let state = report.state().context("a state")?;
    ensure!(
        (state.krl_version, state.succession) == (2, 2_000),
        "{state:?}"
    );
    ensure!(state.fleet_keys.len() == 1 && state.trusts(three.public_key()));
    ensure!(!bench.enters("alice", "alice@web", "mallory@corp.example/1")?);

    // The old keys are worthless from here on, also with the links that once led away from them.
    for old in [&one, &two] {
        let krl = bench.ca.krl(3, &[])?.sign(old)?;
        for successions in [Vec::new(), chain.to_vec(), vec![link(9_000, old, &key())?]] {
            let report = bench.sync(&led(successions, Some(krl.clone()), None))?;
            ensure!(refusal(&report) == "bad-signature", "{report:?}");
        }
        let bundle = bench.ca.bundle(&spec, 2)?.sign(old)?;
        let report = bench.sync(&led(chain.to_vec(), None, Some(bundle)))?;
        ensure!(refusal(&report) == "bad-signature", "{report:?}");
    }
    trusts(&bench, &[&three])?;

    // The other lane, and an order that brings the next link itself.
    let spec = bench.ca.spec("web-1")?;
    let apply = led(Vec::new(), None, Some(bench.ca.signed(&spec, 2)?));
    done(bench.sync(&apply)?)?;
    bench.confirm(&apply)?;
    let four = key();
    let order = Order {
        machine: "web-1".parse()?,
        number: 1,
        task: Task::EndSessions(Sessions {
            key_ids: vec!["nobody@corp.example/1".into()],
            ..Sessions::default()
        }),
        shelf: None,
    };
    done(bench.sync(&Request::Order {
        order: order.sign(&four)?,
        successions: vec![link(3_000, &three, &four)?],
    })?)?;
    trusts(&bench, &[&four])?;
    let check = done(bench.send(&Request::Check)?)?;
    ensure!(crate::bench::drift(&check).is_empty(), "{check:?}");

    // A reboot forgets nothing of it.
    bench.machine.power_off()?;
    bench.machine.power_on()?;
    trusts(&bench, &[&four])
}

#[test]
fn r9_no_succession_is_followed_that_is_forged_foreign_old_or_not_whole() -> Result<()> {
    let mut bench = bench!("r9_no_succession_is_followed_that_is_forged_foreign_old_or_not_whole");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    let [one, two, thief] = [bench.ca.fleet_key.clone(), key(), key()];
    done(bench.sync(&led(
        vec![link(1_000, &one, &two)?],
        Some(bench.ca.krl(2, &[])?.sign(&two)?),
        None,
    ))?)?;
    bench.ca.fleet_key = two.clone();
    let body = |number, old: &PrivateKey, new: &PrivateKey| Succession {
        number,
        old: old.public_key().clone(),
        new: new.public_key().clone(),
    };
    let mut version = 2;
    // Each comes with a KRL of the genuine key: whatever is wrong with the chain keeps no revocation out (R10).
    let mut refused_link = |name: &str, successions: Vec<Signed>| -> Result<Report> {
        version += 1;
        let krl = bench.ca.signed_krl(version, &[])?;
        let report = bench.sync(&led(successions, Some(krl), None))?;
        let report = done(report).with_context(|| name.to_owned())?;
        trusts(&bench, &[&two]).with_context(|| name.to_owned())?;
        ensure!(report.state().map(|state| state.krl_version) == Some(version));
        Ok(report)
    };
    let text = body(5_000, &two, &thief).encode();
    // Signed by somebody else: the text names the key that is trusted, the signature is the thief's.
    let forged = Signed::sign(&thief, Namespace::Succession, text.clone())?;
    ensure!(warned(
        &refused_link("forged", vec![forged.clone()])?,
        "bad-succession"
    ));
    // By the right key, but said as something else.
    for namespace in [Namespace::Bundle, Namespace::Krl, Namespace::Order] {
        let other = Signed::sign(&two, namespace, text.clone())?;
        let report = refused_link(namespace.as_str(), vec![other])?;
        ensure!(warned(&report, "bad-succession"), "{namespace:?}");
    }
    // The forged one does not open the way for a good one behind it either.
    let good = link(6_000, &thief, &key())?;
    refused_link("forged, then more", vec![forged, good])?;
    refused_link("another CA's", vec![link(9_000, &thief, &key())?])?;
    refused_link("a replay", vec![link(1_000, &one, &two)?])?;
    refused_link(
        "from a key that was succeeded",
        vec![link(9_000, &one, &thief)?],
    )?;
    refused_link("a number that was used", vec![link(1_000, &two, &thief)?])?;
    refused_link("a lower number", vec![link(999, &two, &thief)?])?;

    // What cannot be read is refused as a whole, with nothing changed.
    let whole = [text.clone(), link(5_000, &two, &thief)?.signature().into()].concat();
    let cuts = [
        whole[..whole.len() - 30].to_vec(),
        whole[20..].to_vec(),
        [whole.clone(), b"more\n".to_vec()].concat(),
        String::from_utf8(whole.clone())?
            .replace("number 5000", "number 5000 -o x")
            .into_bytes(),
        String::from_utf8(whole.clone())?
            .replace("number 5000", "number 9999999999999999999")
            .into_bytes(),
        b"\0\n".repeat(40),
        whole.repeat(101),
    ];
    for cut in cuts {
        let krl = bench.ca.signed_krl(900, &[])?;
        let head = format!(
            "ssh-ca-request v1 apply successions={} krl-sig={} krl={}\n",
            cut.len(),
            krl.signature().len(),
            krl.object().len()
        );
        let request = [
            head.as_bytes(),
            &cut,
            krl.signature().as_bytes(),
            krl.object(),
        ]
        .concat();
        let output = bench
            .machine
            .exec_with_stdin(&["/var/lib/ssh-ca/applier"], &request)?;
        let report = Report::parse(&output.stdout).with_context(|| format!("{output:?}"))?;
        ensure!(refusal(&report) == "bad-request", "{report:?}");
        trusts(&bench, &[&two])?;
    }
    // The key of ssh-ca-sync alone cannot have the trust replaced.
    let mut request = String::from_utf8(led(Vec::new(), None, None).encode())?;
    request = request.replace(" apply ", " apply trust=replace ");
    let output = bench
        .machine
        .exec_with_stdin(&["/var/lib/ssh-ca/applier"], request.as_bytes())?;
    let report = Report::parse(&output.stdout).with_context(|| format!("{output:?}"))?;
    ensure!(refusal(&report) == "bad-request", "{report:?}");
    trusts(&bench, &[&two])?;

    // And the genuine one is followed.
    let krl = bench.ca.krl(1_000, &[])?.sign(&thief)?;
    done(bench.sync(&led(vec![link(5_000, &two, &thief)?], Some(krl), None))?)?;
    trusts(&bench, &[&thief])
}

#[test]
fn r10_no_roll_back_and_no_older_bundle_takes_a_succession_back() -> Result<()> {
    let mut bench = bench!("r10_no_roll_back_and_no_older_bundle_takes_a_succession_back");
    let spec = bench.ca.spec("web-1")?;
    bench.settle(&spec, 1, 1)?;
    let [one, two] = [bench.ca.fleet_key.clone(), key()];
    // A change is under way that was signed by the old key and names it; before it is confirmed, the new key comes with a KRL.
    let mut wider = spec.clone();
    wider.sync_from.push("192.0.2.1".parse()?);
    let apply = led(Vec::new(), None, Some(bench.ca.signed(&wider, 2)?));
    done(bench.sync(&apply)?)?;
    bench.ca.fleet_key = two.clone();
    let krl = bench.ca.signed_krl(2, &[])?;
    done(bench.sync(&led(vec![link(1_000, &one, &two)?], Some(krl), None))?)?;
    trusts(&bench, &[&two])?;
    done(bench.send(&Request::RollBack)?)?;
    trusts(&bench, &[&two])?;
    // The same bundle again, as it was: the key that signed it is none any more.
    let report = bench.sync(&apply)?;
    ensure!(refusal(&report) == "bad-signature", "{report:?}");
    // Nor does a file of the new key's that lists the old one: trust is not a bundle's to give.
    let mut both = bench.ca.spec("web-1")?;
    both.fleet_keys.push(one.public_key().clone());
    let apply = led(Vec::new(), None, Some(bench.ca.signed(&both, 3)?));
    done(bench.sync(&apply)?)?;
    bench.confirm(&apply)?;
    trusts(&bench, &[&two])?;
    let old = bench.ca.krl(3, &[])?.sign(&one)?;
    ensure!(refusal(&bench.sync(&led(Vec::new(), Some(old), None))?) == "bad-signature");
    Ok(())
}

#[test]
fn r10_with_a_full_disk_the_new_key_and_its_krl_still_arrive() -> Result<()> {
    let mut bench = bench!("r10_with_a_full_disk_the_new_key_and_its_krl_still_arrive");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    let [one, two] = [bench.ca.fleet_key.clone(), key()];
    bench.ca.fleet_key = two.clone();
    bench.machine.fill_disk()?;
    let krl = bench.ca.signed_krl(2, &["mallory@corp.example/1"])?;
    done(bench.sync(&led(vec![link(1_000, &one, &two)?], Some(krl), None))?)?;
    trusts(&bench, &[&two])?;
    ensure!(!bench.enters("alice", "alice@web", "mallory@corp.example/1")?);
    bench.machine.free_disk()?;
    Ok(())
}

/// Lines of the applier's text that belong to these functions.
fn lines_of(functions: &[&str]) -> Vec<usize> {
    let mut inside = false;
    let mut lines = Vec::new();
    for (index, line) in applier::APPLIER.lines().enumerate() {
        inside = inside
            || functions
                .iter()
                .any(|name| line.starts_with(&format!("{name}() {{")));
        if inside {
            lines.push(index + 1);
        }
        inside = inside && line != "}";
    }
    lines
}

#[test]
fn h8_killed_at_any_step_a_machine_goes_by_the_old_fleet_key_or_the_new_one() -> Result<()> {
    let mut bench = bench!(
        "h8_killed_at_any_step_a_machine_goes_by_the_old_fleet_key_or_the_new_one",
        |spec| spec.disk_mib(256)
    );
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    let mut version = 1;
    let mut next = |bench: &mut Bench| -> Result<(PrivateKey, Request)> {
        version += 1;
        let old = std::mem::replace(&mut bench.ca.fleet_key, key());
        let chain = vec![link(version * 1_000, &old, &bench.ca.fleet_key)?];
        let krl = bench.ca.signed_krl(version, &[])?;
        Ok((old, led(chain, Some(krl), None)))
    };
    let (_, whole) = next(&mut bench)?;
    let (all, report) = run_killed_at(&bench, &whole, 0)?;
    done(report.context("a report")?)?;
    let own = lines_of(&[
        "follow_successions",
        "change_trust",
        "write_whole",
        "signers",
    ]);
    let points: Vec<_> = all
        .iter()
        .copied()
        .filter(|(_, line)| own.contains(line))
        .collect();
    ensure!(points.len() > 20, "{} lines were counted", points.len());
    let (mut stayed, mut went) = (0, 0);
    // The last of them runs when all is done.
    let last = points.last().map(|(command, _)| *command);
    for point in chosen(&points, 1, 14).into_iter().chain(last) {
        let (old, apply) = next(&mut bench)?;
        run_killed_at(&bench, &apply, point)?;
        let state = bench.state()?;
        ensure!(state.fleet_keys.len() == 1, "killed at {point}: {state:?}");
        match (
            state.trusts(old.public_key()),
            state.trusts(bench.ca.fleet_key.public_key()),
        ) {
            (true, false) => stayed += 1,
            (false, true) => went += 1,
            _ => anyhow::bail!("killed at {point}: {state:?}"),
        }
        done(bench.sync(&apply)?).with_context(|| format!("the rerun after {point}"))?;
        trusts(&bench, &[&bench.ca.fleet_key])?;
    }
    ensure!(
        stayed > 0 && went > 0,
        "killed only on one side: {stayed} {went}"
    );
    let left = bench.machine.run(&[
        "sh",
        "-c",
        "find /var/lib/ssh-ca -name '*ssh-ca-new*'; true",
    ])?;
    ensure!(left.stdout.is_empty(), "left behind: {left:?}");
    Ok(())
}

#[test]
fn an_admin_s_resync_replaces_the_fleet_key_and_nothing_that_was_not_signed_by_the_new_one()
-> Result<()> {
    let mut bench = bench!(
        "an_admin_s_resync_replaces_the_fleet_key_and_nothing_that_was_not_signed_by_the_new_one"
    );
    bench.settle(&bench.ca.spec("web-1")?, 1, 5)?;
    let [one, two] = [bench.ca.fleet_key.clone(), key()];
    // The key was lost: nothing leads from one to two.
    let lost = link(7_000, &two, &one)?;
    bench.ca.fleet_key = two.clone();
    let spec = bench.ca.spec("web-1")?;
    let resync = |key: &PrivateKey, krl: Signed, bundle: Signed, trust: Trust| Request::Apply {
        delivery: Delivery {
            successions: Vec::new(),
            krl: Some(krl),
            bundle: Some(bundle),
            first: Some(FirstContact {
                fleet_keys: vec![key.public_key().clone()],
                trust,
                admin: None,
                pull_secret: None,
            }),
        },
        nonce: Nonce::random(),
        confirm_within: Duration::from_secs(600),
    };
    let replace = Trust::Replace { succession: 8_000 };
    let report = bench.send(&resync(
        &two,
        bench.ca.signed_krl(6, &[])?,
        bench.ca.signed(&spec, 2)?,
        Trust::IfNone,
    ))?;
    ensure!(refusal(&report) == "other-ca", "{report:?}");
    ensure!(
        report
            .refusal()
            .is_some_and(|(_, detail)| detail.contains("--resync"))
    );
    // Keys that signed nothing of what comes with them would leave a machine that nobody can speak to.
    let report = bench.send(&resync(
        &two,
        bench.ca.signed_krl(6, &[])?,
        bench.ca.bundle(&spec, 2)?.sign(&one)?,
        replace,
    ))?;
    ensure!(refusal(&report) == "bad-signature", "{report:?}");
    trusts(&bench, &[&one])?;
    // Numbers do not go back, whoever asks (R2), and the name stays the machine's.
    let report = bench.send(&resync(
        &two,
        bench.ca.signed_krl(6, &[])?,
        bench.ca.signed(&bench.ca.spec("web-2")?, 2)?,
        replace,
    ))?;
    ensure!(refusal(&report) == "wrong-machine", "{report:?}");
    trusts(&bench, &[&one])?;
    let apply = resync(
        &two,
        bench.ca.signed_krl(7, &[])?,
        bench.ca.signed(&spec, 2)?,
        replace,
    );
    done(bench.send(&apply)?)?;
    bench.confirm(&apply)?;
    trusts(&bench, &[&two])?;
    ensure!(bench.state()?.succession == 8_000);
    // An old link of the new key's, from before a restore, leads nowhere.
    let krl = bench.ca.signed_krl(8, &[])?;
    done(bench.sync(&led(vec![lost], Some(krl), None))?)?;
    trusts(&bench, &[&two])?;
    // A second run changes nothing (H8), and a removal forgets the key.
    let again = done(bench.send(&apply).and_then(|report| {
        ensure!(refusal(&report) == "old-krl", "{report:?}");
        bench.send(&resync(
            &two,
            bench.ca.signed_krl(9, &[])?,
            bench.ca.signed(&spec, 3)?,
            replace,
        ))
    })?)?;
    if again.awaiting().is_some() {
        done(bench.send(&Request::RollBack)?)?;
    }
    // Somebody else has that key, leads the machine on and lifts the numbers out of reach: what an admin replaces begins anew.
    let [thief, three, four] = [key(), key(), key()];
    let last = Bundle::MAX_NUMBER;
    let krl = bench.ca.krl(10, &[])?.sign(&thief)?;
    done(bench.sync(&led(vec![link(last, &two, &thief)?], Some(krl), None))?)?;
    let order = |number: u64, key: &PrivateKey| -> Result<Request> {
        let order = Order {
            machine: "web-1".parse()?,
            number,
            task: Task::EndSessions(Sessions {
                key_ids: vec!["nobody@corp.example/1".into()],
                ..Sessions::default()
            }),
            shelf: None,
        };
        Ok(Request::Order {
            order: order.sign(key)?,
            successions: Vec::new(),
        })
    };
    done(bench.sync(&order(last, &thief)?)?)?;
    ensure!(bench.state()?.succession == last);
    bench.ca.fleet_key = three.clone();
    let anew = resync(
        &three,
        bench.ca.signed_krl(11, &[])?,
        bench.ca.signed(&bench.ca.spec("web-1")?, 4)?,
        Trust::Replace { succession: 9_000 },
    );
    done(bench.send(&anew)?)?;
    bench.confirm(&anew)?;
    ensure!(bench.state()?.succession == 9_000);
    done(bench.sync(&order(1, &three)?)?)?;
    let krl = bench.ca.krl(12, &[])?.sign(&four)?;
    done(bench.sync(&led(vec![link(9_001, &three, &four)?], Some(krl), None))?)?;
    trusts(&bench, &[&four])?;
    done(bench.send(&Request::Remove)?)?;
    trusts(&bench, &[])
}
