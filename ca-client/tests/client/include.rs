//! The one line in the person's own ssh_config.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{ca::Ca, home::Home};

const OWN: &str = "# my settings\nHost *.example\r\n\tUser bob\n\nMatch host x\n    Port 2200";

#[test]
fn included_once_at_the_top_nothing_else_touched_and_undone() {
    let (ca, home) = (Ca::start(), Home::new());
    let config = home.path(".ssh/config");
    fs::create_dir(home.path(".ssh")).unwrap();
    fs::write(&config, OWN).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    home.ready(&ca);
    let line = format!("Include {}\n", home.path(".ssh/ca/config").display());
    assert_eq!(home.read(".ssh/config"), format!("{line}{OWN}"));
    assert_eq!(
        fs::metadata(&config).unwrap().permissions().mode() & 0o777,
        0o644
    );
    assert_eq!(home.log_in().code, 0);
    assert_eq!(home.read(".ssh/config"), format!("{line}{OWN}"), "once");
    // What stands below keeps its meaning: the fragment's last block does not leak out of the Include.
    assert!(home.ssh_g(&["a.example"]).contains("user bob\n"));
    assert!(home.ssh_g(&["x"]).contains("port 2200\n"));
    assert!(!home.ssh_g(&["a.example"]).contains(".ssh/ca/"));
    assert_eq!(home.run(&["logout"]).code, 0);
    assert_eq!(home.read(".ssh/config"), format!("{line}{OWN}"));
    assert!(
        home.ssh_g(&["web-1"]).contains("hostname web-1\n"),
        "a fragment that is gone is no error"
    );
    assert_eq!(home.run(&["logout", "--forget"]).code, 0);
    assert_eq!(home.read(".ssh/config"), OWN);
    assert!(!home.path(".config/ssh-ca/ca.pem").exists());
}

#[test]
fn absent_file_is_made_0600_symbolic_link_stays_and_a_useless_include_is_not_enough() {
    let (ca, home) = (Ca::start(), Home::new());
    home.ready(&ca);
    let config = home.path(".ssh/config");
    assert_eq!(
        fs::metadata(&config).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        fs::metadata(home.path(".ssh"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o700
    );
    let line = home.read(".ssh/config");
    let dotfiles = home.path("dotfiles");
    fs::create_dir(&dotfiles).unwrap();
    fs::remove_file(&config).unwrap();
    // Below a Host, the Include has an effect for that host only.
    fs::write(dotfiles.join("ssh"), format!("Host other\n{line}")).unwrap();
    std::os::unix::fs::symlink("../dotfiles/ssh", &config).unwrap();
    assert_eq!(home.log_in().code, 0);
    assert!(config.is_symlink());
    assert_eq!(
        fs::read_to_string(dotfiles.join("ssh")).unwrap(),
        format!("{line}Host other\n{line}")
    );
    let doctor = home.run(&["doctor"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
    assert!(
        doctor.out.contains("`ssh web-1` uses the certificate"),
        "{doctor:?}"
    );
    fs::write(dotfiles.join("ssh"), "Host other\n").unwrap();
    let doctor = home.run(&["doctor"]);
    assert_eq!(doctor.code, 1);
    assert!(doctor.out.contains("lacks its first line"), "{doctor:?}");
}
