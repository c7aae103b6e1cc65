//! The harness itself: machines are real and separate, faults look as they do on real networks, and nothing is left behind.

#![allow(
    clippy::unwrap_used,
    reason = "what the tests share stands outside of them"
)]

mod faults;
mod leftovers;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use e2e::{CA_ADDRESS, Fleet, Home, Machine, Sudo, Terminal};

/// One command by real ssh, without a question.
fn ssh(home: &Home, login: &str, machine: &Machine, command: &str) -> Output {
    home.command("ssh")
        .args([
            "-o",
            "StrictHostKeyChecking=accept-new",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=15",
        ])
        .arg(format!("{login}@{}", machine.addr()))
        .arg(command)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap().trim_end()
}

#[test]
fn a_machine_is_reached_with_the_admins_key_and_with_no_other() {
    let Some(fleet) = Fleet::for_test("a_machine_is_reached_with_the_admins_key_and_with_no_other")
    else {
        return;
    };
    let (admin, stranger) = (
        fleet.home("admin").unwrap(),
        fleet.home("stranger").unwrap(),
    );
    stranger.public_key().unwrap();
    let web = fleet
        .machine("web-1")
        .admin_key(&admin.public_key().unwrap())
        .start()
        .unwrap();

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
    let clock = ssh(&admin, "ssh-admin", &web, "sudo -n date -s @$(date +%s)");
    assert!(
        !clock.status.success(),
        "a session's root sets this host's clock"
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
fn sudo_and_logins_are_as_described() {
    let Some(fleet) = Fleet::for_test("sudo_and_logins_are_as_described") else {
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

    // The same password opens the front door, on a real terminal.
    let stranger = fleet.home("stranger").unwrap();
    let login = format!("ssh-admin@{}", asks.addr());
    let words = ["-o", "StrictHostKeyChecking=accept-new", &login, "id -un"];
    let mut terminal = stranger.terminal("ssh", &words).unwrap();
    terminal.converse("password: ", "correct horse").unwrap();
    let (status, screen) = terminal.finish().unwrap();
    assert!(
        status.success() && screen.ends_with("ssh-admin\r\n"),
        "{screen}"
    );
    assert!(
        !screen.contains("horse"),
        "a password is not echoed: {screen}"
    );

    let bare = fleet
        .machine("bare")
        .admin_key(&key)
        .root_only()
        .start()
        .unwrap();
    assert_eq!(text(&ssh(&admin, "root", &bare, "id -un").stdout), "root");
    assert!(bare.run(&["id", "ssh-admin"]).is_err());
    let powerless = fleet
        .machine("powerless")
        .admin_key(&key)
        .sudo(Sudo::Never)
        .start()
        .unwrap();
    assert_ne!(
        ssh(&admin, "ssh-admin", &powerless, "sudo -n true")
            .status
            .code(),
        Some(0)
    );
}

#[test]
fn machines_are_separate_from_each_other_and_from_this_host() {
    let Some(fleet) = Fleet::for_test("machines_are_separate_from_each_other_and_from_this_host")
    else {
        return;
    };
    let machines = fleet.machines(&["a", "b"], &[]).unwrap();
    let [a, b] = machines.as_slice() else {
        panic!("two machines")
    };
    assert_ne!(a.host_key().unwrap(), b.host_key().unwrap());
    assert_ne!(a.addr(), b.addr());
    assert_ne!(
        a.read_file("/etc/machine-id").unwrap(),
        b.read_file("/etc/machine-id").unwrap()
    );

    let accounts = fs::read("/etc/passwd").unwrap();
    a.run(&["useradd", "-m", "harness-only"]).unwrap();
    assert!(a.run(&["id", "harness-only"]).is_ok());
    assert!(b.run(&["id", "harness-only"]).is_err());
    assert_eq!(fs::read("/etc/passwd").unwrap(), accounts);
    assert!(!Path::new("/home/harness-only").exists());

    // What is this host's own stays its own.
    for hidden in [
        env!("CARGO_MANIFEST_DIR"),
        "/home/*/.ssh",
        "/root/.cargo",
        "/tmp/pool-*",
        "/run/systemd/system",
        "/etc/ssh/ca",
    ] {
        let seen = a
            .run(&["sh", "-c", "ls -d $1 2>/dev/null || :", "ls", hidden])
            .unwrap()
            .stdout;
        assert_eq!(seen, "", "{hidden} is seen on a machine");
    }
    let own = fs::read_to_string("/etc/ssh/ssh_host_ed25519_key.pub").unwrap_or_default();
    assert_ne!(own.trim_end(), a.host_key().unwrap());
    // To the time that it is: harmless if it succeeded.
    let clock = a.exec(&["sh", "-c", "date -s \"@$(date +%s)\""]).unwrap();
    assert!(!clock.status.success(), "a machine sets this host's clock");
    assert!(
        a.run(&["sh", "-c", "echo 1 >/proc/sys/kernel/panic"])
            .is_err()
    );
    let links = a.run(&["ls", "/sys/class/net"]).unwrap().stdout;
    assert_eq!(links, "eth0\nlo\n");
}

#[test]
fn a_home_is_where_ssh_finds_its_configuration() {
    let Some(fleet) = Fleet::for_test("a_home_is_where_ssh_finds_its_configuration") else {
        return;
    };
    let (alice, bob) = (fleet.home("alice").unwrap(), fleet.home("bob").unwrap());
    let web = fleet
        .machine("web-1")
        .admin_key(&alice.public_key().unwrap())
        .start()
        .unwrap();
    let known = format!("{} {}\n", web.addr(), web.host_key().unwrap());
    for home in [&alice, &bob] {
        home.write_ssh(
            "config",
            &format!(
                "Host web-1\n HostName {}\n User ssh-admin\n BatchMode yes\n",
                web.addr()
            ),
        )
        .unwrap();
        home.write_ssh("known_hosts", &known).unwrap();
    }
    let output = alice
        .command("ssh")
        .args(["web-1", "cat; exit 3"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(3),
        "{}\n{}",
        text(&output.stderr),
        web.sshd_log()
    );
    assert_eq!(
        bob.command("ssh")
            .args(["web-1", "true"])
            .output()
            .unwrap()
            .status
            .code(),
        Some(255)
    );

    // A real agent holds the key then, and no file does.
    alice.agent().unwrap();
    assert!(
        alice
            .command("ssh-add")
            .arg("/root/.ssh/id_ed25519")
            .output()
            .unwrap()
            .status
            .success()
    );
    fs::remove_file(alice.ssh_path("id_ed25519")).unwrap();
    assert!(
        alice
            .command("ssh")
            .args(["web-1", "true"])
            .output()
            .unwrap()
            .status
            .success(),
        "{}",
        web.sshd_log()
    );

    // scp, sftp and rsync pass through the same way.
    fs::write(alice.path().join("sent"), b"data\n").unwrap();
    for argv in [
        ["scp", "-q", "sent", "web-1:by-scp"],
        ["rsync", "-q", "sent", "web-1:by-rsync"],
    ] {
        let output = alice.command(argv[0]).args(&argv[1..]).output().unwrap();
        assert!(
            output.status.success(),
            "{argv:?}: {}",
            text(&output.stderr)
        );
    }
    assert_eq!(web.read_file("/home/ssh-admin/by-scp").unwrap(), b"data\n");
    assert_eq!(
        web.read_file("/home/ssh-admin/by-rsync").unwrap(),
        b"data\n"
    );
}

#[test]
fn commands_have_no_terminal_unless_they_are_given_one() {
    let Some(fleet) = Fleet::for_test("commands_have_no_terminal_unless_they_are_given_one") else {
        return;
    };
    let home = fleet.home("alice").unwrap();
    let asks = [
        "-c",
        "printf 'Name: ' >/dev/tty && read -r name </dev/tty && echo \"Hello $name.\" && exit 4",
    ];
    let without = home
        .command("sh")
        .args(asks)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        text(&without.stderr).contains("/dev/tty"),
        "{}",
        text(&without.stderr)
    );

    let mut terminal = home.terminal("sh", &asks).unwrap();
    terminal.converse("Name: ", "Alice").unwrap();
    terminal.expect("Hello Alice.").unwrap();
    let (status, screen) = terminal.finish().unwrap();
    assert_eq!(status.code(), Some(4), "{screen}");
    let mut command = home.command_tty("sh");
    command.args([
        "-c",
        // Not in one `read`: a signal right before it would be heeded only after a line.
        "trap 'echo stopped; exit 5' INT; echo ready; i=0; while [ $i -lt 3000 ]; do sleep 0.1; i=$((i + 1)); done",
    ]);
    let mut impatient = Terminal::open(command).unwrap();
    impatient.expect("ready").unwrap();
    impatient.interrupt().unwrap();
    let (status, screen) = impatient.finish().unwrap();
    assert!(
        status.code() == Some(5) && screen.contains("stopped"),
        "{screen}"
    );
    let mut silent = home.terminal("true", &[]).unwrap();
    assert!(
        silent
            .expect("words")
            .unwrap_err()
            .to_string()
            .contains("before the program ended")
    );
}

#[test]
fn the_operators_side_and_machines_reach_each_other_and_nothing_else() {
    let Some(fleet) =
        Fleet::for_test("the_operators_side_and_machines_reach_each_other_and_nothing_else")
    else {
        return;
    };
    let machine = fleet.machine("web-1").start().unwrap();
    let listener = fleet.enter(|| TcpListener::bind((CA_ADDRESS, 8443)).unwrap());
    let served =
        std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"hello\n").unwrap());
    let heard = machine
        .run(&["bash", "-c", "cat </dev/tcp/ca.corp.example/8443"])
        .unwrap();
    served.join().unwrap();
    assert_eq!(heard.stdout, "hello\n");

    let mut start = [0; 8];
    fleet.enter(|| {
        TcpStream::connect((machine.addr(), 22))
            .unwrap()
            .read_exact(&mut start)
            .unwrap()
    });
    assert_eq!(&start, b"SSH-2.0-");
    let outwards = machine
        .exec(&["bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/80"])
        .unwrap();
    assert!(
        text(&outwards.stderr).contains("Network is unreachable"),
        "{}",
        text(&outwards.stderr)
    );
    let routes = fleet.command("ip").args(["route"]).output().unwrap();
    assert_eq!(
        text(&routes.stdout),
        "10.77.0.0/16 dev br0 proto kernel scope link src 10.77.0.1"
    );
}

#[test]
fn two_fleets_at_once_do_not_meet() {
    let Some(one) = Fleet::for_test("two_fleets_at_once_do_not_meet") else {
        return;
    };
    let two = Fleet::new().unwrap();
    let (a, b) = (
        one.machine("web-1").start().unwrap(),
        two.machine("web-1").start().unwrap(),
    );
    assert_eq!(a.addr(), b.addr());
    b.power_off().unwrap();
    a.await_banner(Duration::from_secs(60)).unwrap();
}
