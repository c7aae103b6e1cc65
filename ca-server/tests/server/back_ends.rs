//! Real signers to test against: an ssh-agent, a SoftHSM token in a folder of its own, and a module with faults between.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use ca_server::signer::{
    pkcs11,
    spec::{AgentSpec, Pkcs11Spec},
};
use ssh_key::{Algorithm, EcdsaCurve, LineEnding, PrivateKey};

/// Where Debian's `libsofthsm2` puts the module.
pub const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// The token's PIN.
pub const PIN: &str = "2468-tests";

pub const P256: Algorithm = Algorithm::Ecdsa {
    curve: EcdsaCurve::NistP256,
};

/// A new key.
pub fn key(algorithm: Algorithm) -> PrivateKey {
    PrivateKey::random(&mut rand_core::OsRng, algorithm).unwrap()
}

/// A running ssh-agent.
pub struct Agent {
    pub folder: tempfile::TempDir,
    child: Child,
}

impl Agent {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = Self::spawn(&folder.path().join("agent"));
        Self { folder, child }
    }

    fn spawn(socket: &Path) -> Child {
        drop(fs::remove_file(socket));
        let child = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let patience = Instant::now() + Duration::from_secs(60);
        while std::os::unix::net::UnixStream::connect(socket).is_err() {
            assert!(Instant::now() < patience, "the agent does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        child
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    pub fn spec(&self) -> AgentSpec {
        AgentSpec {
            wait: Duration::from_secs(60),
            ..AgentSpec::at(&self.socket())
        }
    }

    /// `ssh-add` with these arguments, which must succeed.
    pub fn ssh_add(&self, arguments: &[&str]) {
        let added = Command::new("ssh-add")
            .args(arguments)
            .env("SSH_AUTH_SOCK", self.socket())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            added.status.success(),
            "ssh-add {arguments:?}: {}",
            String::from_utf8_lossy(&added.stderr)
        );
    }

    pub fn add(&self, key: &PrivateKey) {
        let file = self.folder.path().join("key");
        fs::write(&file, key.to_openssh(LineEnding::LF).unwrap().as_bytes()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        self.ssh_add(&["-q", file.to_str().unwrap()]);
        fs::remove_file(&file).unwrap();
    }

    pub fn pause(&self) {
        self.signal(nix::sys::signal::Signal::SIGSTOP);
    }

    pub fn go_on(&self) {
        self.signal(nix::sys::signal::Signal::SIGCONT);
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub fn stop(&mut self) {
        drop(self.child.kill());
        self.child.wait().unwrap();
        drop(fs::remove_file(self.socket()));
    }

    /// The same socket, another agent, no keys.
    pub fn restart(&mut self) {
        self.stop();
        self.child = Self::spawn(&self.socket());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A SoftHSM token in a folder of its own.
pub struct Token {
    pub folder: tempfile::TempDir,
}

impl Token {
    pub fn new() -> Self {
        pkcs11::set_program(Path::new(env!("CARGO_BIN_EXE_ca-server")));
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens");
        fs::create_dir(&tokens).unwrap();
        let config = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        fs::write(folder.path().join("softhsm2.conf"), config).unwrap();
        let token = Self { folder };
        token.make("ssh-ca");
        token
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("softhsm2.conf")
    }

    /// Makes one more token.
    pub fn make(&self, label: &str) {
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label])
            .args(["--so-pin", "1357-tests", "--pin", PIN])
            .env("SOFTHSM2_CONF", self.config())
            .output()
            .expect("softhsm2-util: run tests/setup");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    }

    /// The token's only key, or the one that is to be made.
    pub fn spec(&self) -> Pkcs11Spec {
        let mut spec = Pkcs11Spec::token(Path::new(SOFTHSM), "ssh-ca");
        spec.wait = Duration::from_secs(60);
        spec.env.insert(
            "SOFTHSM2_CONF".to_owned(),
            self.config().display().to_string(),
        );
        spec
    }

    /// The same through a module that does what [`Token::fault`] says.
    pub fn faulty(&self) -> Pkcs11Spec {
        let mut spec = self.spec();
        spec.module = faulty_module().to_owned();
        let fault = self.folder.path().join("fault");
        spec.env
            .insert("FAULT".to_owned(), fault.display().to_string());
        spec
    }

    /// What the faulty module does from now on: `hang`, `lie`, `gone`, `crash`, or nothing.
    pub fn fault(&self, fault: &str) {
        fs::write(self.folder.path().join("fault"), fault).unwrap();
    }

    /// Takes the token away, or puts it back.
    pub fn unplug(&self) {
        fs::rename(
            self.folder.path().join("tokens"),
            self.folder.path().join("drawer"),
        )
        .unwrap();
        fs::create_dir(self.folder.path().join("tokens")).unwrap();
    }

    pub fn plug(&self) {
        fs::remove_dir(self.folder.path().join("tokens")).unwrap();
        fs::rename(
            self.folder.path().join("drawer"),
            self.folder.path().join("tokens"),
        )
        .unwrap();
    }
}

/// A module that passes every call on to SoftHSM, and does as the file `$FAULT` says before it signs.
fn faulty_module() -> &'static Path {
    static MODULE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    &MODULE
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let module = folder.path().join("faulty.so");
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/faulty_module.c");
            let built = Command::new("gcc")
                .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
                .arg(&module)
                .arg(source)
                .arg("-ldl")
                .output()
                .expect("gcc: run tests/setup");
            assert!(
                built.status.success(),
                "{}",
                String::from_utf8_lossy(&built.stderr)
            );
            (folder, module)
        })
        .1
}
