//! The same file to the same machines by other means, which say that a command ended and prove nothing.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use crate::Scene;

const AT_ONCE: usize = 16;

/// Plain `ssh` cold and over kept connections, and Ansible.
pub fn run(scene: &Scene) -> Result<()> {
    let krl = scene.fleet.folder().join("the.krl");
    scene
        .company
        .ca_ok(&["krl", "export", &krl.to_string_lossy()])?;
    let bytes = fs::read(&krl)?;
    let masters = scene.fleet.folder().join("masters");
    fs::create_dir(&masters)?;
    push(
        scene,
        &bytes,
        None,
        "ssh, 16 at once, curve25519, a login each",
    )?;
    push(
        scene,
        &bytes,
        Some(&masters),
        "ssh, 16 at once, the first time with ControlMaster",
    )?;
    push(
        scene,
        &bytes,
        Some(&masters),
        "ssh, 16 at once, over ControlMaster",
    )?;
    for machine in scene.well() {
        let mut stop = ssh(scene, Some(&masters));
        stop.args(["-O", "exit", &machine.addr().to_string()]);
        stop.stderr(Stdio::null()).status()?;
    }
    ansible(scene, &krl)
}

fn ssh(scene: &Scene, masters: Option<&Path>) -> Command {
    let mut command = scene.admin.command("ssh");
    command.args([
        "-F",
        "none",
        "-T",
        "-l",
        "ssh-admin",
        "-i",
        "/root/.ssh/id_ed25519",
    ]);
    for option in [
        "BatchMode=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
        "KexAlgorithms=curve25519-sha256",
    ] {
        command.args(["-o", option]);
    }
    if let Some(folder) = masters {
        command.args(["-o", "ControlMaster=auto", "-o", "ControlPersist=600", "-o"]);
        command.arg(format!("ControlPath={}/%h", folder.display()));
    }
    command
}

fn push(scene: &Scene, bytes: &[u8], masters: Option<&Path>, what: &str) -> Result<()> {
    let next = Mutex::new(scene.well().iter());
    let began = Instant::now();
    let failed = std::thread::scope(|scope| {
        let pushers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| -> Result<usize> {
                    let mut failed = 0;
                    loop {
                        let taken = next.lock().expect("nobody panics with it").next();
                        let Some(machine) = taken else {
                            return Ok(failed);
                        };
                        let mut child = ssh(scene, masters)
                            .arg(machine.addr().to_string())
                            .arg("cat > /tmp/the.krl && sudo -n install -m 644 /tmp/the.krl /etc/ssh/pushed.krl")
                            .stdin(Stdio::piped())
                            .stdout(Stdio::null())
                            .stderr(Stdio::null())
                            .spawn()?;
                        let mut input = child.stdin.take().context("piped above")?;
                        drop(input.write_all(bytes));
                        drop(input);
                        failed += usize::from(!child.wait()?.success());
                    }
                })
            })
            .collect();
        pushers
            .into_iter()
            .map(|pusher| pusher.join().expect("pushing does not panic"))
            .sum::<Result<usize>>()
    })?;
    let took = began.elapsed();
    ensure!(failed == 0, "{what}: {failed} machines failed");
    println!("  {what}: {} ms", took.as_millis());
    Ok(())
}

fn ansible(scene: &Scene, krl: &Path) -> Result<()> {
    if Command::new("ansible").arg("--version").output().is_err() {
        println!("  Ansible: left out (apt-get install ansible-core)");
        return Ok(());
    }
    let hosts: String = scene
        .well()
        .iter()
        .map(|one| format!("{}\n", one.addr()))
        .collect();
    let inventory = scene.fleet.folder().join("inventory");
    fs::write(&inventory, hosts)?;
    let mut took = 0;
    for (module, arguments) in [
        (
            "copy",
            format!("src={} dest=/etc/ssh/pushed.krl mode=0644", krl.display()),
        ),
        ("command", "test -s /etc/ssh/pushed.krl".to_owned()),
    ] {
        let began = Instant::now();
        let output = scene
            .admin
            .command("ansible")
            .env("ANSIBLE_HOST_KEY_CHECKING", "False")
            .env("ANSIBLE_NOCOLOR", "1")
            .args(["all", "-i"])
            .arg(&inventory)
            .args([
                "-u",
                "ssh-admin",
                "--private-key",
                "/root/.ssh/id_ed25519",
                "-b",
                "-f",
                "50",
                "-m",
                module,
                "-a",
                &arguments,
            ])
            .stdin(Stdio::null())
            .output()?;
        took += began.elapsed().as_millis();
        ensure!(output.status.success(), "Ansible: {}", e2e::said(&output));
    }
    println!("  Ansible, copy and command, 50 forks: {took} ms");
    Ok(())
}
