//! A small CA, a web server, and a machine that fetches: what it takes, how it confirms, and what a kill leaves.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ca_machine::{
    Delivery, FirstContact, MachineSpec, Nonce, Report, Request, Succession, Trust,
    pull::{Files, Form, PullSecret, PullSpec, Source},
    report::{Event, State},
};
use e2e::CA_ADDRESS;
use ssh_key::PrivateKey;

use crate::{
    bench::{Bench, account, done},
    web::Web,
};

/// A machine that fetches from a tree.
pub struct Scene {
    pub bench: Bench,
    pub web: Web,
    pub spec: MachineSpec,
    pub secret: PullSecret,
}

impl Scene {
    /// Generation 1 and KRL 1 stand there.
    pub fn new(bench: Bench) -> Result<Self> {
        let web = Web::start(&bench.fleet)?;
        let secret = PullSecret::random();
        let mut spec = bench.ca.spec("web-1")?;
        spec.pull = Some(PullSpec {
            source: Source::Place {
                tree: web.url().parse()?,
                place: secret.place(),
            },
            // Nobody is there: what is told to the CA is the other file's matter.
            ca: format!("http://{CA_ADDRESS}:9").parse()?,
            trusted: None,
            every_minutes: 59,
            timeout_secs: 10,
            host_key: bench.machine.host_key()?.parse()?,
        });
        let scene = Self {
            bench,
            web,
            spec,
            secret,
        };
        scene.settle(1)?;
        Ok(scene)
    }

    /// Generation and KRL of this number, as an admin's login brings them.
    pub fn settle(&self, number: u64) -> Result<()> {
        let scene = self;
        let request = Request::Apply {
            delivery: Delivery {
                successions: Vec::new(),
                krl: Some(scene.bench.ca.signed_krl(number, &[])?),
                bundle: Some(scene.bench.ca.signed(&scene.spec, number)?),
                first: Some(FirstContact {
                    fleet_keys: vec![scene.bench.ca.fleet_key.public_key().clone()],
                    trust: Trust::IfNone,
                    admin: None,
                    pull_secret: Some(scene.secret.clone()),
                }),
            },
            nonce: Nonce::random(),
            confirm_within: Duration::from_secs(600),
        };
        done(scene.bench.send(&request)?)?;
        scene.bench.confirm(&request)?;
        Ok(())
    }

    /// What the CA wants now.
    pub fn files(&self, generation: u64, krl: u64, revoked: &[&str], form: Form) -> Result<Files> {
        let krl = self.bench.ca.signed_krl(krl, revoked)?;
        let bundle = self.bench.ca.signed(&self.spec, generation)?;
        Ok(Files::new(&krl, &bundle, &[], form, &self.secret))
    }

    pub fn put(&self, files: &Files) {
        self.web.put(&self.secret.place(), files);
    }

    /// Fetches now, as the timer would.
    pub fn pull(&self) -> Result<Report> {
        let output = self
            .bench
            .machine
            .exec(&["/var/lib/ssh-ca/puller", "now"])?;
        Report::parse(&output.stdout).with_context(|| format!("{output:?}"))
    }

    /// As it stands, without what time alone changes.
    pub fn state(&self) -> Result<State> {
        Ok(State {
            clock_unix: 0,
            restore_in_secs: None,
            ..self.bench.state()?
        })
    }

    /// A person whose account the next generation brings.
    pub fn hire(&mut self, name: &str, uid: u32) -> Result<()> {
        self.spec.accounts.push(account(name, uid)?);
        Ok(())
    }

    pub fn has_account(&self, name: &str) -> Result<bool> {
        Ok(self
            .bench
            .machine
            .exec(&["id", "-u", name])?
            .status
            .success())
    }
}

#[test]
fn r9_what_is_wanted_arrives_by_fetching_with_curl_and_with_wget() -> Result<()> {
    let bench = bench!("r9_what_is_wanted_arrives_by_fetching_with_curl_and_with_wget");
    let mut scene = Scene::new(bench)?;
    let tools = [
        ("curl", "true", Form::Sealed),
        ("wget", "rm /usr/bin/curl", Form::Sealed),
        (
            "wget, from a plain tree",
            "rm /usr/bin/openssl",
            Form::Plain,
        ),
    ];
    let mut ids = vec!["nobody@corp.example/1".to_owned()];
    for (number, (tool, become_so, form)) in (2u64..).zip(tools) {
        scene.bench.machine.run(&["sh", "-c", become_so])?;
        let (name, uid) = (format!("u{number}"), 61_100 + u32::try_from(number)?);
        scene.hire(&name, uid)?;
        let key_id = format!("alice@corp.example/{number}");
        ensure!(
            scene.bench.enters("alice", "alice@web", &key_id)?,
            "{tool}: good before"
        );
        ids.push(key_id.clone());
        let revoked: Vec<&str> = ids.iter().map(String::as_str).collect();
        scene.put(&scene.files(number, number, &revoked, form)?);
        ensure!(
            scene.web.says("corp.example") == (form == Form::Plain),
            "{tool}: what readers of the place see"
        );
        let report = done(scene.pull()?).context(tool)?;
        ensure!(
            report
                .events
                .iter()
                .any(|event| matches!(event, Event::Did { name, .. } if name == "confirmed")),
            "{tool}: {report:?}"
        );
        let state = scene.state()?;
        ensure!(
            (
                state.applied_generation,
                state.krl_version,
                state.awaiting.as_str(),
                state.krl_canaries.as_str()
            ) == (number, number, "", "ok"),
            "{tool}: {state:?}"
        );
        ensure!(
            scene.has_account(&name)?,
            "{tool}: the account was not made"
        );
        ensure!(
            !scene.bench.enters("alice", "alice@web", &key_id)?,
            "{tool}: revoked, and let in"
        );
        ensure!(
            scene
                .bench
                .enters("alice", "alice@web", "alice@corp.example/99")?,
            "{tool}: good after"
        );
        scene.web.asked();
        // H8: nothing new, so nothing but the hint is fetched, and nothing changes.
        let again = done(scene.pull()?)?;
        ensure!(
            !again.changed() && scene.web.asked() == ["head"],
            "{tool}: {again:?}"
        );
    }
    // What should not have been there any more is put right by the next one, though the place has nothing new.
    scene
        .bench
        .machine
        .run(&["rm", "/etc/ssh/ca/revoked.krl"])?;
    done(scene.pull()?)?;
    ensure!(scene.state()?.krl_canaries == "ok", "a lost KRL comes back");
    // The login from here to here opens the applier, and nothing else; only root has its key.
    let key = scene.bench.machine.run(&[
        "stat",
        "-c",
        "%u %a",
        "/var/lib/ssh-ca/loopback",
        "/var/lib/ssh-ca/pull-key",
    ])?;
    ensure!(key.stdout == "0 600\n0 600\n", "{}", key.stdout);
    let found = done(scene.bench.send(&Request::Check)?)?;
    ensure!(crate::bench::drift(&found).is_empty(), "{found:?}");
    // Without the puller in its bundle the machine stops fetching, and keeps nothing of it running.
    scene.spec.pull = None;
    scene.bench.settle(&scene.spec, 20, 20)?;
    let left = scene.bench.machine.exec(&[
        "sh",
        "-c",
        "ls /etc/cron.d/ssh-ca-pull /var/lib/ssh-ca/puller",
    ])?;
    ensure!(left.stdout.is_empty(), "{left:?}");
    Ok(())
}

#[test]
fn r9_a_machine_that_missed_two_changes_of_the_fleet_key_is_led_through_both() -> Result<()> {
    let bench = bench!("r9_a_machine_that_missed_two_changes_of_the_fleet_key_is_led_through_both");
    let mut scene = Scene::new(bench)?;
    let (second, third) = (crate::bench::key(), crate::bench::key());
    let next = |number, old: &PrivateKey, new: &PrivateKey| {
        Succession {
            number,
            old: old.public_key().clone(),
            new: new.public_key().clone(),
        }
        .sign(old)
    };
    let chain = [
        next(1, &scene.bench.ca.fleet_key, &second)?,
        next(2, &second, &third)?,
    ];
    scene.spec.fleet_keys = vec![third.public_key().clone()];
    scene.hire("carol", 61_200)?;
    let krl = scene
        .bench
        .ca
        .krl(2, &["bob@corp.example/1"])?
        .sign(&third)?;
    let bundle = scene.bench.ca.bundle(&scene.spec, 2)?.sign(&third)?;
    let files = |chain: &[ca_machine::Signed]| {
        Files::new(&krl, &bundle, chain, Form::Sealed, &scene.secret)
    };
    // Without what leads there, or with a part of it, nothing by the new key is taken.
    for part in [&[][..], &chain[1..], &chain[..1]] {
        scene.put(&files(part));
        let report = scene.pull()?;
        ensure!(
            report
                .refusal()
                .is_some_and(|(code, _)| code == "bad-signature"),
            "{report:?}"
        );
        ensure!(scene.state()?.krl_version == 1);
    }
    scene.put(&files(&chain));
    done(scene.pull()?)?;
    let state = scene.state()?;
    ensure!(
        (state.applied_generation, state.krl_version) == (2, 2),
        "{state:?}"
    );
    ensure!(scene.has_account("carol")? && scene.bench.probe_enters()?);
    // The first key's word counts no more.
    scene.put(&scene.files(3, 3, &[], Form::Sealed)?);
    let report = scene.pull()?;
    ensure!(
        report
            .refusal()
            .is_some_and(|(code, _)| code == "bad-signature"),
        "{report:?}"
    );
    Ok(())
}

#[test]
fn h1_a_fetched_configuration_that_lets_no_login_in_is_never_confirmed() -> Result<()> {
    let bench = bench!("h1_a_fetched_configuration_that_lets_no_login_in_is_never_confirmed");
    let mut scene = Scene::new(bench)?;
    // sshd takes it, and lets ssh-ca-sync in no more from its next reload on.
    scene.bench.machine.write_file(
        "/etc/ssh/sshd_config.d/50-site.conf",
        b"DenyUsers ssh-ca-sync\n",
    )?;
    scene.hire("carol", 61_200)?;
    let files = scene.files(2, 2, &[], Form::Sealed)?;
    scene.put(&files);
    let report = scene.pull()?;
    ensure!(
        report
            .refusal()
            .is_some_and(|(code, _)| code == "not-confirmed"),
        "{report:?}"
    );
    let state = scene.bench.state()?;
    ensure!(
        !state.awaiting.is_empty() && state.restore_in_secs.is_some(),
        "it waits, with the timer armed: {state:?}"
    );
    ensure!(state.krl_version == 2, "R10: the KRL is there all the same");
    // The time runs out, and the timer does its work by itself.
    scene.bench.machine.run(&[
        "sh",
        "-c",
        "echo 'over 0' >/var/lib/ssh-ca/pending/deadline",
    ])?;
    let deadline = Instant::now() + Duration::from_secs(240);
    while scene.bench.state()?.applied_generation != 1 {
        ensure!(Instant::now() < deadline, "the timer does not put it back");
        std::thread::sleep(Duration::from_millis(500));
    }
    ensure!(
        scene.state()?.krl_version == 2,
        "R10: nor is the KRL taken back"
    );
    ensure!(
        scene.bench.admin_enters()? && scene.bench.probe_enters()?,
        "everybody else gets in as before"
    );
    // It is not tried over and over: each time would reload sshd and put it back again.
    let again = scene.pull()?;
    ensure!(
        again
            .refusal()
            .is_some_and(|(code, _)| code == "not-confirmed")
            && !again.changed(),
        "{again:?}"
    );
    ensure!(scene.bench.state()?.awaiting.is_empty());
    // What is newer is tried, and taken once the login works.
    scene
        .bench
        .machine
        .run(&["rm", "/etc/ssh/sshd_config.d/50-site.conf"])?;
    scene.hire("dave", 61_201)?;
    scene.put(&scene.files(3, 3, &[], Form::Sealed)?);
    done(scene.pull()?)?;
    let state = scene.state()?;
    ensure!(
        state.applied_generation == 3 && state.awaiting.is_empty(),
        "{state:?}"
    );
    ensure!(scene.has_account("dave")?);
    Ok(())
}

#[test]
fn h8_a_machine_that_is_killed_while_it_fetches_goes_on_at_the_next_time() -> Result<()> {
    let bench = bench!("h8_a_machine_that_is_killed_while_it_fetches_goes_on_at_the_next_time");
    let mut scene = Scene::new(bench)?;
    let points: &[&str] = match std::env::var_os("E2E_FULL") {
        Some(_) => &[
            "0.05", "0.1", "0.2", "0.3", "0.5", "0.7", "0.9", "1.2", "1.5", "2", "3",
        ],
        None => &["0.1", "0.4", "0.9", "1.6"],
    };
    for (number, point) in (2u64..).zip(points) {
        let (name, uid) = (format!("u{number}"), 61_100 + u32::try_from(number)?);
        scene.hire(&name, uid)?;
        scene.put(&scene.files(number, number, &["bob@corp.example/1"], Form::Sealed)?);
        // The group, with the applier and whatever fetches, as a power cut takes all.
        let killed = format!(
            "setsid sh -c 'exec /var/lib/ssh-ca/puller now' >/dev/null 2>&1 & p=$!; sleep {point}; kill -9 -$p 2>/dev/null; wait $p 2>/dev/null; true"
        );
        scene.bench.machine.run(&["sh", "-c", &killed])?;
        ensure!(
            scene.bench.admin_enters()?,
            "killed after {point} s: the admin is shut out"
        );
        let krl = scene.state()?;
        ensure!(krl.krl_canaries == "ok", "killed after {point} s: {krl:?}");
        done(scene.pull()?).with_context(|| format!("killed after {point} s"))?;
        let state = scene.state()?;
        ensure!(
            (
                state.applied_generation,
                state.krl_version,
                state.awaiting.as_str()
            ) == (number, number, ""),
            "killed after {point} s: {state:?}"
        );
        ensure!(scene.has_account(&name)? && scene.bench.probe_enters()?);
    }
    Ok(())
}
