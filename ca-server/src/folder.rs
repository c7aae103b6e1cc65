//! The data folder: its layout, its modes, its version (S6, K2).

use std::{
    fs, io,
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The layout's version; a folder of another version is refused, never guessed at.
pub const VERSION: &str = "ssh-ca data folder v1";

/// Something about the data folder is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// No folder.
    #[error(
        "{0} is not a data folder: run `ca-server init --data {0}` first, or name another with --data"
    )]
    Missing(PathBuf),
    /// There is something already.
    #[error(
        "{0} exists already and is not empty: nothing was changed; choose another folder with --data"
    )]
    Exists(PathBuf),
    /// Another restore.
    #[error("another restore is at work on {0}: wait for its end")]
    Busy(PathBuf),
    /// Made by another version.
    #[error(
        "{path} was made by another version ({found:?}, this program reads {VERSION:?}): nothing was changed"
    )]
    Version {
        /// The folder.
        path: PathBuf,
        /// What its version file says.
        found: String,
    },
    /// A mode that lets others in.
    #[error(
        "{path} has mode {mode:04o}, which lets others in: run `chmod {wanted:04o} {path}` and look who could have read it"
    )]
    Mode {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The widest that is accepted.
        wanted: u32,
    },
    /// Owned by somebody else.
    #[error("{path} belongs to uid {owner}, not to the user that runs the server")]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A data folder: 0700, its files 0600.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Opens a folder that `init` made, after checking version and modes.
    ///
    /// # Errors
    /// When it is missing, of another version, or open to others.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        let version_path = root.join("version");
        let found = match fs::read_to_string(&version_path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FolderError::Missing(root.to_owned()));
            }
            Err(error) => return Err(io_error("read", &version_path)(error)),
        };
        if found.trim_end() != VERSION {
            return Err(FolderError::Version {
                path: root.to_owned(),
                found: found.trim_end().chars().take(60).collect(),
            });
        }
        let folder = Self {
            root: root.to_owned(),
        };
        check_mode(root, 0o700)?;
        for sub in ["keys", "tls"] {
            let sub = root.join(sub);
            check_mode(&sub, 0o700)?;
            for entry in fs::read_dir(&sub).map_err(io_error("list", &sub))? {
                let entry = entry.map_err(io_error("list", &sub))?;
                check_mode(&entry.path(), 0o600)?;
            }
        }
        for file in [folder.config(), folder.store()] {
            if file.exists() {
                check_mode(&file, 0o600)?;
            }
        }
        Ok(folder)
    }

    /// Makes the folders of a new data folder at `root`, which must not exist or be empty.
    ///
    /// # Errors
    /// When there is something already, or the operating system refuses.
    pub fn create(root: &Path) -> Result<Self, FolderError> {
        match fs::read_dir(root) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(FolderError::Exists(root.to_owned()));
                }
                fs::set_permissions(root, fs::Permissions::from_mode(0o700))
                    .map_err(io_error("chmod", root))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_dir(root)?,
            Err(error) => return Err(io_error("list", root)(error)),
        }
        let folder = Self {
            root: root.to_owned(),
        };
        make_dir(&folder.root.join("keys"))?;
        make_dir(&folder.root.join("tls"))?;
        Ok(folder)
    }

    /// Writes the version file: the last step of `init`, without which nothing else counts.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn seal(&self) -> Result<(), FolderError> {
        self.write("version", format!("{VERSION}\n").as_bytes())
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A private key's file.
    #[must_use]
    pub fn key(&self, name: &str) -> PathBuf {
        self.root.join("keys").join(name)
    }

    /// A file of the TLS CA.
    #[must_use]
    pub fn tls(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(name)
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.root.join("store.redb")
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// The admin socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.root.join("admin.sock")
    }

    /// Replaces a file of the folder: temp file beside it, fsync, rename, fsync of the directory; mode 0600.
    ///
    /// # Errors
    /// When the operating system refuses; the old file is then still there.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let path = self.root.join(name);
        let parent = path.parent().unwrap_or(&self.root);
        let temp = path.with_extension("new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temp)
            .map_err(io_error("write", &temp))?;
        file.write_all(bytes).map_err(io_error("write", &temp))?;
        file.sync_all().map_err(io_error("write", &temp))?;
        fs::rename(&temp, &path).map_err(io_error("rename", &temp))?;
        fs::File::open(parent)
            .and_then(|dir| dir.sync_all())
            .map_err(io_error("sync", parent))
    }

    /// Deletes a file; one that is not there counts as deleted.
    ///
    /// # Errors
    /// When it stays.
    pub fn remove(&self, name: &str) -> Result<(), FolderError> {
        let path = self.root.join(name);
        let parent = path.parent().unwrap_or(&self.root);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("remove", &path)(error));
            }
            _ => {}
        }
        fs::File::open(parent)
            .and_then(|dir| dir.sync_all())
            .map_err(io_error("sync", parent))
    }

    /// The names of the plain files in a folder of it, in order; what a killed run left half written is none.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn list(&self, sub: &str) -> Result<Vec<String>, FolderError> {
        let path = self.root.join(sub);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(io_error("list", &path))? {
            let entry = entry.map_err(io_error("list", &path))?;
            let plain = entry
                .file_type()
                .map_err(io_error("list", &path))?
                .is_file();
            if let Ok(name) = entry.file_name().into_string()
                && plain
                && !name.ends_with(".new")
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Overwrites a file of the folder with zeros, and deletes it; one that is not there is fine. On a copy-on-write file
    /// system, on an SSD and in backups older bytes may remain: whoever can read those knew the file anyway.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn destroy(&self, name: &str) -> Result<(), FolderError> {
        let path = self.root.join(name);
        let parent = path.parent().unwrap_or(&self.root);
        let mut file = match fs::OpenOptions::new().write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error("overwrite", &path)(error)),
        };
        let length = file.metadata().map_err(io_error("look at", &path))?.len();
        io::copy(&mut io::repeat(0).take(length), &mut file)
            .and_then(|_| file.sync_all())
            .map_err(io_error("overwrite", &path))?;
        fs::remove_file(&path).map_err(io_error("delete", &path))?;
        fs::File::open(parent)
            .and_then(|dir| dir.sync_all())
            .map_err(io_error("sync", parent))
    }

    /// Reads a file of the folder.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, FolderError> {
        let path = self.root.join(name);
        fs::read(&path).map_err(io_error("read", &path))
    }
}

/// Marks a folder that a restore began and did not finish: such a folder is nobody's, and the next restore takes it over.
const BEGUN: &str = "restoring";

/// A data folder that is being put together from a backup. Until its version file is written it counts as nothing.
pub struct Begun {
    folder: Folder,
    _lock: nix::fcntl::Flock<fs::File>,
}

/// Where a restore may begin.
enum Room {
    /// There is nothing yet.
    Nothing,
    /// A folder that is empty, or what a killed restore left.
    Folder,
}

fn room(root: &Path) -> Result<Room, FolderError> {
    const OURS: [&str; 8] = [
        BEGUN,
        "keys",
        "tls",
        "config.toml",
        "config.new",
        "store.redb",
        "version",
        "version.new",
    ];
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Room::Nothing),
        Err(error) => return Err(io_error("list", root)(error)),
    };
    let names: Vec<String> = entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()
        .map_err(io_error("list", root))?;
    let ours = names.iter().all(|name| OURS.contains(&name.as_str()));
    if names.is_empty() || (ours && root.join(BEGUN).exists()) {
        Ok(Room::Folder)
    } else {
        Err(FolderError::Exists(root.to_owned()))
    }
}

impl Begun {
    /// Whether there is room for a restore at `root`; nothing is touched.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn check(root: &Path) -> Result<(), FolderError> {
        room(root).map(drop)
    }

    /// Begins at `root`, which must not exist, be empty, or be what a killed restore left.
    ///
    /// # Errors
    /// When there is something else already, another restore is at work there, or the operating system refuses.
    pub fn begin(root: &Path) -> Result<Self, FolderError> {
        let marker = root.join(BEGUN);
        match room(root)? {
            Room::Nothing => make_dir(root)?,
            Room::Folder => fs::set_permissions(root, fs::Permissions::from_mode(0o700))
                .map_err(io_error("chmod", root))?,
        }
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&marker)
            .map_err(io_error("write", &marker))?;
        let lock = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock)
            .map_err(|_| FolderError::Busy(root.to_owned()))?;
        // Killed between the version and the marker: it was finished. Whoever finished it first holds no lock any more.
        if root.join("version").exists() {
            fs::remove_file(&marker).map_err(io_error("remove", &marker))?;
            return Err(FolderError::Exists(root.to_owned()));
        }
        let begun = Self {
            folder: Folder {
                root: root.to_owned(),
            },
            _lock: lock,
        };
        begun.clear()?;
        for sub in ["keys", "tls"] {
            make_dir(&root.join(sub))?;
        }
        Ok(begun)
    }

    /// The folder so far.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Everything is in it: from now on it counts.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn seal(self) -> Result<Folder, FolderError> {
        let root = self.folder.root();
        // The store and the folders were made beside each other: their names must survive a power cut as the version's does.
        for dir in [root.to_owned(), root.join("keys"), root.join("tls")] {
            fs::File::open(&dir)
                .and_then(|dir| dir.sync_all())
                .map_err(io_error("sync", &dir))?;
        }
        self.folder.seal()?;
        let marker = root.join(BEGUN);
        fs::remove_file(&marker).map_err(io_error("remove", &marker))?;
        Ok(self.folder)
    }

    /// Takes away what was begun; the folder itself stays.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn abandon(self) -> Result<(), FolderError> {
        self.clear()?;
        let marker = self.folder.root.join(BEGUN);
        fs::remove_file(&marker).map_err(io_error("remove", &marker))
    }

    fn clear(&self) -> Result<(), FolderError> {
        let root = &self.folder.root;
        for entry in fs::read_dir(root).map_err(io_error("list", root))? {
            let path = entry.map_err(io_error("list", root))?.path();
            if path.ends_with(BEGUN) {
                continue;
            }
            if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            }
            .map_err(io_error("remove", &path))?;
        }
        Ok(())
    }
}

fn make_dir(path: &Path) -> Result<(), FolderError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error("make", path))
}

fn check_mode(path: &Path, widest: u32) -> Result<(), FolderError> {
    let meta = fs::symlink_metadata(path).map_err(io_error("look at", path))?;
    let mode = meta.permissions().mode() & 0o7777;
    if meta.file_type().is_symlink() || mode & !widest != 0 {
        return Err(FolderError::Mode {
            path: path.to_owned(),
            mode,
            wanted: widest,
        });
    }
    let me = nix::unistd::geteuid().as_raw();
    if meta.uid() != me {
        return Err(FolderError::Owner {
            path: path.to_owned(),
            owner: meta.uid(),
        });
    }
    Ok(())
}

/// Who else may touch a file that an operator keeps elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// Read it: a configuration.
    Read,
    /// Nothing, but its group may read it: a TLS key, as Debian's `ssl-cert` group does.
    GroupReads,
}

/// Checks a file outside the data folder: its owner is root or the server's user, and others may do no more than said (S6).
///
/// # Errors
/// When they may, or when it cannot be looked at.
pub fn check_outside(path: &Path, others: Others) -> Result<(), FolderError> {
    // The file itself counts, whoever made a link to it: certbot's `live` folder is full of them.
    let meta = fs::metadata(path).map_err(io_error("look at", path))?;
    let mode = meta.permissions().mode() & 0o7777;
    let widest = match others {
        Others::Read => 0o755,
        Others::GroupReads => 0o740,
    };
    if mode & !widest != 0 {
        return Err(FolderError::Mode {
            path: path.to_owned(),
            mode,
            wanted: mode & widest,
        });
    }
    let owner = meta.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return Err(FolderError::Owner {
            path: path.to_owned(),
            owner,
        });
    }
    Ok(())
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h8_what_a_killed_restore_left_is_taken_away_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("ca");
        let begun = Begun::begin(&root).unwrap();
        begun.folder().write("config.toml", b"x").unwrap();
        fs::write(begun.folder().store(), "half").unwrap();
        assert!(matches!(Begun::begin(&root), Err(FolderError::Busy(_))));
        drop(begun);
        let again = Begun::begin(&root).unwrap();
        assert!(!again.folder().config().exists() && !again.folder().store().exists());
        again.seal().unwrap();
        assert!(Folder::open(&root).is_ok());
        assert!(matches!(Begun::begin(&root), Err(FolderError::Exists(_))));

        let used = dir.path().join("used");
        fs::create_dir(&used).unwrap();
        fs::write(used.join("config.toml"), "somebody's").unwrap();
        assert!(matches!(Begun::begin(&used), Err(FolderError::Exists(_))));
        fs::write(used.join(BEGUN), "").unwrap();
        fs::write(used.join("letters"), "somebody's").unwrap();
        assert!(matches!(Begun::begin(&used), Err(FolderError::Exists(_))));
        assert!(used.join("config.toml").exists());
    }

    fn made() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("ca");
        let folder = Folder::create(&root).unwrap();
        folder.write("keys/user_ca", b"x").unwrap();
        folder.seal().unwrap();
        (dir, folder)
    }

    #[test]
    fn s6_everything_is_made_for_the_owner_only() {
        let (_dir, folder) = made();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder.root()), 0o700);
        assert_eq!(mode(&folder.root().join("keys")), 0o700);
        assert_eq!(mode(&folder.key("user_ca")), 0o600);
        assert!(Folder::open(folder.root()).is_ok());
    }

    #[test]
    fn k2_a_wider_mode_is_refused() {
        for (name, mode) in [
            (".", 0o750),
            ("keys", 0o755),
            ("keys/user_ca", 0o640),
            ("keys/user_ca", 0o604),
        ] {
            let (_dir, folder) = made();
            fs::set_permissions(folder.root().join(name), fs::Permissions::from_mode(mode))
                .unwrap();
            assert!(
                matches!(Folder::open(folder.root()), Err(FolderError::Mode { .. })),
                "{name} {mode:o}"
            );
        }
    }

    #[test]
    fn s6_what_an_operator_keeps_elsewhere_is_looked_at_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "x").unwrap();
        for (others, mode, fine) in [
            (Others::Read, 0o644, true),
            (Others::Read, 0o600, true),
            (Others::Read, 0o664, false),
            (Others::Read, 0o646, false),
            (Others::GroupReads, 0o640, true),
            (Others::GroupReads, 0o644, false),
            (Others::GroupReads, 0o660, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                check_outside(&path, others).is_ok(),
                fine,
                "{others:?} {mode:o}"
            );
        }
        assert!(check_outside(&dir.path().join("none"), Others::Read).is_err());
    }

    #[test]
    fn another_version_a_missing_folder_and_a_used_one_are_told_apart() {
        let (_dir, folder) = made();
        assert!(matches!(
            Folder::create(folder.root()),
            Err(FolderError::Exists(_))
        ));
        folder.write("version", b"ssh-ca data folder v9\n").unwrap();
        assert!(matches!(
            Folder::open(folder.root()),
            Err(FolderError::Version { .. })
        ));
        let nothing = folder.root().join("nothing");
        assert!(matches!(
            Folder::open(&nothing),
            Err(FolderError::Missing(_))
        ));
    }
}
