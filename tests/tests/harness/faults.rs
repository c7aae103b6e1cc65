//! Faults look as they do on real networks and disks, and end again.

use std::fs;
use std::time::{Duration, Instant};

use e2e::Fleet;

use crate::{ssh, text};

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
    machine.await_banner(Duration::from_secs(60)).unwrap();
    assert!(!ssh(&admin, "ssh-admin", &machine, "true").status.success());
    machine.set_sshd_config("Nonsense yes\n").unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let answer = machine.await_banner(Duration::from_millis(500));
        if answer.is_err_and(|error| {
            error
                .to_string()
                .contains("Bad configuration option: Nonsense")
        }) {
            break;
        }
        assert!(Instant::now() < deadline, "{}", machine.sshd_log());
    }
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
        machine.await_banner(Duration::from_secs(60)).unwrap();
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
    appears("/var/lib/minute", Duration::from_secs(300));
    assert!(machine.read_file("/var/lib/boot").is_err());
    machine.power_cycle().unwrap();
    appears("/var/lib/boot", Duration::from_secs(120));
}
