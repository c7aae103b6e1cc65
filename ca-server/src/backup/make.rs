//! `backup FILE`: takes the archive from the server's socket, locks it, and makes the file with the rights of whoever asked.

use std::{
    fs,
    io::{self, BufWriter, IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use ca_api::admin::BackupRequest;
use http_body_util::BodyExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use nix::{errno::Errno, fcntl::AT_FDCWD};

use super::{
    About, BackupError, file_error,
    lock::{self, Lock, WORK_FACTOR},
};
use crate::cli::{
    args::{BackupArgs, LockSource},
    client::{self, ClientError, Durable},
    passphrase::{self, Purpose},
};

/// What was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// The file.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// What is in it.
    pub about: About,
}

/// Makes a backup.
///
/// # Errors
/// See [`BackupError`]; no file is made then.
pub fn run(args: &BackupArgs) -> Result<Made, BackupError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| BackupError::System {
            action: "start",
            source,
        })?;
    // All this is looked at before anybody types a passphrase for nothing; what is done at the end decides.
    let recipients = match &args.lock {
        LockSource::Recipients(texts) => lock::recipients(texts)?,
        LockSource::Passphrase(_) => Vec::new(),
    };
    can_be_made(&args.file)?;
    runtime.block_on(client::is_there(&args.data))?;
    let lock = match &args.lock {
        LockSource::Recipients(_) => Lock::Recipients(recipients),
        LockSource::Passphrase(source) => Lock::Passphrase {
            passphrase: passphrase::read(source, Purpose::LockBackup)?,
            work_factor: WORK_FACTOR,
        },
    };
    runtime.block_on(make(args, &lock))
}

fn can_be_made(file: &Path) -> Result<(), BackupError> {
    if file == Path::new("-") {
        return Err(BackupError::NoFile);
    }
    if fs::symlink_metadata(file).is_ok() {
        return Err(BackupError::Exists(file.to_owned()));
    }
    let folder = folder_of(file);
    let found = fs::metadata(folder).map_err(file_error("write into", folder))?;
    if !found.is_dir() {
        let source = io::ErrorKind::NotADirectory.into();
        return Err(file_error("write into", folder)(source));
    }
    Ok(())
}

fn folder_of(file: &Path) -> &Path {
    file.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

async fn make(args: &BackupArgs, lock: &Lock) -> Result<Made, BackupError> {
    let partial = Partial::begin(&args.file)?;
    let request = BackupRequest {
        with_keys: args.with_keys,
    };
    let response = client::stream_socket(&args.data, "/v1/admin/backup", &request).await?;
    let about: About = response
        .headers()
        .get(ABOUT_HEADER)
        .and_then(|value| serde_json::from_slice(value.as_bytes()).ok())
        .ok_or_else(|| ClientError::Garbage("it does not say what it is".to_owned()))?;
    let bar = (args.show_progress && io::stderr().is_terminal()).then(|| {
        let style = ProgressStyle::with_template("  {spinner} {msg}  {elapsed}")
            .expect("the template is written with this crate's own words");
        let bar = ProgressBar::no_length().with_style(style);
        bar.set_message("0 MB");
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    });
    let mut out = lock::lock(lock, BufWriter::new(&*partial.file))?;
    let mut body = response.into_body();
    let mut taken: u64 = 0;
    while let Some(frame) = tokio::time::timeout(client::SILENCE, body.frame())
        .await
        .map_err(|_| cut("the server has been silent for five minutes"))?
    {
        let frame = frame.map_err(|_| cut("the server broke off: see its log"))?;
        if let Ok(bytes) = frame.into_data() {
            out.write_all(&bytes)
                .map_err(file_error("write", &partial.path))?;
            taken += bytes.len() as u64;
            if let Some(bar) = &bar {
                bar.set_message(format!("{} MB", taken / 1_000_000));
            }
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    out.finish()
        .and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error))
        .map_err(file_error("write", &partial.path))?;
    let bytes = partial
        .file
        .metadata()
        .map_err(file_error("look at", &partial.path))?
        .len();
    partial.publish(&args.file)?;
    Ok(Made {
        file: args.file.clone(),
        bytes,
        about,
    })
}

/// The header of the answer that says what the archive is.
pub const ABOUT_HEADER: &str = "x-ssh-ca-backup";

fn cut(why: &str) -> BackupError {
    BackupError::Server(ClientError::Cut {
        durable: Durable::Unknown,
        why: why.to_owned(),
    })
}

/// The file under another name until it is whole. One that a killed run left is taken over.
struct Partial {
    path: PathBuf,
    file: nix::fcntl::Flock<fs::File>,
    published: bool,
}

impl Partial {
    fn begin(target: &Path) -> Result<Self, BackupError> {
        let mut name = target.as_os_str().to_owned();
        name.push(".partial");
        let path = PathBuf::from(name);
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&path)
            .map_err(file_error("write", &path))?;
        let file = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock)
            .map_err(|_| BackupError::Busy(target.to_owned()))?;
        let own = |file: &fs::File| {
            use std::os::unix::fs::PermissionsExt as _;
            match file.set_permissions(fs::Permissions::from_mode(0o600)) {
                // A stick with FAT knows no modes; the backup is locked all the same.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                done => done?,
            }
            file.set_len(0)
        };
        own(&file).map_err(file_error("write", &path))?;
        Ok(Self {
            path,
            file,
            published: false,
        })
    }

    /// Gives the whole file its name, which nobody has taken meanwhile.
    fn publish(mut self, target: &Path) -> Result<(), BackupError> {
        self.file
            .sync_all()
            .map_err(file_error("write", &self.path))?;
        give_name(&self.path, target).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists(target.to_owned()),
            _ => file_error("name", target)(error),
        })?;
        self.published = true;
        let folder = folder_of(target);
        fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(file_error("sync", folder))
    }
}

/// Renames a file, never over another one.
fn give_name(from: &Path, to: &Path) -> io::Result<()> {
    let never_over = nix::fcntl::RenameFlags::RENAME_NOREPLACE;
    match nix::fcntl::renameat2(AT_FDCWD, from, AT_FDCWD, to, never_over) {
        // A file system that knows no such rename (NFS) knows links.
        Err(Errno::EINVAL | Errno::ENOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        done => Ok(done?),
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // A kill leaves it, and the next run takes it over; any other end takes it away.
        if !self.published {
            drop(fs::remove_file(&self.path));
        }
    }
}
