//! C2: the pinned certificate decides, and there is no way around it.

use ca_client::{api::Client, config::Config, places::Places};

use crate::{ca::Ca, home::Home, tls::tls};

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
