//! A4, A7: no refusal tells why, neither by its words nor by the time that it takes.

use std::time::Instant;

use ca_server::config::Argon2Config;
use rand_core::{OsRng, RngCore};
use serde_json::json;

use crate::{
    authentication::{same_code, with_alice},
    world::{Answer, Person, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn a4_every_refusal_is_the_same_to_the_byte() {
    let (world, alice) = with_alice().await;
    let bob = world.employee("bob@corp.example", &["web"]).await;
    let carol = world.employee("carol@corp.example", &["web"]).await;
    world.invite("dave@corp.example", &["web"], false).await;
    world
        .verb(json!({"verb": "employee_suspend", "email": bob.email}))
        .await
        .unwrap();
    world
        .verb(json!({"verb": "employee_remove", "email": carol.email}))
        .await
        .unwrap();
    let mut answers: Vec<(&str, Answer)> = Vec::new();
    let unknown = Person {
        email: "nobody@corp.example".to_owned(),
        ..alice.clone()
    };
    let not_an_email = Person {
        email: "no email at all".to_owned(),
        ..alice.clone()
    };
    let invited = Person {
        email: "dave@corp.example".to_owned(),
        ..alice.clone()
    };
    let wrong_password = Person {
        password: "something else".to_owned(),
        ..alice.clone()
    };
    let long_password = Person {
        password: "x".repeat(5000),
        ..alice.clone()
    };
    let wrong_code = Person {
        totp: vec![7; 20],
        ..alice.clone()
    };
    for (what, person) in [
        ("unknown email", &unknown),
        ("no email", &not_an_email),
        ("invited", &invited),
        ("wrong password", &wrong_password),
        ("oversize password", &long_password),
        ("wrong code", &wrong_code),
        ("suspended", &bob),
        ("removed", &carol),
    ] {
        world.ca.clock.shift(3600);
        answers.push((what, world.try_login(person).await));
    }
    // Locked: the attempt before has just failed.
    world.ca.clock.stop();
    world.ca.clock.shift(3600);
    let body = world.login_body(&wrong_password).await;
    world.post("/v1/login", &body).await;
    let locked = same_code(&world, &alice, &world.code(&alice), 1).await;
    answers.push(("locked", world.post("/v1/login", &locked[0]).await));
    // A used code.
    world.ca.clock.shift(3600);
    let right = world.login_body(&alice).await;
    let code = right["totp"].as_str().unwrap().to_owned();
    assert_eq!(world.post("/v1/login", &right).await.status, 200);
    let used = same_code(&world, &alice, &code, 1).await;
    answers.push(("used code", world.post("/v1/login", &used[0]).await));
    // The admins' door says no more: right factors without the role, and none at all.
    world.ca.clock.shift(3600);
    let admin =
        json!({"email": alice.email, "password": alice.password, "totp": world.fresh_code(&alice)});
    answers.push(("no admin", world.post("/v1/admin/login", &admin).await));
    world.ca.clock.shift(3600);
    answers.push((
        "no admin, wrong code",
        world.post("/v1/admin/login", &admin).await,
    ));

    let plain = |answer: &Answer| {
        let mut headers = answer.headers.clone();
        headers.retain(|(name, _)| name != "date");
        (answer.status, headers, answer.bytes.clone())
    };
    let first = plain(&answers[0].1);
    assert_eq!(first.0, 401);
    for (what, answer) in &answers {
        assert_eq!(plain(answer), first, "{what}");
    }
    // The ledger knows them apart.
    let ledger = world.ledger(200).await;
    for reason in [
        "unknown email",
        "wrong password",
        "wrong code",
        "not active",
        "too many attempts",
    ] {
        assert!(
            ledger
                .iter()
                .any(|line| line.event == "login_refused" && line.detail.contains(reason)),
            "{reason}"
        );
    }
}

/// The chance that a sample of one group is slower than one of the other.
fn auc(slow: &[f64], fast: &[f64]) -> f64 {
    let mut wins = 0.0;
    for a in slow {
        for b in fast {
            wins += match a.total_cmp(b) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    wins / (slow.len() * fast.len()) as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_an_unknown_email_takes_the_same_path_and_the_same_time() {
    // Dear enough to be seen: without its Argon2 run, every unknown email would be faster than every known one.
    let world = World::with(Argon2Config {
        memory_kib: 1024,
        passes: 1,
        parallel: 2,
    })
    .await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let known = Person {
        password: "not the password at all".to_owned(),
        ..alice.clone()
    };
    let unknown = Person {
        email: "alien@corp.example".to_owned(),
        ..known.clone()
    };
    let sample = async |person: &Person| {
        // A day later every attempt is the first again.
        world.ca.clock.shift(25 * 3600);
        let body = same_code(&world, person, "123456", 1).await.remove(0);
        let request = serde_json::from_value(body).unwrap();
        let (commits, started) = (world.faults.commits(), Instant::now());
        let from = [127, 0, 0, 1].into();
        let outcome = ca_server::session::login::login(&world.ca, request, from).await;
        let took = started.elapsed().as_secs_f64();
        assert!(outcome.is_err());
        (took, world.faults.commits() - commits)
    };
    let mut last = 0.0;
    for round in 0..10 {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..150 {
            // Interleaved in random order, so that a busy machine is busy for both.
            let known_first = OsRng.next_u32().is_multiple_of(2);
            for first in [true, false] {
                let (person, into) = if first == known_first {
                    (&known, &mut a)
                } else {
                    (&unknown, &mut b)
                };
                let (took, commits) = sample(person).await;
                assert_eq!(commits, 2, "attempt and refusal are counted for both");
                into.push(took);
            }
        }
        last = auc(&a, &b);
        println!("round {round}: AUC {last:.3}");
        if (0.45..=0.55).contains(&last) {
            return;
        }
    }
    panic!(
        "known and unknown emails can be told apart by time: AUC {last:.3}, and never within bounds"
    );
}
