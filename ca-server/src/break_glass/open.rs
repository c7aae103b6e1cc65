//! The commands that work on sealed credentials: they need no server, and write a private key nowhere but where they are told.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use ca_machine::spec::{
    BREAK_GLASS_ACCOUNT, BREAK_GLASS_DRILL_PRINCIPAL, BREAK_GLASS_DRILL_WORDS,
    BREAK_GLASS_PRINCIPAL,
};
use rand_core::{OsRng, RngCore};
use ssh_key::{
    Algorithm, LineEnding, PrivateKey,
    certificate::{Builder, CertType},
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::seal::{self, SealError, Sealed};
use crate::cli::terminal;

/// The longest that a certificate lives, in minutes.
pub const MAX_MINUTES: u64 = 24 * 60;

/// How far a machine's clock may be behind on the day when everything is down, in seconds.
const BACKDATE_SECS: u64 = 300;

/// How a key ID of a real use begins.
pub const USE: &str = "break-glass/";
/// How one of a drill begins.
pub const DRILL: &str = "break-glass-drill/";

/// The largest share and sealed file, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// A break-glass command failed.
#[derive(Debug, thiserror::Error)]
pub enum BreakGlassError {
    /// A file.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is something already.
    #[error("{} exists already; nothing was changed: name a folder that does not", .0.display())]
    Exists(PathBuf),
    /// The seal.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Not a sealed file.
    #[error("{} is not a sealed file of break-glass credentials", .0.display())]
    NotSealed(PathBuf),
    /// Nobody to ask for shares.
    #[error("no shares: give each with --share FILE, or run it on a terminal")]
    NoShares,
    /// The certificate.
    #[error("the certificate cannot be made: {0}")]
    Certificate(#[from] ssh_key::Error),
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BreakGlassError {
    let path = path.to_owned();
    move |source| BreakGlassError::File {
        action,
        path,
        source,
    }
}

/// Makes credentials in a new folder: `sealed`, and `share-1` and so on, one for each holder.
///
/// # Errors
/// See [`BreakGlassError`]; a folder that is there already is left alone.
pub fn make(
    folder: &Path,
    needed: u8,
    shares: u8,
    now: OffsetDateTime,
) -> Result<Sealed, BreakGlassError> {
    let (sealed, texts) = seal::make(needed, shares, now.unix_timestamp())?;
    let which = format!("{} of {}", sealed.fingerprint()?, now.date());
    make_folder(folder)?;
    write_new(&folder.join("sealed"), sealed.text().as_bytes())?;
    for (number, text) in texts.iter().enumerate() {
        let number = number + 1;
        let note = Zeroizing::new(format!(
            "# Share {number} of {shares} of the break-glass credentials {which}; any {needed} of them open the sealed file.\n{}\n",
            text.as_str()
        ));
        write_new(&folder.join(format!("share-{number}")), note.as_bytes())?;
    }
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(file_error("sync", folder))?;
    Ok(sealed)
}

/// Looks whether a folder can be made, before anybody is asked or types anything.
///
/// # Errors
/// When there is something of that name, or nothing that it could be in.
pub fn can_make_folder(folder: &Path) -> Result<(), BreakGlassError> {
    if fs::symlink_metadata(folder).is_ok() {
        return Err(BreakGlassError::Exists(folder.to_owned()));
    }
    let above = folder
        .parent()
        .filter(|above| !above.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::metadata(above)
        .map(drop)
        .map_err(file_error("make a folder in", above))
}

fn make_folder(folder: &Path) -> Result<(), BreakGlassError> {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => BreakGlassError::Exists(folder.to_owned()),
            _ => file_error("make", folder)(error),
        })
}

/// A new file, 0600, on the disk when this returns.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), BreakGlassError> {
    let write = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(file_error("write", path))
}

fn read_small(path: &Path) -> Result<Zeroizing<String>, BreakGlassError> {
    use std::io::Read as _;
    let mut text = Zeroizing::new(String::new());
    fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
        .map_err(file_error("read", path))?;
    Ok(text)
}

/// The CA key, from the sealed file and shares: those in files, or where none is named as they are typed.
fn ca_key(sealed: &Path, shares: &[PathBuf]) -> Result<PrivateKey, BreakGlassError> {
    let sealed = Sealed::parse(&read_small(sealed)?).map_err(|error| match error {
        SealError::NotOne(_) => BreakGlassError::NotSealed(sealed.to_owned()),
        error => error.into(),
    })?;
    let mut texts = Vec::new();
    for path in shares {
        texts.push(read_small(path)?);
    }
    if texts.is_empty() {
        if !terminal::somebody_there() {
            return Err(BreakGlassError::NoShares);
        }
        ask_shares(&sealed, &mut texts)?;
    }
    Ok(sealed.open(&texts)?)
}

/// Asks for each share until it is one: who has typed three of them off paper must not begin anew for a slip in the last.
fn ask_shares(sealed: &Sealed, texts: &mut Vec<Zeroizing<String>>) -> Result<(), BreakGlassError> {
    let needed = usize::from(sealed.needed);
    while texts.len() < needed {
        let number = texts.len() + 1;
        let prompt = format!("Share {number} of the {needed} that are needed: ");
        texts.push(
            terminal::ask_hidden(&prompt).map_err(file_error("ask on", Path::new("/dev/tty")))?,
        );
        if let Err(why) = sealed.check(texts) {
            texts.pop();
            // Whoever types sees it; the result goes elsewhere.
            let _ = writeln!(io::stderr(), "{why}; once more");
        }
    }
    Ok(())
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To come in.
    Use,
    /// To show that one would.
    Drill,
}

/// What was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The private key; its certificate lies beside it.
    pub key: PathBuf,
    /// When the certificate ends.
    pub until_unix: i64,
}

/// Opens the seal and writes a fresh key with a short certificate into a new folder.
///
/// # Errors
/// See [`BreakGlassError`].
pub fn open(
    sealed: &Path,
    shares: &[PathBuf],
    out: &Path,
    who: &str,
    minutes: u64,
    now: OffsetDateTime,
) -> Result<Opened, BreakGlassError> {
    let ca = ca_key(sealed, shares)?;
    make_folder(out)?;
    issue(
        &ca,
        out,
        Purpose::Use,
        who,
        minutes.clamp(1, MAX_MINUTES),
        now,
    )
}

fn issue(
    ca: &PrivateKey,
    folder: &Path,
    purpose: Purpose,
    who: &str,
    minutes: u64,
    now: OffsetDateTime,
) -> Result<Opened, BreakGlassError> {
    let (principal, prefix) = match purpose {
        Purpose::Use => (BREAK_GLASS_PRINCIPAL, USE),
        Purpose::Drill => (BREAK_GLASS_DRILL_PRINCIPAL, DRILL),
    };
    let who: String = who
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@'))
        .take(64)
        .collect();
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)?;
    let now_unix = u64::try_from(now.unix_timestamp()).unwrap_or(0);
    let until = now_unix + minutes * 60;
    let mut builder = Builder::new_with_random_nonce(
        &mut OsRng,
        key.public_key(),
        now_unix.saturating_sub(BACKDATE_SECS),
        until,
    )?;
    builder.cert_type(CertType::User)?;
    // Never 0, which nobody can revoke; below 2^63.
    builder.serial((OsRng.next_u64() >> 1) | 1)?;
    builder.key_id(format!("{prefix}{who}"))?;
    builder.valid_principal(principal)?;
    builder.extension("permit-pty", "")?;
    builder.comment("ssh-ca break-glass")?;
    let certificate = builder.sign(ca)?;
    let path = folder.join(BREAK_GLASS_ACCOUNT);
    write_new(&path, key.to_openssh(LineEnding::LF)?.as_bytes())?;
    let text = format!("{}\n", certificate.to_openssh()?);
    write_new(
        &folder.join(format!("{BREAK_GLASS_ACCOUNT}-cert.pub")),
        text.as_bytes(),
    )?;
    Ok(Opened {
        key: path,
        until_unix: i64::try_from(until).unwrap_or(i64::MAX),
    })
}

/// What came of a drill on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drilled {
    /// Which, as `ssh` was told.
    pub machine: String,
    /// Why it would not open; `None` where it would.
    pub trouble: Option<String>,
}

/// Logs in to each machine for real, with a certificate that opens nothing.
///
/// # Errors
/// See [`BreakGlassError`]; a machine that does not open is an answer, no error.
pub fn drill(
    sealed: &Path,
    shares: &[PathBuf],
    machines: &[String],
    who: &str,
    now: OffsetDateTime,
) -> Result<Vec<Drilled>, BreakGlassError> {
    let ca = ca_key(sealed, shares)?;
    let folder =
        tempfile::tempdir().map_err(file_error("make", Path::new("a temporary folder")))?;
    let opened = issue(&ca, folder.path(), Purpose::Drill, who, 10, now)?;
    let certificate = folder
        .path()
        .join(format!("{BREAK_GLASS_ACCOUNT}-cert.pub"));
    Ok(machines
        .iter()
        .map(|machine| Drilled {
            machine: machine.clone(),
            trouble: knock(&opened.key, &certificate, machine).err(),
        })
        .collect())
}

fn knock(key: &Path, certificate: &Path, machine: &str) -> Result<(), String> {
    let output = Command::new("ssh")
        .args([
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "ConnectTimeout=20",
        ])
        .args([
            "-o",
            "PreferredAuthentications=publickey",
            "-o",
            "ControlPath=none",
            "-o",
            "LogLevel=ERROR",
        ])
        .arg("-o")
        .arg(format!("CertificateFile={}", certificate.display()))
        .arg("-i")
        .arg(key)
        .args(["-l", BREAK_GLASS_ACCOUNT, "--", machine, "true"])
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| format!("ssh cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && said.trim_end() == BREAK_GLASS_DRILL_WORDS {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(match words.trim() {
        "" => format!("it answered {:?}", said.trim()),
        words => words.to_owned(),
    })
}
