//! What `authorized_keys` lists is what the real `ssh-keygen -l -f` lists: types, sizes, fingerprints, also of damaged files.

use std::{fs, path::Path, process::Command};

use policies::import::{Imported, KeyType, authorized_keys};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use tempfile::TempDir;

fn keygen(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("ssh-keygen")
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Size, fingerprint, type of each key that `ssh-keygen` finds; none if it finds no key.
fn listed(folder: &Path, bytes: &[u8]) -> Vec<String> {
    fs::write(folder.join("listed"), bytes).unwrap();
    let output = Command::new("ssh-keygen")
        .args(["-l", "-f", "listed"])
        .current_dir(folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |line: &str| {
        let mut words = line.split(' ');
        let (bits, fingerprint) = (words.next().unwrap(), words.next().unwrap());
        let kind = line.rsplit(' ').next().unwrap().trim_matches(['(', ')']);
        format!("{bits} {fingerprint} {kind}")
    };
    text.lines()
        .filter(|text| text.contains(" SHA256:"))
        .map(line)
        .collect()
}

fn ours(imported: &Imported) -> Vec<String> {
    let keys = imported.static_keys.iter();
    keys.map(|key| format!("{} {} {}", key.bits, key.fingerprint, key.key_type.as_str()))
        .collect()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Fields as SSH writes them.
fn blob(fields: &[&[u8]]) -> Vec<u8> {
    let each = fields.iter().flat_map(|field| {
        let length = u32::try_from(field.len()).unwrap().to_be_bytes();
        length.into_iter().chain(field.iter().copied())
    });
    each.collect()
}

/// One key of each type that can be made here, certificates too, as lines.
fn every_type(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    keygen(
        folder,
        &["-q", "-t", "ed25519", "-N", "", "-C", "the CA", "-f", "ca"],
    );
    for (name, kind, bits) in [
        ("ed25519", "ed25519", ""),
        ("rsa1024", "rsa", "1024"),
        ("rsa3072", "rsa", "3072"),
        ("p256", "ecdsa", "256"),
        ("p384", "ecdsa", "384"),
        ("p521", "ecdsa", "521"),
    ] {
        let mut args = vec![
            "-q",
            "-t",
            kind,
            "-N",
            "",
            "-C",
            "some body@host",
            "-f",
            name,
        ];
        if !bits.is_empty() {
            args.extend(["-b", bits]);
        }
        keygen(folder, &args);
        lines.push(fs::read_to_string(folder.join(format!("{name}.pub"))).unwrap());
        keygen(
            folder,
            &[
                "-q",
                "-s",
                "ca",
                "-I",
                "id",
                "-n",
                "x",
                &format!("{name}.pub"),
            ],
        );
        lines.push(fs::read_to_string(folder.join(format!("{name}-cert.pub"))).unwrap());
    }
    // Security keys cannot be made without one: their bytes are those of plain keys with an application behind (PROTOCOL.u2f).
    let field = |name: &str| {
        let text = fs::read_to_string(folder.join(format!("{name}.pub"))).unwrap();
        let mut parts = Vec::new();
        let bytes = {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD
                .decode(text.split(' ').nth(1).unwrap())
                .unwrap()
        };
        let mut rest = bytes.as_slice();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (part, after) = after.split_at(u32::from_be_bytes(*length) as usize);
            parts.push(part.to_vec());
            rest = after;
        }
        parts
    };
    let sk_ed25519 = blob(&[b"sk-ssh-ed25519@openssh.com", &field("ed25519")[1], b"ssh:"]);
    lines.push(format!(
        "sk-ssh-ed25519@openssh.com {} token\n",
        base64(&sk_ed25519)
    ));
    let sk_p256 = blob(&[
        b"sk-ecdsa-sha2-nistp256@openssh.com",
        b"nistp256",
        &field("p256")[2],
        b"ssh:",
    ]);
    lines.push(format!(
        "sk-ecdsa-sha2-nistp256@openssh.com {}\n",
        base64(&sk_p256)
    ));
    let at = lines.len() - 2;
    for (name, line) in [("sk-ed25519", &lines[at]), ("sk-p256", &lines[at + 1])] {
        fs::write(folder.join(format!("{name}.pub")), line).unwrap();
    }
    for name in ["sk-ed25519", "sk-p256"] {
        keygen(
            folder,
            &[
                "-q",
                "-s",
                "ca",
                "-I",
                "id",
                "-n",
                "x",
                &format!("{name}.pub"),
            ],
        );
        lines.push(fs::read_to_string(folder.join(format!("{name}-cert.pub"))).unwrap());
    }
    lines
}

#[test]
fn every_type_of_key_is_listed_as_ssh_keygen_lists_it() {
    let folder = TempDir::new().unwrap();
    let lines = every_type(folder.path());
    let options = [
        "",
        "restrict ",
        "  no-pty,command=\"echo \\\"ssh-ed25519 x\\\"\" ",
        "\tcert-authority,from=\"10.0.0.0/8\" ",
    ];
    let mut text = "# keys\n\n".to_owned();
    for (at, line) in lines.iter().enumerate() {
        text.push_str(options[at % options.len()]);
        text.push_str(line);
        text.push_str("not a key at all\n");
    }
    let imported = authorized_keys("f", None, text.as_bytes());
    let found = ours(&imported);
    assert_eq!(found, listed(folder.path(), text.as_bytes()));
    assert_eq!(found.len(), lines.len());
    let kinds: Vec<&str> = imported
        .static_keys
        .iter()
        .map(|key| key.key_type.as_str())
        .collect();
    for kind in [
        "RSA",
        "ECDSA",
        "ED25519",
        "ECDSA-SK",
        "ED25519-SK",
        "RSA-CERT",
        "ECDSA-CERT",
        "ED25519-CERT",
        "ECDSA-SK-CERT",
        "ED25519-SK-CERT",
    ] {
        assert!(kinds.contains(&kind), "{kind}");
    }
    let weak: Vec<&str> = imported
        .notes
        .iter()
        .map(|note| note.sentence.as_str())
        .filter(|told| told.contains("1024 bits"))
        .collect();
    assert_eq!(weak.len(), 2, "{weak:?}");
    assert!(
        imported
            .static_keys
            .iter()
            .all(|key| key.key_type.is_certificate() == key.key_type.as_str().ends_with("-CERT"))
    );
    assert!(KeyType::Ed25519Sk.is_security_key() && !KeyType::Ed25519.is_security_key());
}

#[test]
fn files_with_windows_line_ends_and_without_a_last_one_are_the_same_to_both() {
    let folder = TempDir::new().unwrap();
    keygen(
        folder.path(),
        &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "a"],
    );
    let line = fs::read_to_string(folder.path().join("a.pub")).unwrap();
    let line = line.trim();
    for text in [
        line.to_owned(),
        format!("{line}\r\n"),
        format!("{line} x\r\n{line}\t\ty"),
        format!("restrict\t{line}\r\n"),
    ] {
        let imported = authorized_keys("f", None, text.as_bytes());
        assert_eq!(
            ours(&imported),
            listed(folder.path(), text.as_bytes()),
            "{text:?}"
        );
        assert!(!imported.static_keys.is_empty());
    }
}

#[test]
fn a_key_with_bytes_behind_it_is_none_to_both() {
    let folder = TempDir::new().unwrap();
    let whole = blob(&[b"ssh-ed25519", &[7; 32]]);
    let longer = [whole.as_slice(), b"abc"].concat();
    for (bytes, count) in [(whole, 1), (longer, 0)] {
        let line = format!("ssh-ed25519 {}\n", base64(&bytes));
        let imported = authorized_keys("f", None, line.as_bytes());
        assert_eq!(imported.static_keys.len(), count);
        assert_eq!(ours(&imported), listed(folder.path(), line.as_bytes()));
        assert_eq!(imported.notes.len(), 1 - count);
    }
}

#[test]
fn damaged_files_are_read_as_ssh_keygen_reads_them() {
    let folder = TempDir::new().unwrap();
    let lines = every_type(folder.path());
    let mut runner = TestRunner::deterministic();
    let damage = (
        0usize..lines.len(),
        any::<proptest::sample::Index>(),
        prop::sample::select(vec![
            " ", "\t", "\"", "\\\"", "A", "=", "#", ",", "", "\n", "no-pty ",
        ]),
        0usize..3,
        0usize..4,
    );
    let (mut refused, mut read) = (0, 0);
    for _ in 0..200 {
        // Several damaged lines a file, so that few processes are started.
        let mut text = String::new();
        for _ in 0..8 {
            let (at, place, with, cut, whereabouts) =
                damage.new_tree(&mut runner).unwrap().current();
            let mut line = lines[at].clone();
            // Most of a line is base64, where damage is of one kind only.
            let place = match whereabouts {
                0 => place.index(line.len()),
                1 => line.len() - 1 - place.index(20),
                _ => place.index(30),
            };
            let end = (place + cut).min(line.len());
            line.replace_range(place..end, with);
            text.push_str(&line);
            text.push('\n');
        }
        let imported = authorized_keys("f", None, text.as_bytes());
        let (ours, theirs) = (ours(&imported), listed(folder.path(), text.as_bytes()));
        // Nothing that OpenSSH takes for a key is ever missed. (A point that is not on its curve, or a certificate with a broken
        // signature, is listed here and refused there: a list may say more.)
        for key in &theirs {
            assert!(ours.contains(key), "{key} is missed in {text:?}: {ours:?}");
        }
        read += theirs.len();
        refused += imported.notes.len();
    }
    assert!(read > 200 && refused > 200, "{read} {refused}");
}
