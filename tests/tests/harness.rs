//! The harness itself: machines are real and separate, faults look as they do on real networks, and nothing is left behind.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use e2e::{CA_ADDRESS, Fleet, Home, Machine, Sudo, Terminal};

fn ssh(home: &Home, login: &str, machine: &Machine, command: &str) -> Output {
    home.command("ssh")
        .args([
            "-o",
            "StrictHostKeyChecking=accept-new",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=8",
        ])
        .arg(format!("{login}@{}", machine.addr()))
        .arg(command)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap().trim_end()
}

/// Process id and start time: together they name one process for ever.
type Process = (u32, String);

fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)
        .map(str::to_owned)
}

/// The processes in the network namespaces of these ones.
fn neighbours(pids: &[u32]) -> BTreeSet<Process> {
    let network = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let networks: BTreeSet<_> = pids.iter().filter_map(|pid| network(*pid)).collect();
    let everybody = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    everybody
        .filter(|pid| network(*pid).is_some_and(|network| networks.contains(&network)))
        .filter_map(|pid| Some((pid, start_time(pid)?)))
        .collect()
}

fn still_there(processes: &BTreeSet<Process>) -> Vec<u32> {
    processes
        .iter()
        .filter(|(pid, start)| start_time(*pid).as_ref() == Some(start))
        .map(|(pid, _)| *pid)
        .collect()
}

fn assert_nothing_is_left(folder: &Path, processes: &BTreeSet<Process>) {
    assert_eq!(
        still_there(processes),
        Vec::<u32>::new(),
        "processes are left"
    );
    assert!(!folder.exists(), "{} is left", folder.display());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(
        !mounts.contains(folder.to_str().unwrap()),
        "mounts are left"
    );
    let links = Command::new("ip")
        .args(["-o", "link"])
        .output()
        .unwrap()
        .stdout;
    assert!(
        !text(&links).contains("br0") && !text(&links).contains("veth"),
        "{}",
        text(&links)
    );
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
        "/work",
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
    let clock = a.exec(&["date", "-s", "2001-01-01"]).unwrap();
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
        "trap 'echo stopped; exit 5' INT; echo ready; read -r _",
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
    a.await_banner(Duration::from_secs(5)).unwrap();
}

#[test]
fn a_power_cycle_keeps_the_disk_and_not_run_and_tmp() {
    let Some(fleet) = Fleet::for_test("a_power_cycle_keeps_the_disk_and_not_run_and_tmp") else {
        return;
    };
    let admin = fleet.home("admin").unwrap();
    let machine = fleet
        .machine("db-1")
        .admin_key(&admin.public_key().unwrap())
        .start()
        .unwrap();
    let key = machine.host_key().unwrap();
    for path in ["/etc/kept", "/run/gone", "/tmp/gone"] {
        machine.write_file(path, b"x\n").unwrap();
    }
    machine.power_off().unwrap();
    assert!(machine.pid().is_none());
    let refused = ssh(&admin, "ssh-admin", &machine, "true");
    assert!(
        text(&refused.stderr).contains("No route to host"),
        "{}",
        text(&refused.stderr)
    );
    machine.power_on().unwrap();
    assert_eq!(machine.read_file("/etc/kept").unwrap(), b"x\n");
    assert!(machine.read_file("/run/gone").is_err());
    assert!(machine.read_file("/tmp/gone").is_err());
    assert_eq!(machine.host_key().unwrap(), key);
    assert!(
        ssh(&admin, "ssh-admin", &machine, "sudo -n true")
            .status
            .success(),
        "{}",
        machine.sshd_log()
    );
}

#[test]
fn network_faults_look_as_on_a_real_network() {
    let Some(fleet) = Fleet::for_test("network_faults_look_as_on_a_real_network") else {
        return;
    };
    let admin = fleet.home("admin").unwrap();
    let machine = fleet
        .machine("web-1")
        .admin_key(&admin.public_key().unwrap())
        .start()
        .unwrap();
    let says = |words: &str| {
        let output = ssh(&admin, "ssh-admin", &machine, "true");
        assert!(
            text(&output.stderr).contains(words),
            "{words}: {}",
            text(&output.stderr)
        );
    };
    let works = || {
        assert!(
            ssh(&admin, "ssh-admin", &machine, "true").status.success(),
            "{}",
            machine.sshd_log()
        )
    };
    works();
    machine.cut().unwrap();
    says("No route to host");
    machine.mend().unwrap();
    works();
    machine.drop_packets().unwrap();
    says("Connection timed out");
    machine.mend().unwrap();
    works();
    machine.freeze().unwrap();
    says("timed out during banner exchange");
    machine.thaw().unwrap();
    works();
    machine
        .run(&["sh", "-c", "kill \"$(cat /run/sshd.pid)\""])
        .unwrap();
    says("Connection refused");
    machine.power_cycle().unwrap();
    works();
}

#[test]
fn disks_fill_up_and_turn_read_only() {
    let Some(fleet) = Fleet::for_test("disks_fill_up_and_turn_read_only") else {
        return;
    };
    let admin = fleet.home("admin").unwrap();
    let machine = fleet
        .machine("db-1")
        .admin_key(&admin.public_key().unwrap())
        .disk_mib(16)
        .start()
        .unwrap();
    machine.fill_disk().unwrap();
    let full = machine
        .write_file("/etc/more", &[b'x'; 5000])
        .unwrap_err()
        .to_string();
    assert!(full.contains("No space left on device"), "{full}");
    assert!(
        ssh(&admin, "ssh-admin", &machine, "true").status.success(),
        "{}",
        machine.sshd_log()
    );
    machine.free_disk().unwrap();
    machine.write_file("/etc/more", &[b'x'; 5000]).unwrap();
    machine.fill_disk_leaving_kib(8).unwrap();
    machine.write_file("/etc/little", &[b'x'; 4096]).unwrap();
    assert!(machine.write_file("/etc/much", &[b'x'; 40960]).is_err());
    machine.free_disk().unwrap();

    machine.read_only().unwrap();
    let refused = machine
        .write_file("/etc/refused", b"x")
        .unwrap_err()
        .to_string();
    assert!(refused.contains("Read-only file system"), "{refused}");
    assert!(
        ssh(&admin, "ssh-admin", &machine, "true").status.success(),
        "{}",
        machine.sshd_log()
    );
    machine.writable().unwrap();
    machine.write_file("/etc/accepted", b"x").unwrap();
}

#[test]
fn a_reload_takes_the_new_configuration_and_a_bad_one_ends_the_listener() {
    let Some(fleet) =
        Fleet::for_test("a_reload_takes_the_new_configuration_and_a_bad_one_ends_the_listener")
    else {
        return;
    };
    let admin = fleet.home("admin").unwrap();
    let key = admin.public_key().unwrap();
    let machine = fleet
        .machine("web-1")
        .admin_key(&key)
        .sshd_config("PasswordAuthentication no\n")
        .start()
        .unwrap();
    assert!(
        machine
            .run(&["sshd", "-T"])
            .unwrap()
            .stdout
            .contains("passwordauthentication no\n")
    );
    machine
        .set_sshd_config("UsePAM yes\nDenyUsers ssh-admin\n")
        .unwrap();
    machine.await_banner(Duration::from_secs(5)).unwrap();
    assert!(!ssh(&admin, "ssh-admin", &machine, "true").status.success());
    machine.set_sshd_config("Nonsense yes\n").unwrap();
    let error = machine
        .await_banner(Duration::from_secs(2))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("Bad configuration option: Nonsense"),
        "{error}"
    );
    let error = fleet
        .machine("web-2")
        .sshd_config("Nonsense yes\n")
        .start()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("Bad configuration option: Nonsense"),
        "{error}"
    );
}

#[test]
fn a_shifted_clock_is_what_sshd_judges_certificates_by() {
    let Some(fleet) = Fleet::for_test("a_shifted_clock_is_what_sshd_judges_certificates_by") else {
        return;
    };
    let admin = fleet.home("admin").unwrap();
    let key = admin.public_key().unwrap();
    for argv in [
        vec!["-q", "-t", "ed25519", "-N", "", "-f", ".ssh/ca"],
        vec![
            "-q",
            "-s",
            ".ssh/ca",
            "-I",
            "harness",
            "-n",
            "ssh-admin",
            "-V",
            "-1m:+1h",
            ".ssh/id_ed25519.pub",
        ],
    ] {
        assert!(
            admin
                .command("ssh-keygen")
                .args(argv)
                .output()
                .unwrap()
                .status
                .success()
        );
    }
    let ca = fs::read_to_string(admin.ssh_path("ca.pub")).unwrap();
    let specs = [("right", 0), ("ahead", 7200), ("behind", -7200)]
        .map(|(name, seconds)| fleet.machine(name).clock_offset_secs(seconds));
    let machines = Fleet::start_all(specs.into()).unwrap();
    let outcomes = machines.iter().map(|machine| {
        machine
            .write_file("/etc/ssh/harness_ca.pub", ca.as_bytes())
            .unwrap();
        machine
            .write_file(
                "/etc/ssh/sshd_config.d/ca.conf",
                b"TrustedUserCAKeys /etc/ssh/harness_ca.pub\n",
            )
            .unwrap();
        machine.reload_sshd().unwrap();
        machine.await_banner(Duration::from_secs(10)).unwrap();
        (
            ssh(&admin, "ssh-admin", machine, "true").status.success(),
            machine.sshd_log(),
        )
    });
    let outcomes: Vec<_> = outcomes.collect();
    assert!(outcomes[0].0, "{}", outcomes[0].1);
    assert!(
        !outcomes[1].0 && outcomes[1].1.contains("Certificate invalid: expired"),
        "{}",
        outcomes[1].1
    );
    assert!(
        !outcomes[2].0 && outcomes[2].1.contains("Certificate invalid: not yet valid"),
        "{}",
        outcomes[2].1
    );
    assert!(key.starts_with("ssh-ed25519 "));
}

#[test]
fn cron_runs_a_job_and_the_reboot_jobs_after_a_power_cycle() {
    let Some(fleet) = Fleet::for_test("cron_runs_a_job_and_the_reboot_jobs_after_a_power_cycle")
    else {
        return;
    };
    let machine = fleet.machine("web-1").start().unwrap();
    let jobs = b"* * * * * root touch /var/lib/minute\n@reboot root touch /var/lib/boot\n";
    machine.write_file("/etc/cron.d/harness", jobs).unwrap();
    let appears = |path: &str, limit: Duration| {
        let deadline = Instant::now() + limit;
        while machine.read_file(path).is_err() {
            assert!(
                Instant::now() < deadline,
                "cron did not run the job that makes {path}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    appears("/var/lib/minute", Duration::from_secs(130));
    assert!(machine.read_file("/var/lib/boot").is_err());
    machine.power_cycle().unwrap();
    appears("/var/lib/boot", Duration::from_secs(10));
}

#[test]
fn twenty_machines_start_together_and_leave_nothing() {
    let Some(fleet) = Fleet::for_test("twenty_machines_start_together_and_leave_nothing") else {
        return;
    };
    let admin = fleet.home("admin").unwrap();
    let agent = admin.agent().unwrap();
    let count = std::env::var("HARNESS_MACHINES")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(20);
    let names: Vec<String> = (1..=count).map(|number| format!("web-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let started = Instant::now();
    let machines = fleet
        .machines(&names, &[&admin.public_key().unwrap()])
        .unwrap();
    eprintln!("{count} machines answer after {:?}", started.elapsed());
    for (machine, name) in machines.iter().zip(&names).step_by(7) {
        assert_eq!(
            text(&ssh(&admin, "ssh-admin", machine, "hostname").stdout),
            *name,
            "{}",
            machine.sshd_log()
        );
    }
    let mut pids: Vec<u32> = machines
        .iter()
        .map(|machine| machine.pid().unwrap())
        .collect();
    pids.push(agent.pid());
    let processes = neighbours(&pids);
    assert!(
        processes.len() > 3 * machines.len(),
        "init, sshd and cron at least: {}",
        processes.len()
    );
    let folder = fleet.folder().to_owned();
    assert!(folder.exists());
    let ending = Instant::now();
    drop((machines, agent, admin, fleet));
    eprintln!("and are gone after {:?}", ending.elapsed());
    assert_nothing_is_left(&folder, &processes);
}

#[test]
fn a_killed_test_process_leaves_nothing() {
    // Only the check: the fleet is the other process's.
    if Fleet::for_test("a_killed_test_process_leaves_nothing").is_none() {
        return;
    }
    for signal in ["KILL", "TERM", "end of standard input"] {
        let dir = tempfile::tempdir().unwrap();
        let mut pool = Command::new(env!("CARGO_BIN_EXE_pool-machines"))
            .arg("--dir")
            .arg(dir.path())
            .args(["--admin", "admin", "web-1", "db-1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(pool.stdout.take().unwrap()));
        let mut said: Vec<serde_json::Value> = Vec::new();
        for line in lines {
            said.push(serde_json::from_str(&line.unwrap()).unwrap());
            if said.last().unwrap()["kind"] == "ready" {
                break;
            }
        }
        let machines: Vec<_> = said
            .iter()
            .filter(|line| line["kind"] == "machine")
            .collect();
        assert_eq!(machines.len(), 2, "{said:?}");
        let login = format!("ssh-admin@{}", machines[0]["address"].as_str().unwrap());
        let at_admin = Command::new(dir.path().join("at-admin"))
            .args([
                "ssh",
                "-o",
                "StrictHostKeyChecking=accept-new",
                "-o",
                "VisualHostKey=no",
                &login,
                "hostname",
            ])
            .output()
            .unwrap();
        assert_eq!(
            text(&at_admin.stdout),
            "web-1",
            "{}",
            text(&at_admin.stderr)
        );
        // Something that the operator's side left running ends, too.
        let mut stray = Command::new(dir.path().join("operator"))
            .args(["sleep", "600"])
            .spawn()
            .unwrap();

        let here = fs::read_link("/proc/self/ns/net").unwrap();
        while fs::read_link(format!("/proc/{}/ns/net", stray.id())).unwrap() == here {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut pids: Vec<u32> = machines
            .iter()
            .map(|machine| machine["pid"].as_u64().unwrap() as u32)
            .collect();
        pids.push(stray.id());
        let processes = neighbours(&pids);
        let home = said.iter().find(|line| line["kind"] == "home").unwrap()["path"]
            .as_str()
            .unwrap();
        let folder = Path::new(home).ancestors().nth(2).unwrap().to_owned();
        assert!(folder.exists());

        if signal.starts_with("end") {
            drop(pool.stdin.take());
        } else {
            assert!(
                Command::new("kill")
                    .args([&format!("-{signal}"), &pool.id().to_string()])
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let status = pool.wait().unwrap();
        assert_eq!(status.success(), signal != "KILL", "{signal}: {status}");
        stray.wait().unwrap();
        // After a SIGKILL the keeper clears up on its own.
        let deadline = Instant::now() + Duration::from_secs(20);
        while (folder.exists() || !still_there(&processes).is_empty()) && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_nothing_is_left(&folder, &processes);
    }
}
