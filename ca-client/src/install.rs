//! Puts the files into place, each by rename, in an order in which ssh finds a working set at every moment (C4).

use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use ca_api::Directory;
use nix::unistd::{Uid, User};

use crate::{
    atomic,
    check::Checked,
    directory::Reach,
    key::{self, KeyPlace},
    places::{Places, PlacesError},
    render::{self, Files},
};

/// Name of the ssh_config fragment.
pub const FRAGMENT_FILE: &str = "config";

/// Name of known_hosts.
pub const KNOWN_HOSTS_FILE: &str = "known_hosts";

/// Name of the stored directory.
pub const DIRECTORY_FILE: &str = "directory.json";

/// Why the files are not in place.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file cannot be written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A path that ssh_config cannot hold.
    #[error(transparent)]
    Place(#[from] PlacesError),
    /// The program does not know where it is itself.
    #[error("cannot tell where ca-client itself is installed: {0}")]
    Program(io::Error),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> InstallError + '_ {
    move |source| InstallError::File {
        path: path.to_owned(),
        source,
    }
}

fn put(path: &Path, text: &str) -> Result<(), InstallError> {
    atomic::replace(path, text.as_bytes(), atomic::OWNER_ONLY).map_err(at(path))
}

/// Makes `~/.ssh/ca` (and `~/.ssh`), both for their owner only.
///
/// # Errors
/// When they cannot be made.
pub fn folders(places: &Places) -> Result<(), InstallError> {
    if !places.ssh_folder.exists() {
        atomic::private_folder(&places.ssh_folder).map_err(at(&places.ssh_folder))?;
    }
    let folder = places.state_folder();
    atomic::private_folder(&folder).map_err(at(&folder))
}

/// Installs certificates. Those at positions that are no longer used go last, in [`ssh_files`].
///
/// # Errors
/// When one cannot be written.
pub fn certificates(places: &Places, certificates: &[Checked]) -> Result<(), InstallError> {
    for (position, certificate) in certificates.iter().enumerate() {
        put(
            &places.certificate(position),
            &format!("{}\n", certificate.text),
        )?;
    }
    Ok(())
}

/// Installs known_hosts, the public key and the fragment, and removes what they no longer name.
///
/// # Errors
/// When one cannot be written.
pub fn ssh_files(
    places: &Places,
    reach: &Reach,
    certificate_count: usize,
    public_key: &ssh_key::PublicKey,
    place: &KeyPlace,
) -> Result<(), InstallError> {
    let files = Files {
        program: program().map_err(InstallError::Program)?,
        identity: match place {
            KeyPlace::Agent | KeyPlace::SecurityKey { handle: None } => {
                places.state(key::PUBLIC_FILE)
            }
            KeyPlace::File => places.state(key::PRIVATE_FILE),
            // The handle stays where its owner has it.
            KeyPlace::SecurityKey {
                handle: Some(handle),
            } => handle.clone(),
        },
        certificates: (0..certificate_count)
            .map(|position| places.certificate(position))
            .collect(),
        known_hosts: places.state(KNOWN_HOSTS_FILE),
    };
    let fragment = render::fragment(reach, &files)?;
    put(
        &places.state(key::PUBLIC_FILE),
        &format!("{} {}\n", key::bare(public_key), reach.email),
    )?;
    put(&files.known_hosts, &render::known_hosts(reach))?;
    put(&places.state(FRAGMENT_FILE), &fragment)?;
    for position in certificate_count.. {
        let path = places.certificate(position);
        if !path.exists() {
            break;
        }
        atomic::remove(&path).map_err(at(&path))?;
    }
    if *place != KeyPlace::File {
        let path = places.state(key::PRIVATE_FILE);
        atomic::remove(&path).map_err(at(&path))?;
    }
    Ok(())
}

/// This program by the path that it was called by, so that an upgrade behind a symbolic link is followed.
fn program() -> io::Result<PathBuf> {
    let called = env::args_os()
        .next()
        .map(PathBuf::from)
        .filter(|path| path.is_absolute() && path.exists());
    called.map_or_else(env::current_exe, Ok)
}

/// Keeps the directory for `machines`, and for renewals that do not send it again.
///
/// # Errors
/// When it cannot be written.
pub fn store_directory(places: &Places, directory: &Directory) -> Result<(), InstallError> {
    let text = serde_json::to_string(directory).expect("a directory is plain data");
    put(&places.state(DIRECTORY_FILE), &text)
}

/// The stored directory; `None` where there is none, or it is damaged.
#[must_use]
pub fn stored_directory(places: &Places) -> Option<Directory> {
    serde_json::from_str(&atomic::read(&places.state(DIRECTORY_FILE)).ok()??).ok()
}

/// Does ssh look for its configuration here? It takes `~` from the password database, not from HOME.
#[must_use]
pub fn is_ssh_home(places: &Places) -> bool {
    let home = User::from_uid(Uid::effective())
        .ok()
        .flatten()
        .map(|user| user.dir.join(".ssh"));
    home.as_deref() == Some(&places.ssh_folder)
}

/// How `~/.ssh/config` names the fragment.
#[must_use]
pub fn include_line(places: &Places) -> String {
    if is_ssh_home(places) {
        return format!("Include ~/.ssh/ca/{FRAGMENT_FILE}");
    }
    let text = places.state(FRAGMENT_FILE).display().to_string();
    if text.contains(' ') {
        format!("Include \"{text}\"")
    } else {
        format!("Include {text}")
    }
}

/// Does `~/.ssh/config` include the fragment where it has an effect?
///
/// # Errors
/// When the file is there and cannot be read.
pub fn includes(places: &Places) -> Result<bool, InstallError> {
    let path = places.ssh_config();
    let config = atomic::read(&path).map_err(at(&path))?;
    Ok(config.is_some_and(|config| is_included(&config, &include_line(places))))
}

/// Is the Include where it has an effect: before any `Host` or `Match`?
fn is_included(config: &str, include: &str) -> bool {
    config
        .lines()
        .map(str::trim)
        .take_while(|line| {
            let word = line.split([' ', '\t', '=']).next().unwrap_or_default();
            !word.eq_ignore_ascii_case("host") && !word.eq_ignore_ascii_case("match")
        })
        .any(|line| line == include)
}

/// Puts the Include at the very top of `~/.ssh/config`, unless it has its effect already. Nothing else in the file is
/// touched; a symbolic link stays one; a file that is absent is made for its owner only.
///
/// # Errors
/// When the file cannot be read or replaced.
pub fn include(places: &Places) -> Result<Change, InstallError> {
    edit_ssh_config(places, |config, include| {
        (!is_included(config, include)).then(|| format!("{include}\n{config}"))
    })
}

/// Takes the Include out again.
///
/// # Errors
/// When the file cannot be read or replaced.
pub fn exclude(places: &Places) -> Result<Change, InstallError> {
    edit_ssh_config(places, |config, include| {
        let kept: String = config
            .split_inclusive('\n')
            .filter(|line| line.trim() != include)
            .collect();
        (kept != config).then_some(kept)
    })
}

/// Was the file changed?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is as it was.
    Kept,
    /// It was replaced.
    Changed,
}

fn edit_ssh_config(
    places: &Places,
    edit: impl FnOnce(&str, &str) -> Option<String>,
) -> Result<Change, InstallError> {
    let link = places.ssh_config();
    // Dotfiles are often symbolic links: the file behind is replaced, the link stays.
    let path = match fs::canonicalize(&link) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !link.is_symlink() => link.clone(),
        Err(source) => return Err(InstallError::File { path: link, source }),
    };
    let (config, mode) = match fs::metadata(&path) {
        Ok(data) => (
            fs::read_to_string(&path).map_err(at(&path))?,
            data.permissions().mode() & 0o777,
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (String::new(), atomic::OWNER_ONLY)
        }
        Err(source) => return Err(InstallError::File { path, source }),
    };
    match edit(&config, &include_line(places)) {
        None => Ok(Change::Kept),
        Some(text) => {
            atomic::replace(&path, text.as_bytes(), mode).map_err(at(&path))?;
            Ok(Change::Changed)
        }
    }
}

/// Removes everything of the session; the folder's lock stays, so that nobody waits on a lock that is gone.
///
/// # Errors
/// When a file stays.
pub fn remove_all(places: &Places) -> Result<(), InstallError> {
    let folder = places.state_folder();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(InstallError::File {
                path: folder,
                source,
            });
        }
    };
    for entry in entries {
        let path = entry.map_err(at(&folder))?.path();
        let ours = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| {
                name.starts_with("cert-")
                    || [
                        FRAGMENT_FILE,
                        KNOWN_HOSTS_FILE,
                        DIRECTORY_FILE,
                        key::PRIVATE_FILE,
                        key::PUBLIC_FILE,
                        crate::session::FILE,
                        crate::due::FILE,
                        crate::due::BACK_OFF_FILE,
                        crate::due::ASKED_FILE,
                    ]
                    .contains(&name)
            });
        if ours {
            atomic::remove(&path).map_err(at(&path))?;
        }
    }
    Ok(())
}
