//! The harness itself: machines are real, separate, and leave nothing behind.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Output;
use std::time::{Duration, Instant};

use e2e::{Fleet, Home, Machine, Sudo};

/// Says by name what is left out where machines cannot run; CI sets `REAL_MACHINES=required`, and then it fails instead.
fn fleet(test: &str) -> Option<Fleet> {
    match Fleet::available() {
        Ok(()) => Some(Fleet::new().expect("a fleet starts where it is available")),
        Err(why) if std::env::var_os("REAL_MACHINES").is_some_and(|value| value == "required") => {
            panic!("{test}: {why}")
        }
        Err(why) => {
            eprintln!("LEFT OUT {test}: {why}");
            None
        }
    }
}

fn ssh(home: &Home, login: &str, machine: &Machine, command: &str) -> Output {
    home.command("ssh")
        .args([
            "-o",
            "StrictHostKeyChecking=accept-new",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=5",
        ])
        .arg(format!("{login}@{}", machine.addr()))
        .arg(command)
        .output()
        .expect("ssh runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8").trim_end()
}

#[test]
fn a_machine_is_reached_by_ssh_with_the_admins_key_and_by_no_other() {
    let Some(fleet) = fleet("a_machine_is_reached_by_ssh_with_the_admins_key_and_by_no_other")
    else {
        return;
    };
    let admin = fleet.home("admin").unwrap();
    let stranger = fleet.home("stranger").unwrap();
    stranger.public_key().unwrap();
    let started = Instant::now();
    let web = fleet
        .machine("web-1")
        .admin_key(&admin.public_key().unwrap())
        .start()
        .unwrap();
    eprintln!("1 machine: {:?}", started.elapsed());

    let output = ssh(
        &admin,
        "ssh-admin",
        &web,
        "id -un; hostname; sudo -n id -un; exit 7",
    );
    assert_eq!(
        (text(&output.stdout), output.status.code()),
        ("ssh-admin\nweb-1\nroot", Some(7)),
        "{}\n{}",
        text(&output.stderr),
        fleet.logs()
    );
    let output = ssh(&stranger, "ssh-admin", &web, "true");
    assert_eq!(output.status.code(), Some(255));
    assert!(
        text(&output.stderr).contains("Permission denied (publickey,password)"),
        "{}",
        text(&output.stderr)
    );
    assert!(
        web.sshd_log().contains("Accepted publickey for ssh-admin"),
        "{}",
        fleet.logs()
    );
}

#[test]
fn sudo_and_password_and_root_only_are_as_described() {
    let Some(fleet) = fleet("sudo_and_password_and_root_only_are_as_described") else {
        return;
    };
    let admin = fleet.home("admin").unwrap();
    let key = admin.public_key().unwrap();
    let asks = fleet
        .machine("asks")
        .admin_key(&key)
        .sudo(Sudo::Password("correct horse".into()))
        .start()
        .unwrap();
    assert_ne!(
        ssh(&admin, "ssh-admin", &asks, "sudo -n true")
            .status
            .code(),
        Some(0)
    );
    let output = ssh(
        &admin,
        "ssh-admin",
        &asks,
        "echo correct horse | sudo -S -p '' id -un",
    );
    assert_eq!(text(&output.stdout), "root", "{}", text(&output.stderr));
    let root = fleet
        .machine("bare")
        .admin_key(&key)
        .root_only()
        .start()
        .unwrap();
    assert_eq!(text(&ssh(&admin, "root", &root, "id -un").stdout), "root");
    assert!(root.run(&["id", "ssh-admin"]).is_err());
}

#[test]
fn power_cycle_keeps_the_disk_and_not_run_and_tmp() {
    let Some(fleet) = fleet("power_cycle_keeps_the_disk_and_not_run_and_tmp") else {
        return;
    };
    let machine = fleet.machine("db-1").start().unwrap();
    let key = machine.host_key().unwrap();
    for path in ["/etc/kept", "/run/gone", "/tmp/gone"] {
        machine.write_file(path, b"x\n").unwrap();
    }
    machine.power_off().unwrap();
    assert!(machine.pid().is_none());
    machine.power_on().unwrap();
    assert_eq!(machine.read_file("/etc/kept").unwrap(), b"x\n");
    assert!(machine.read_file("/run/gone").is_err());
    assert!(machine.read_file("/tmp/gone").is_err());
    assert_eq!(machine.host_key().unwrap(), key);
    let _ = Duration::ZERO;
}
