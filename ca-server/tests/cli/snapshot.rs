//! Compares text with a file in `tests/snapshots`; `UPDATE_SNAPSHOTS=1 cargo test` writes the files anew.

use std::{fs, path::Path};

/// Fails if `text` (its colours taken away) is not what the file holds.
pub fn check(name: &str, text: &str) {
    let text = anstream::adapter::strip_str(text).to_string();
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/snapshots")
        .join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, &text).expect("the snapshot is written");
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == expected,
        "{} differs.\n--- expected\n{expected}\n--- found\n{text}\n(UPDATE_SNAPSHOTS=1 accepts it)",
        path.display()
    );
}
