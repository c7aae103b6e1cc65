//! C2: the pinned certificate decides, and there is no way around it.

use ca_client::{api::Client, config::Config, places::Places};

use crate::{
    ca::Ca,
    home::Home,
    tls::{Authority, of_ca, tls},
};

fn refused(home: &Home, url: &str, fingerprint: &str, word: &str) {
    let outcome = home.run(&["setup", url, "--fingerprint", fingerprint]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.err.contains(word), "{word}: {outcome:?}");
    assert!(!home.path(".config").exists(), "nothing is stored");
}

#[test]
fn c2_setup_takes_the_pinned_fingerprint_and_no_other() {
    let (ca, other, home) = (Ca::start(), Ca::start(), Home::new());
    refused(
        &home,
        &ca.url(),
        &other.fingerprint,
        "not the one that was pinned",
    );
    refused(&home, &ca.url(), "SHA256:abc", "fingerprint");
    refused(
        &home,
        &ca.url().replace("https", "http"),
        &ca.fingerprint,
        "https://",
    );
    assert_eq!(
        ca.count("/v1/ca"),
        0,
        "no request is sent to a server that is not believed"
    );
    assert_eq!(
        home.run(&["setup", &ca.url()]).code,
        2,
        "there is no setup without a fingerprint"
    );
    home.set_up(&ca);
    assert_eq!(
        home.run(&["setup", &ca.url(), "--fingerprint", &ca.leaf_fingerprint])
            .code,
        0,
        "the leaf itself"
    );
    assert_eq!(home.log_in().code, 0);
}

#[test]
fn c2_wrong_name_and_expired_are_refused_with_ca_and_leaf_pinned() {
    let wrong_name = Ca::with_tls(tls(&["ca.corp.example"], |_| {}));
    let expired = Ca::with_tls(tls(&["127.0.0.1"], |leaf| {
        leaf.not_after = rcgen::date_time_ymd(2020, 1, 1)
    }));
    let future = Ca::with_tls(tls(&["127.0.0.1"], |leaf| {
        leaf.not_before = rcgen::date_time_ymd(2090, 1, 1)
    }));
    let home = Home::new();
    for (ca, word) in [
        (&wrong_name, "not for that name"),
        (&expired, "expired"),
        (&future, "not valid yet"),
    ] {
        for fingerprint in [&ca.fingerprint, &ca.leaf_fingerprint] {
            refused(&home, &ca.url(), fingerprint, word);
        }
    }
}

#[test]
fn c2_another_server_in_its_place_gets_no_password() {
    let (ca, impostor, home) = (Ca::start(), Ca::start(), Home::new());
    home.ready(&ca);
    // The impostor sits where the CA was: same name, another key.
    let config = home.path(".config/ssh-ca/config.toml");
    let text = std::fs::read_to_string(&config)
        .unwrap()
        .replace(&ca.url(), &impostor.url());
    std::fs::write(&config, text).unwrap();
    for outcome in [home.log_in(), home.run(&["renew"])] {
        assert_eq!(outcome.code, 1);
        assert!(
            outcome.err.contains("not the one that was pinned")
                && outcome.err.contains("Nothing was sent"),
            "{outcome:?}"
        );
    }
    assert!(impostor.behaviour.lock().unwrap().seen.is_empty());
    let doctor = home.run(&["doctor"]);
    assert_eq!(doctor.code, 1);
    assert!(
        doctor.out.contains("not the one that was pinned"),
        "{doctor:?}"
    );
}

fn pinned(home: &Home) -> String {
    let places = Places::in_home(home.folder.path(), None).unwrap();
    Config::load(&places)
        .unwrap()
        .pinned
        .fingerprint()
        .to_string()
}

#[test]
fn c2_a_client_learns_the_next_tls_ca_over_the_one_that_it_pinned() {
    let old = of_ca(Authority::new("old"), Vec::new());
    let new = Authority::new("new");
    let more = vec![new.signed_by(&old.ca), old.ca.certificate()];
    let both = of_ca(new, more);
    let (old_print, new_print) = (old.fingerprint.clone(), both.fingerprint.clone());
    let ca = Ca::with_tls(old);
    let (comes, stays_away, anew, with_old) = (Home::new(), Home::new(), Home::new(), Home::new());
    // The test's CA knows one session, the last.
    stays_away.ready(&ca);
    comes.ready(&ca);

    // The new CA takes the old one's place: everybody still connects, whichever of the two their invitation named.
    ca.show(&both);
    ca.change(|it| it.tls_ca = Some(both.ca.pem.clone()));
    assert_eq!(pinned(&comes), old_print);
    let renewed = comes.run(&["renew"]);
    assert_eq!(
        (renewed.code, pinned(&comes)),
        (0, new_print.clone()),
        "{renewed:?}"
    );
    assert_eq!(comes.run(&["renew"]).code, 0, "with what it learned");
    for (home, print) in [(&anew, &new_print), (&with_old, &old_print)] {
        assert_eq!(
            home.run(&["setup", &ca.url(), "--fingerprint", print]).code,
            0
        );
        assert_eq!(home.log_in().code, 0);
        assert_eq!(pinned(home), new_print);
    }

    // The old one is retired: who never came back in between has to be set up again, and is told of no other server's.
    let alone = of_ca(both.ca, Vec::new());
    ca.show(&alone);
    ca.change(|it| it.tls_ca = None);
    assert_eq!(comes.log_in().code, 0);
    assert_eq!(anew.log_in().code, 0);
    let outcome = stays_away.log_in();
    assert!(
        outcome.code == 1 && outcome.err.contains("not the one that was pinned"),
        "{outcome:?}"
    );
    let again = ["setup", &ca.url(), "--fingerprint", &new_print];
    assert_eq!(stays_away.run(&again).code, 0);
    assert_eq!(stays_away.log_in().code, 0);
}

#[test]
fn c2_no_tls_ca_is_learned_that_does_not_vouch_for_this_very_server() {
    let ca = Ca::start();
    let home = Home::new();
    home.ready(&ca);
    let before = pinned(&home);
    let foreign = Authority::new("a CA");
    for announced in [
        foreign.pem.clone(),
        "no certificate".to_owned(),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
        String::new(),
    ] {
        ca.change(|it| it.tls_ca = Some(announced));
        for outcome in [home.run(&["renew"]), home.log_in()] {
            assert_eq!(outcome.code, 0, "{outcome:?}");
            assert_eq!(pinned(&home), before);
        }
    }
}

#[test]
fn c2_the_stored_configuration_makes_a_client_for_bootstrap() {
    let (ca, home) = (Ca::start(), Home::new());
    home.set_up(&ca);
    let places = Places::in_home(home.folder.path(), None).unwrap();
    let config = Config::load(&places).unwrap();
    let client: Client = config.client();
    let info = tokio::runtime::Runtime::new().unwrap().block_on(async {
        client.server_info().await.unwrap();
        client.server_info().await.unwrap()
    });
    assert_eq!(info.ca_id, config.settings.ca_id);
}
