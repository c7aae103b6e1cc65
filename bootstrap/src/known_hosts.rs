//! What the person's own known_hosts says of a machine, read by OpenSSH's own parser (hashed names included).

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
};

use ssh_key::{Algorithm, PublicKey};
use tokio::process::Command;

use crate::address::Address;

/// A machine's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The key.
    pub key: PublicKey,
    /// The file that says so.
    pub file: PathBuf,
}

/// What the files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Unknown,
    /// This key.
    Known(Box<Known>),
    /// The machine's keys, or one of them, are marked `@revoked`.
    Revoked(PathBuf),
}

/// Looks a machine up in the usual files, by its address and by its name.
pub async fn look_up(address: &Address, name: &str) -> Verdict {
    let home = env::var_os("HOME").map(PathBuf::from);
    let own = home
        .iter()
        .flat_map(|home| ["known_hosts", "known_hosts2"].map(|file| home.join(".ssh").join(file)));
    let system = [PathBuf::from("/etc/ssh/ssh_known_hosts")];
    let files: Vec<PathBuf> = own.chain(system).filter(|path| path.is_file()).collect();
    look_up_in(&files, address, name).await
}

async fn look_up_in(files: &[PathBuf], address: &Address, name: &str) -> Verdict {
    let port = address.port.unwrap_or(22);
    let spelled = |host: &str| {
        if port == 22 {
            host.to_owned()
        } else {
            format!("[{host}]:{port}")
        }
    };
    let mut found: Vec<Known> = Vec::new();
    for file in files {
        for host in [spelled(&address.host), spelled(name)] {
            let text = find(file, &host).await;
            if text.lines().any(|line| line.starts_with("@revoked")) {
                return Verdict::Revoked(file.clone());
            }
            found.extend(keys(&text).map(|key| Known {
                key,
                file: file.clone(),
            }));
        }
    }
    // The machine's Ed25519 key is what the CA certifies; another one still proves who answers.
    let best = found
        .iter()
        .position(|known| known.key.algorithm() == Algorithm::Ed25519)
        .unwrap_or(0);
    match found.into_iter().nth(best) {
        Some(known) => Verdict::Known(Box::new(known)),
        None => Verdict::Unknown,
    }
}

/// `ssh-keygen -F`: the lines for a host; nothing where there are none, or where it cannot be run.
async fn find(file: &Path, host: &str) -> String {
    let found = Command::new("ssh-keygen")
        .arg("-F")
        .arg(host)
        .arg("-f")
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .await;
    found
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

/// The plain keys among the lines: `@cert-authority` says nothing of the machine's own key.
fn keys(text: &str) -> impl Iterator<Item = PublicKey> {
    let plain = text.lines().filter(|line| !line.starts_with(['#', '@']));
    let keys = plain.filter_map(|line| PublicKey::from_openssh(line.split_once(' ')?.1).ok());
    // Without its comment: somebody's free text.
    keys.map(|key| PublicKey::from(key.key_data().clone()))
}

#[cfg(test)]
mod tests {
    use rand_core::OsRng;
    use ssh_key::{EcdsaCurve, PrivateKey};

    use super::*;

    const ED: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIJ59HSVLYQwZ3EiKMcAWcsNbM0Ow8wtFJjQOh8oDGfb";

    async fn verdict(lines: &str, address: &str) -> Verdict {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        std::fs::write(&path, lines).unwrap();
        look_up_in(&[path], &address.parse().unwrap(), "web-1").await
    }

    #[tokio::test]
    async fn h7_a_key_is_found_by_address_name_and_port_and_only_there() {
        for (line, address) in [
            (format!("10.0.0.1 {ED}\n"), "10.0.0.1"),
            (format!("web-1 {ED} comment\n"), "10.0.0.1"),
            (format!("[10.0.0.1]:2222 {ED}\n"), "10.0.0.1:2222"),
        ] {
            assert!(
                matches!(verdict(&line, address).await, Verdict::Known(known) if known.key.to_string() == ED),
                "{line}"
            );
        }
        for (line, address) in [
            (format!("10.0.0.1 {ED}\n"), "10.0.0.1:2222"),
            (format!("10.0.0.2 {ED}\n"), "10.0.0.1"),
            (format!("@cert-authority * {ED}\n"), "10.0.0.1"),
        ] {
            assert_eq!(verdict(&line, address).await, Verdict::Unknown, "{line}");
        }
        let revoked = verdict(&format!("10.0.0.1 {ED}\n@revoked * {ED}\n"), "10.0.0.1").await;
        assert!(matches!(revoked, Verdict::Revoked(_)));
    }

    #[tokio::test]
    async fn the_ed25519_key_is_preferred() {
        let algorithm = Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP256,
        };
        let ecdsa = PrivateKey::random(&mut OsRng, algorithm)
            .unwrap()
            .public_key()
            .to_openssh()
            .unwrap();
        let lines = format!("10.0.0.1 {ecdsa}\n10.0.0.1 {ED}\n");
        assert!(
            matches!(verdict(&lines, "10.0.0.1").await, Verdict::Known(known) if known.key.to_string() == ED)
        );
        let only = verdict(&format!("10.0.0.1 {ecdsa}\n"), "10.0.0.1").await;
        assert!(matches!(only, Verdict::Known(known) if known.key.to_string() == ecdsa));
    }
}
