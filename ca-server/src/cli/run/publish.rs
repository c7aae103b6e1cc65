//! Writes the tree that machines fetch from: each file whole or not at all, the hint after what it names, and nothing twice.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ca_api::admin::{AdminReply, PublishedMachine};
use sha2::{Digest, Sha256};

use crate::cli::{
    output::{Failure, Style, print},
    text::{count, line},
};

/// What became of the tree.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// Machine, place, and the files that were written; none where all stood there already.
    machines: Vec<(String, String, Vec<String>)>,
    /// Places that are wanted no longer, and were removed.
    removed: Vec<String>,
    /// Places that are wanted no longer, but hold something that is not the CA's.
    left: Vec<String>,
}

/// The names that this program gives to files, and may remove.
const NAMES: [&str; 5] = ["head", "krl", "bundle", "successions", "order"];
/// No file of the tree is larger.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// What a file is called until it is whole.
const HALF: &str = ".ssh-ca-half-";

fn failed(what: &str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let text = format!("cannot {what} {}", path.display());
    move |error| {
        let mut failure = Failure::new("file", format!("{text}: {error}"));
        failure.hint = "What was written before is whole; mend this and run it again.".to_owned();
        failure
    }
}

fn odd() -> Failure {
    Failure::new(
        "bad_answer",
        "the server answered another question than it was asked; are they of the same version?",
    )
}

/// Is this the name of a machine's folder? Nothing else is ever written or removed.
fn is_place(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Makes `folder` hold what `index` says; `fetch` gets the files of one machine.
pub(super) fn write(
    folder: &Path,
    index: &[PublishedMachine],
    mut fetch: impl FnMut(&str) -> Result<AdminReply, Failure>,
) -> Result<Published, Failure> {
    let root = folder.join("v1");
    make_folder(folder)?;
    make_folder(&root)?;
    let mut published = Published::default();
    for machine in index {
        if !is_place(&machine.place) {
            return Err(odd());
        }
        let place = root.join(&machine.place);
        let written = if stands(&place, machine) {
            Vec::new()
        } else {
            let AdminReply::PublishedFiles(files) = fetch(&machine.machine)? else {
                return Err(odd());
            };
            // Its own folder and no other, whatever the answer says.
            if files.place != machine.place {
                return Err(odd());
            }
            make_folder(&place)?;
            let mut written = Vec::new();
            for (name, text) in &files.files {
                if !NAMES.contains(&name.as_str()) {
                    return Err(odd());
                }
                let bytes = STANDARD.decode(text).map_err(|_| odd())?;
                if write_whole(&place, name, &bytes)? {
                    written.push(name.clone());
                }
            }
            written
        };
        remove_halves(&place);
        published
            .machines
            .push((machine.machine.clone(), machine.place.clone(), written));
    }
    remove_others(&root, index, &mut published)?;
    Ok(published)
}

/// Does every file stand there, byte for byte?
fn stands(place: &Path, machine: &PublishedMachine) -> bool {
    machine.files.iter().all(|file| {
        served(&place.join(&file.name)).is_ok_and(|bytes| {
            data_encoding::HEXLOWER.encode(&Sha256::digest(&bytes)) == file.sha256
        })
    })
}

/// What a file holds that everybody may read. A link, a pipe or a device that somebody put in its place is neither followed nor
/// waited for, and read no further than a file of ours goes.
fn served(path: &Path) -> io::Result<Vec<u8>> {
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.permissions().mode() & 0o444 != 0o444 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(failed("make the folder", path))?;
    // A web server reads it as another user. The folder that was opened and no other: whoever owns the one above, as the web server's user
    // may, could put a link to anything in its place.
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_DIRECTORY)
        .open(path)
        .and_then(|made| made.set_permissions(fs::Permissions::from_mode(0o755)))
        .map_err(failed("open to readers the folder", path))
}

/// Whether it had to be written. Whoever reads the path sees the old content or the new, never a part.
fn write_whole(place: &Path, name: &str, bytes: &[u8]) -> Result<bool, Failure> {
    let path = place.join(name);
    let mode = |path: &Path| fs::metadata(path).map(|found| found.permissions().mode() & 0o777);
    if served(&path).is_ok_and(|there| there == bytes) && mode(&path).is_ok_and(|m| m == 0o644) {
        return Ok(false);
    }
    let cannot = || failed("write", &path);
    let mut file = tempfile::Builder::new()
        .prefix(HALF)
        .tempfile_in(place)
        .map_err(cannot())?;
    file.write_all(bytes).map_err(cannot())?;
    // Of the file itself, not of what its name leads to by now.
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))
        .map_err(cannot())?;
    file.as_file().sync_all().map_err(cannot())?;
    file.persist(&path)
        .map_err(|error| failed("write", &path)(error.error))?;
    sync(place)?;
    Ok(true)
}

fn sync(folder: &Path) -> Result<(), Failure> {
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("write", folder))
}

/// What a killed run left behind.
fn remove_halves(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(HALF) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// Folders of machines that fetch no longer: the CA's own files in them, and the folder if nothing else is in it.
fn remove_others(
    root: &Path,
    index: &[PublishedMachine],
    published: &mut Published,
) -> Result<(), Failure> {
    let mut places: Vec<(String, PathBuf)> = fs::read_dir(root)
        .map_err(failed("list", root))?
        .flatten()
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                entry.path(),
            )
        })
        .filter(|(name, path)| is_place(name) && path.is_dir() && !path.is_symlink())
        .filter(|(name, _)| index.iter().all(|machine| machine.place != *name))
        .collect();
    places.sort();
    for (name, path) in places {
        remove_halves(&path);
        // The hint first: nobody is sent after a file that is gone.
        for file in NAMES {
            match fs::remove_file(path.join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", &path.join(file))(error));
                }
                _ => {}
            }
        }
        match fs::remove_dir(&path) {
            Ok(()) => published.removed.push(name),
            Err(_) => published.left.push(name),
        }
    }
    sync(root)
}

/// Says what was done.
pub(super) fn tell(
    published: &Published,
    folder: &Path,
    style: Style,
    quiet: bool,
) -> Result<(), Failure> {
    if style == Style::Json {
        let machines: Vec<_> = published
            .machines
            .iter()
            .map(|(machine, place, written)| {
                serde_json::json!({ "machine": machine, "path": format!("v1/{place}"), "written": written })
            })
            .collect();
        let value = serde_json::json!({
            "folder": folder, "machines": machines, "removed": published.removed, "left": published.left,
        });
        return print(&format!("{value:#}\n"));
    }
    if quiet {
        return Ok(());
    }
    if published.machines.is_empty() && published.removed.is_empty() {
        return print(
            "No machine fetches from a published tree. One that shall: bootstrap add-machine NAME --pull URL\n",
        );
    }
    let changed: Vec<_> = published
        .machines
        .iter()
        .filter(|(_, _, written)| !written.is_empty())
        .collect();
    let mut out = String::new();
    for (machine, place, written) in &changed {
        out.push_str(&format!(
            "{}: v1/{place} ({})\n",
            line(machine),
            line(&written.join(", "))
        ));
    }
    for place in &published.removed {
        out.push_str(&format!("removed: v1/{place} (no machine fetches it)\n"));
    }
    for place in &published.left {
        out.push_str(&format!(
            "left: v1/{place} holds files that are not the CA's; remove it yourself\n"
        ));
    }
    out.push_str(&format!(
        "{} in {}: {} changed, {} as before.\n",
        count(published.machines.len(), "machine"),
        folder.display(),
        changed.len(),
        published.machines.len() - changed.len()
    ));
    print(&out)
}

#[cfg(test)]
mod tests {
    use ca_api::admin::{PublishedFile, PublishedFiles};

    use super::*;

    fn machine(name: &str, place: char, text: &str) -> (PublishedMachine, PublishedFiles) {
        let place = place.to_string().repeat(32);
        let names = ["successions", "krl", "order", "bundle", "head"];
        let content = |name: &str| format!("{name} of {text}");
        let index = PublishedMachine {
            machine: name.to_owned(),
            place: place.clone(),
            files: names
                .iter()
                .map(|file| PublishedFile {
                    name: (*file).to_owned(),
                    sha256: data_encoding::HEXLOWER.encode(&Sha256::digest(content(file))),
                })
                .collect(),
        };
        let files = PublishedFiles {
            machine: name.to_owned(),
            place,
            files: names
                .iter()
                .map(|file| ((*file).to_owned(), STANDARD.encode(content(file))))
                .collect(),
        };
        (index, files)
    }

    fn publish(folder: &Path, all: &[(PublishedMachine, PublishedFiles)]) -> Published {
        let index: Vec<_> = all.iter().map(|(index, _)| index.clone()).collect();
        write(folder, &index, |name| {
            let found = all.iter().find(|(index, _)| index.machine == name).unwrap();
            Ok(AdminReply::PublishedFiles(found.1.clone()))
        })
        .unwrap()
    }

    #[test]
    fn h8_publishing_again_writes_nothing_and_what_is_broken_or_half_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("www");
        let all = [machine("web-1", 'a', "one"), machine("web-2", 'b', "two")];
        let first = publish(&folder, &all);
        assert!(
            first
                .machines
                .iter()
                .all(|(_, _, written)| written.len() == 5)
        );
        let again = publish(&folder, &all);
        assert!(
            again
                .machines
                .iter()
                .all(|(_, _, written)| written.is_empty())
        );
        let place = folder.join("v1").join("a".repeat(32));
        // Whoever owns the folder may put anything there: a pipe is not waited for.
        fs::remove_file(place.join("bundle")).unwrap();
        nix::unistd::mkfifo(
            &place.join("bundle"),
            nix::sys::stat::Mode::from_bits_truncate(0o644),
        )
        .unwrap();
        let mended = publish(&folder, &all);
        assert_eq!(mended.machines[0].2, ["bundle"]);
        assert_eq!(fs::read(place.join("bundle")).unwrap(), b"bundle of one");
        fs::write(place.join("krl"), "flipped").unwrap();
        fs::write(place.join(format!("{HALF}x")), "half").unwrap();
        fs::set_permissions(place.join("head"), fs::Permissions::from_mode(0o600)).unwrap();
        let mended = publish(&folder, &all);
        assert_eq!(mended.machines[0].2, ["krl", "head"]);
        assert!(mended.machines[1].2.is_empty());
        let mut names: Vec<_> = fs::read_dir(&place)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["bundle", "head", "krl", "order", "successions"]);
        for (path, mode) in [(place.join("head"), 0o644), (place, 0o755), (folder, 0o755)] {
            assert_eq!(
                fs::metadata(path).unwrap().permissions().mode() & 0o777,
                mode
            );
        }
    }

    #[test]
    fn what_is_wanted_no_longer_is_removed_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let all = [machine("web-1", 'a', "one"), machine("web-2", 'b', "two")];
        publish(dir.path(), &all);
        let foreign = dir.path().join("v1").join("c".repeat(32));
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("index.html"), "mine").unwrap();
        fs::write(dir.path().join("v1/robots.txt"), "mine").unwrap();
        let second = publish(dir.path(), &all[..1]);
        assert_eq!(second.removed, ["b".repeat(32)]);
        assert_eq!(second.left, ["c".repeat(32)]);
        assert!(foreign.join("index.html").exists() && dir.path().join("v1/robots.txt").exists());
        assert!(!dir.path().join("v1").join("b".repeat(32)).exists());
    }

    #[test]
    fn s6_whoever_owns_the_web_servers_folder_opens_no_other_file_through_a_link() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("shadow");
        fs::write(&victim, "secret").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
        let place = dir.path().join("place");
        fs::create_dir(&place).unwrap();
        let over = AtomicBool::new(false);
        let bytes = vec![7; 1 << 22];
        let began = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            // The web server's user: puts a link where the half file stands.
            scope.spawn(|| {
                began.wait();
                while !over.load(Ordering::Relaxed) {
                    for entry in fs::read_dir(&place).into_iter().flatten().flatten() {
                        if entry.file_name().to_string_lossy().starts_with(HALF) {
                            let link = place.join("link");
                            drop(std::os::unix::fs::symlink(&victim, &link));
                            drop(fs::rename(&link, entry.path()));
                        }
                    }
                }
            });
            began.wait();
            for round in 0..40 {
                // It may fail: what he takes away is his.
                drop(write_whole(&place, &format!("krl{round}"), &bytes));
            }
            over.store(true, Ordering::Relaxed);
        });
        let mode = fs::metadata(&victim).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    }

    #[test]
    fn k5_no_answer_writes_outside_its_machines_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (index, files) = machine("web-1", 'a', "one");
        let refused = |index: &PublishedMachine, files: &PublishedFiles| {
            let reply = AdminReply::PublishedFiles(files.clone());
            write(dir.path(), std::slice::from_ref(index), |_| {
                Ok(reply.clone())
            })
            .is_err()
        };
        for place in ["../../etc", "", "a/b", &"A".repeat(32), &"a".repeat(33)] {
            let mut index = index.clone();
            index.place = place.to_owned();
            assert!(refused(&index, &files), "{place}");
            let mut files = files.clone();
            files.place = place.to_owned();
            assert!(refused(&machine("web-1", 'a', "one").0, &files), "{place}");
        }
        for name in ["../x", "index.html", "/etc/passwd", ""] {
            let mut files = files.clone();
            files.files[0].0 = name.to_owned();
            assert!(refused(&index, &files), "{name}");
        }
    }
}
