//! What the tests of the applier share: a small CA of their own, a machine, and the ways to it.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use ca_machine::{
    AccountSpec, Bundle, Connection, Delivery, FirstContact, HostKey, KrlParcel, Limits, Login,
    MachineSpec, Mode, Nonce, Report, Request, Signed, SudoRule, Target, Trust,
    applier::{Script, loaded},
    bundle::{AccountState, Gecos, Origin},
    report::{Event, State},
    spec::{OpenSshVersion, PROBE_PRINCIPAL},
};
use e2e::{Fleet, Home, Machine};
use rand_core::OsRng;
use ssh_key::{
    Algorithm, Certificate, LineEnding, PrivateKey, certificate::Builder, certificate::CertType,
};

/// How long an apply waits for its confirmation where nobody confirms it: enough to look at it before.
pub const SOON: Duration = Duration::from_secs(40);

pub fn key() -> PrivateKey {
    PrivateKey::random(&mut OsRng, Algorithm::Ed25519).expect("the system's random numbers work")
}

pub fn now_unix() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock stands after 1970")
        .as_secs()
}

/// A CA as small as the applier can bear.
pub struct Ca {
    pub user_ca: PrivateKey,
    pub fleet_key: PrivateKey,
    pub sync_key: PrivateKey,
    pub folder: tempfile::TempDir,
}

impl Ca {
    pub fn new() -> Result<Self> {
        Ok(Self {
            user_ca: key(),
            fleet_key: key(),
            sync_key: key(),
            folder: tempfile::tempdir()?,
        })
    }

    pub fn certificate(
        &self,
        key: &PrivateKey,
        key_id: &str,
        serial: u64,
        principal: &str,
    ) -> Certificate {
        certificate(&self.user_ca, key, key_id, serial, principal)
    }

    /// A KRL that OpenSSH itself wrote, revoking these key IDs, with one canary that it revokes and one that it does not.
    pub fn krl(&self, version: u64, key_ids: &[&str]) -> Result<KrlParcel> {
        let folder = self.folder.path();
        fs::write(
            folder.join("ca.pub"),
            self.user_ca.public_key().to_openssh()?,
        )?;
        let mut ids: Vec<&str> = key_ids.to_vec();
        ids.push("canary/0");
        let lines: String = ids.iter().map(|id| format!("id: {id}\n")).collect();
        fs::write(folder.join("revoked"), lines)?;
        let made = std::process::Command::new("ssh-keygen")
            .args([
                "-q",
                "-k",
                "-z",
                &version.to_string(),
                "-s",
                "ca.pub",
                "-f",
                "krl",
                "revoked",
            ])
            .current_dir(folder)
            .output()?;
        ensure!(made.status.success(), "ssh-keygen -k: {made:?}");
        Ok(KrlParcel {
            version,
            issued_unix: now_unix(),
            revoked_canaries: vec![self.certificate(&key(), "canary/0", 1, "nobody@_canary")],
            good_canaries: vec![self.certificate(&key(), "canary/1", 2, "nobody@_canary")],
            krl: fs::read(folder.join("krl"))?,
        })
    }

    pub fn signed_krl(&self, version: u64, key_ids: &[&str]) -> Result<Signed> {
        Ok(self.krl(version, key_ids)?.sign(&self.fleet_key)?)
    }

    /// Alice and a shared account on a machine of the pool `web`.
    pub fn spec(&self, machine: &str) -> Result<MachineSpec> {
        Ok(MachineSpec {
            machine: machine.parse()?,
            user_ca_keys: vec![self.user_ca.public_key().clone()],
            fleet_keys: vec![self.fleet_key.public_key().clone()],
            sync_keys: vec![self.sync_key.public_key().clone()],
            // Also what keeps sshd 9.8 and newer from dropping the tests' own address after refused logins.
            sync_from: vec!["10.77.0.0/16".parse()?],
            admin: "ssh-admin".parse()?,
            accounts: vec![account("alice", 61001)?, account("deploy", 61002)?],
            break_glass: ca_machine::spec::BreakGlass::Never,
            host_certificate: None,
            mode: Mode::Observe,
            openssh: match std::env::var("E2E_OPENSSH")
                .as_deref()
                .map(|text| text.split_once('.'))
            {
                Ok(Some((major, minor))) => OpenSshVersion(major.parse()?, minor.parse()?),
                _ => OpenSshVersion(9, 2),
            },
            pull: None,
        })
    }

    pub fn bundle(&self, spec: &MachineSpec, generation: u64) -> Result<Bundle> {
        Ok(ca_machine::render(
            spec,
            generation,
            now_unix(),
            now_unix() + 3600,
        )?)
    }

    pub fn signed(&self, spec: &MachineSpec, generation: u64) -> Result<Signed> {
        Ok(self.bundle(spec, generation)?.sign(&self.fleet_key)?)
    }

    pub fn first(&self) -> Option<FirstContact> {
        Some(FirstContact {
            fleet_keys: vec![self.fleet_key.public_key().clone()],
            trust: Trust::IfNone,
            admin: None,
            pull_secret: None,
        })
    }

    /// Private key and, with a certificate, both as files for ssh.
    pub fn files(
        &self,
        name: &str,
        key: &PrivateKey,
        certificate: Option<&Certificate>,
    ) -> Result<(PathBuf, PathBuf)> {
        let path = self.folder.path().join(name);
        let _ = fs::remove_file(&path);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        std::io::Write::write_all(&mut file, key.to_openssh(LineEnding::LF)?.as_bytes())?;
        let certificate_path = self.folder.path().join(format!("{name}-cert.pub"));
        if let Some(certificate) = certificate {
            fs::write(&certificate_path, certificate.to_openssh()?)?;
        }
        Ok((path, certificate_path))
    }
}

pub fn certificate(
    ca: &PrivateKey,
    key: &PrivateKey,
    key_id: &str,
    serial: u64,
    principal: &str,
) -> Certificate {
    let now = now_unix();
    let mut builder = Builder::new_with_random_nonce(
        &mut OsRng,
        key.public_key().key_data().clone(),
        now - 60,
        now + 3600,
    )
    .expect("a builder for a sound lifetime");
    builder
        .serial(serial)
        .expect("serial")
        .key_id(key_id)
        .expect("key id");
    builder
        .cert_type(CertType::User)
        .expect("type")
        .valid_principal(principal)
        .expect("principal");
    builder.extension("permit-pty", "").expect("extension");
    builder.sign(ca).expect("the CA key signs")
}

pub fn account(name: &str, uid: u32) -> Result<AccountSpec> {
    Ok(AccountSpec {
        name: name.parse()?,
        uid: Some(uid),
        origin: Origin::Made,
        state: AccountState::Active,
        shell: "/bin/sh".parse()?,
        groups: Vec::new(),
        gecos: Gecos::nearest("A Person"),
        principals: BTreeSet::from([format!("{name}@web").parse()?]),
        sudo: SudoRule::None,
    })
}

/// A machine, an admin who reaches it, and the CA.
pub struct Bench {
    pub ca: Ca,
    pub machine: Machine,
    pub admin: Home,
    pub fleet: Fleet,
}

impl Bench {
    pub fn with(
        fleet: Fleet,
        change: impl FnOnce(e2e::MachineSpec) -> e2e::MachineSpec,
    ) -> Result<Self> {
        let admin = fleet.home("admin")?;
        let spec = fleet.machine("web-1").admin_key(&admin.public_key()?);
        // The same tests on another distribution: a debootstrap root with openssh-server, sudo and cron.
        let spec = match std::env::var_os("E2E_ROOT") {
            Some(root) => spec.root(root),
            None => spec,
        };
        let machine = change(spec).start()?;
        Ok(Self {
            ca: Ca::new()?,
            machine,
            admin,
            fleet,
        })
    }

    /// Runs the applier as root on the machine, as an admin's login does, without ssh in between.
    pub fn send(&self, request: &Request) -> Result<Report> {
        self.send_bytes(&request.encode())
    }

    pub fn send_bytes(&self, request: &[u8]) -> Result<Report> {
        let (command, stdin) = loaded(Script::Applier, request);
        let output = self
            .machine
            .exec_with_stdin(&["sh", "-c", &command], &stdin)?;
        Report::parse(&output.stdout).with_context(|| format!("{output:?}"))
    }

    /// Runs the applier that stands on the machine, as the forced command of `ssh-ca-sync` does.
    pub fn send_installed(&self, request: &Request) -> Result<Report> {
        let output = self
            .machine
            .exec_with_stdin(&["/var/lib/ssh-ca/applier"], &request.encode())?;
        Report::parse(&output.stdout).with_context(|| format!("{output:?}"))
    }

    pub fn apply(&self, krl: Option<Signed>, bundle: Option<Signed>) -> Request {
        self.apply_within(krl, bundle, Duration::from_secs(600))
    }

    pub fn apply_within(
        &self,
        krl: Option<Signed>,
        bundle: Option<Signed>,
        confirm_within: Duration,
    ) -> Request {
        Request::Apply {
            delivery: Delivery {
                successions: Vec::new(),
                krl,
                bundle,
                first: self.ca.first(),
            },
            nonce: Nonce::random(),
            confirm_within,
        }
    }

    /// As the server sends it: without what only a first contact may bring.
    pub fn sync_apply(&self, krl: Option<Signed>, bundle: Option<Signed>) -> Request {
        Request::Apply {
            delivery: Delivery {
                successions: Vec::new(),
                krl,
                bundle,
                first: None,
            },
            nonce: Nonce::random(),
            confirm_within: Duration::from_secs(600),
        }
    }

    pub fn target(&self, user: &str, login: Login) -> Result<Target> {
        Ok(Target {
            address: self.machine.addr().to_string(),
            port: 22,
            user: user.to_owned(),
            login,
            jump: None,
            host_key: HostKey::Pinned(Box::new(self.machine.host_key()?.parse()?)),
        })
    }

    pub fn admin_target(&self) -> Result<Target> {
        let path = self.admin.ssh_path("id_ed25519");
        self.target(
            "ssh-admin",
            Login::IdentityFile {
                path,
                passphrase: None,
            },
        )
    }

    pub fn sync_target(&self) -> Result<Target> {
        let (path, _) = self.ca.files("sync", &self.ca.sync_key, None)?;
        self.target(
            "ssh-ca-sync",
            Login::IdentityFile {
                path,
                passphrase: None,
            },
        )
    }

    /// Runs the future in the fleet's network.
    pub fn run<T: Send>(&self, work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
        self.fleet.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(work())
        })
    }

    /// One request as the server sends it, over a connection of its own.
    pub fn sync(&self, request: &Request) -> Result<Report> {
        let target = self.sync_target()?;
        self.run(async || Ok(ca_machine::exchange(&target, request, &Limits::default()).await?))
    }

    /// Applies as the admin and confirms as the server: the machine stands as the spec says.
    pub fn settle(&self, spec: &MachineSpec, generation: u64, krl_version: u64) -> Result<()> {
        let request = self.apply_within(
            Some(self.ca.signed_krl(krl_version, &[])?),
            Some(self.ca.signed(spec, generation)?),
            Duration::from_secs(600),
        );
        done(self.send(&request)?)?;
        self.confirm(&request)
    }

    pub fn confirm(&self, apply: &Request) -> Result<()> {
        let Request::Apply { nonce, .. } = apply else {
            anyhow::bail!("not an apply")
        };
        done(self.sync(&Request::Confirm(*nonce))?)?;
        Ok(())
    }

    pub fn state(&self) -> Result<State> {
        let report = self.send(&Request::Report)?;
        report.state().cloned().context("a report has a state")
    }

    /// Whether a new certificate login works; an error where sshd did not answer at all.
    pub fn enters(&self, account: &str, principal: &str, key_id: &str) -> Result<bool> {
        let key = key();
        let certificate = self.ca.certificate(&key, key_id, 7, principal);
        self.enters_with(account, &key, Some(&certificate))
    }

    pub fn enters_with(
        &self,
        account: &str,
        key: &PrivateKey,
        certificate: Option<&Certificate>,
    ) -> Result<bool> {
        let (key, certificate_path) = self.ca.files("login", key, certificate)?;
        let mut ssh = self.fleet.command("ssh");
        ssh.args([
            "-F",
            "none",
            "-n",
            "-T",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "IdentityAgent=none",
            "-o",
            "BatchMode=yes",
        ])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        ])
        .args([
            "-o",
            "ConnectTimeout=60",
            "-o",
            "KexAlgorithms=curve25519-sha256",
            "-i",
        ])
        .arg(key);
        if certificate.is_some() {
            ssh.arg("-o")
                .arg(format!("CertificateFile={}", certificate_path.display()));
        }
        ssh.args(["-l", account, &self.machine.addr().to_string(), "true"]);
        // sshd closes its listener for a moment when it is reloaded: a person would try again, and so does this, for a while.
        let deadline = Instant::now() + Duration::from_secs(60);
        let output = loop {
            let output = ssh.output()?;
            let reloading = String::from_utf8_lossy(&output.stderr).contains("Connection refused");
            if !reloading || Instant::now() > deadline {
                break output;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        match output.status.code() {
            Some(0) => Ok(true),
            Some(255) if String::from_utf8_lossy(&output.stderr).contains("Permission denied") => {
                Ok(false)
            }
            _ => anyhow::bail!("ssh as {account}: {output:?}\n{}", self.machine.sshd_log()),
        }
    }

    pub fn probe_enters(&self) -> Result<bool> {
        self.enters("ssh-ca-probe", PROBE_PRINCIPAL, "probe/1")
    }

    pub fn admin_enters(&self) -> Result<bool> {
        let target = self.admin_target()?;
        self.run(async || {
            let deadline = Instant::now() + Duration::from_secs(60);
            loop {
                match Connection::open(&target, Limits::default()).await {
                    Ok(_) => return Ok(true),
                    Err(error)
                        if error.to_string().contains("Connection refused")
                            && Instant::now() < deadline =>
                    {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    Err(_) => return Ok(false),
                }
            }
        })
    }
}

/// The report, if the machine did as asked.
pub fn done(report: Report) -> Result<Report> {
    ensure!(
        report.refusal().is_none(),
        "refused: {:?}\n{report:?}",
        report.refusal()
    );
    Ok(report)
}

/// The code with which the machine refused.
/// What a check-up found: facts are what it looked at.
pub fn drift(report: &Report) -> Vec<&Event> {
    report
        .events
        .iter()
        .filter(|event| matches!(event, Event::Drift { .. } | Event::Warning { .. }))
        .collect()
}

pub fn refusal(report: &Report) -> &str {
    report
        .refusal()
        .map_or("(it did as asked)", |(code, _)| code)
}
