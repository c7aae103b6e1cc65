//! Keys at rest, and what the store says of them.

use super::*;
use crate::{
    ledger::CaId,
    store::{MemoryBackend, Table},
};
use rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding};

fn made() -> (tempfile::TempDir, Folder, Db, Secret) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::create(&dir.path().join("ca")).unwrap();
    let passphrase = Secret::new("correct horse battery".into());
    let created = create(&folder, &passphrase).unwrap();
    let db = Db::create(Arc::new(MemoryBackend::default()), CaId([7; 16])).unwrap();
    let first: Vec<KeyRecord> = created
        .first
        .iter()
        .map(|(purpose, key)| KeyRecord::first(*purpose, key, 1))
        .collect();
    adopt(&db, &first, 1).unwrap();
    (dir, folder, db, passphrase)
}

fn names() -> Vec<&'static str> {
    FIXED
        .into_iter()
        .chain(Purpose::ALL.map(Purpose::name))
        .collect()
}

#[test]
fn k2_keys_are_encrypted_at_rest_and_a_wrong_passphrase_opens_none() {
    let (_dir, folder, db, right) = made();
    for name in names() {
        let text = String::from_utf8(folder.read(&format!("keys/{name}")).unwrap()).unwrap();
        assert!(
            PrivateKey::from_openssh(&text).unwrap().is_encrypted(),
            "{name}"
        );
    }
    assert!(matches!(
        KeyRoom::open(&folder, &Secret::new("wrong".into()), &db, 1),
        Err(KeysError::WrongPassphrase(_))
    ));
    assert!(KeyRoom::open(&folder, &right, &db, 1).is_ok());
}

#[test]
fn k2_a_key_without_encryption_is_refused() {
    let (_dir, folder, db, passphrase) = made();
    let plain = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
    folder
        .write(
            "keys/fleet",
            plain.to_openssh(LineEnding::LF).unwrap().as_bytes(),
        )
        .unwrap();
    assert!(matches!(
        KeyRoom::open(&folder, &passphrase, &db, 1),
        Err(KeysError::NotEncrypted(_))
    ));
}

#[test]
fn k6_every_purpose_has_a_key_of_its_own_and_another_file_is_found_out() {
    let (_dir, folder, db, passphrase) = made();
    let publics: std::collections::BTreeSet<_> = names()
        .into_iter()
        .map(|name| {
            let text =
                String::from_utf8(folder.read(&format!("keys/{name}.pub")).unwrap()).unwrap();
            text.split(' ').nth(1).unwrap().to_owned()
        })
        .collect();
    assert_eq!(publics.len(), names().len());
    let host = folder.read("keys/host_ca").unwrap();
    folder.write("keys/user_ca", &host).unwrap();
    assert!(matches!(
        KeyRoom::open(&folder, &passphrase, &db, 1),
        Err(KeysError::OtherKey { .. })
    ));
}

#[test]
fn a_store_that_knew_nothing_of_keys_learns_them_once() {
    let (_dir, folder, _, passphrase) = made();
    let db = Db::create(Arc::new(MemoryBackend::default()), CaId([8; 16])).unwrap();
    let room = KeyRoom::open(&folder, &passphrase, &db, 5).unwrap();
    let first = room.keys();
    assert_eq!(
        first.ca_id(),
        first.user_ca.current_held().fingerprint(),
        "the CA keeps the name that it had"
    );
    let entries = db.snapshot().unwrap().head().entries;
    let again = KeyRoom::with(&folder, &passphrase, &db, 6, room.share()).unwrap();
    assert_eq!(again.keys().ca_id(), first.ca_id());
    assert_eq!(db.snapshot().unwrap().head().entries, entries);
}

#[test]
fn i8_a_key_stays_the_cas_own_for_ever_and_its_name_does_not_change() {
    let (_dir, folder, db, passphrase) = made();
    let room = KeyRoom::open(&folder, &passphrase, &db, 1).unwrap();
    let before = room.keys();
    let second = room.make(Purpose::UserCa, 2).unwrap();
    assert!(
        before.user_ca.next().is_none() && room.keys().user_ca.next().is_none(),
        "a file that the store does not name is nothing"
    );
    let lives = [
        KeyRecord {
            life: Life::Retired,
            ..before.user_ca.current_held().record().clone()
        },
        KeyRecord {
            life: Life::Current,
            ..KeyRecord::next(Purpose::UserCa, 2, &second, 2)
        },
    ];
    adopt(&db, &lives, 2).unwrap();
    let view = db.snapshot().unwrap();
    assert_ne!(view.revision(TableGroup::Keys).unwrap(), before.revision());
    assert_eq!(
        room.at(&view).unwrap().user_ca.current().public_key(),
        second.key_data()
    );
    let after = room.refresh(&db).unwrap();
    assert_eq!(after.ca_id(), before.ca_id());
    assert_eq!(after.user_ca.current().public_key(), second.key_data());
    assert_eq!(after.user_ca.trusted().len(), 1);
    let old = before.user_ca.current().public_key();
    assert!(after.own().any(|key| key == old));
    // The file of the second generation is encrypted with the same passphrase, and is opened at the next start.
    let again = KeyRoom::open(&folder, &passphrase, &db, 3).unwrap();
    assert_eq!(
        again.keys().user_ca.current().public_key(),
        second.key_data()
    );
    assert!(
        db.snapshot()
            .unwrap()
            .count(Table::Keys, &crate::store::KeyRange::all())
            .unwrap()
            >= 4
    );
}

#[test]
fn s7_what_a_compromised_key_signed_is_believed_of_nobody() {
    let (_dir, folder, db, passphrase) = made();
    let room = KeyRoom::open(&folder, &passphrase, &db, 1).unwrap();
    let first = room.keys().fleet.current_held().record().clone();
    let second = KeyRecord {
        life: Life::Current,
        ..KeyRecord::next(Purpose::Fleet, 2, &room.make(Purpose::Fleet, 2).unwrap(), 2)
    };
    for (life, believed) in [(Life::Retired, 2), (Life::Compromised, 1)] {
        let old = KeyRecord {
            life,
            ..first.clone()
        };
        adopt(&db, &[old, second.clone()], 2).unwrap();
        let keys = room.refresh(&db).unwrap();
        assert_eq!(keys.fleet.believed().count(), believed, "{}", life.word());
        assert_eq!(keys.fleet.all().count(), 2);
    }
}

/// What a server leaves that died after it had found a key elsewhere, and before the store named it.
fn leftover(folder: &Folder, name: &str, seal: &Seal) {
    let other = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
    let place = Place {
        spec: "agent:/nowhere".parse().unwrap(),
        pin: None,
    };
    let key = other.public_key().key_data();
    elsewhere::write(folder, name, &place, key, seal).unwrap();
}

#[test]
fn h8_a_way_to_a_key_that_the_store_never_named_keeps_no_server_from_starting() {
    let (_dir, folder, db, passphrase) = made();
    let room = KeyRoom::open(&folder, &passphrase, &db, 1).unwrap();
    leftover(&folder, "user_ca", &room.keys().seal);
    let again = KeyRoom::open(&folder, &passphrase, &db, 1).unwrap();
    assert!(folder.key("user_ca").exists(), "it was put aside");
    assert_eq!(again.keys().user_ca.current().back_end(), "file");

    // A key of the same number that is made in a file after it.
    leftover(&folder, "fleet.2", &room.keys().seal);
    let second = room.make(Purpose::Fleet, 2).unwrap();
    assert!(!folder.root().join("keys/fleet.2.signer").exists());
    let lives = [
        KeyRecord {
            life: Life::Retiring,
            ..room.keys().fleet.current_held().record().clone()
        },
        KeyRecord {
            life: Life::Current,
            ..KeyRecord::next(Purpose::Fleet, 2, &second, 2)
        },
    ];
    adopt(&db, &lives, 2).unwrap();
    let again = KeyRoom::open(&folder, &passphrase, &db, 3).unwrap();
    assert_eq!(again.keys().fleet.current().public_key(), second.key_data());

    // Nothing but another key's: that is no server's.
    leftover(&folder, "host_ca", &room.keys().seal);
    std::fs::remove_file(folder.key("host_ca")).unwrap();
    assert!(matches!(
        KeyRoom::open(&folder, &passphrase, &db, 3),
        Err(KeysError::OtherKey { .. })
    ));
}

#[test]
fn k4_what_a_move_left_of_a_key_goes_with_it() {
    let (_dir, folder, db, passphrase) = made();
    let room = KeyRoom::open(&folder, &passphrase, &db, 1).unwrap();
    elsewhere::put_aside(&folder, "user_ca").unwrap();
    assert!(folder.root().join(elsewhere::aside("user_ca")).exists());
    let record = room.keys().user_ca.current_held().record().clone();
    room.forget(&record).unwrap();
    assert!(!folder.root().join(elsewhere::aside("user_ca")).exists());
}
