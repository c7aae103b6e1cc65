//! Backups, for people.

use std::path::Path;

use super::table::Fields;
use crate::cli::{args::DEFAULT_DATA, text::shell_word, time::Clock};

/// What is in a backup.
#[derive(Debug, Clone)]
pub struct InBackup<'a> {
    /// The version that made it.
    pub program: &'a str,
    /// When it was made.
    pub made_unix: i64,
    /// The CA's id.
    pub ca: &'a str,
    /// The instance epoch.
    pub instance_epoch: u32,
    /// How many ledger entries.
    pub entries: u64,
    /// The names of the keys in it.
    pub keys: &'a [String],
}

/// When it was made; how long ago that is, unless it was just now.
fn taken(is: &InBackup<'_>, clock: Clock) -> String {
    let at = clock.exact(is.made_unix);
    if is.made_unix >= clock.now.unix_timestamp() {
        return at;
    }
    format!("{at} ({})", clock.distance(is.made_unix))
}

fn fields(title: &str, is: &InBackup<'_>, clock: Clock) -> Fields {
    let keys = if is.keys.is_empty() {
        "none: `keys` and `tls` are kept elsewhere".to_owned()
    } else {
        is.keys.join(", ")
    };
    Fields::new(title)
        .field("made", &taken(is, clock))
        .field("by", &format!("ca-server {}", is.program))
        .field("CA", is.ca)
        .field("epoch", &is.instance_epoch.to_string())
        .field("ledger", &format!("{} entries", is.entries))
        .field("keys", &keys)
}

/// One that was made.
#[must_use]
pub fn made(file: &Path, bytes: u64, is: &InBackup<'_>, clock: Clock) -> String {
    let facts = fields(
        &format!("The backup is {} ({bytes} bytes)", file.display()),
        is,
        clock,
    )
    .render();
    format!(
        "{facts}\nPut it elsewhere, and see that it opens: ca-server backup verify {}\n",
        shell_word(&file.display().to_string())
    )
}

/// One that holds.
#[must_use]
pub fn verified(
    file: &Path,
    is: &InBackup<'_>,
    rows: &[(String, u64)],
    signer: &str,
    clock: Clock,
) -> String {
    let mut fields =
        fields(&format!("{} is whole", file.display()), is, clock).field("signed by", signer);
    for (name, number) in rows {
        let number = number.to_string();
        match name.as_str() {
            "employees" => fields = fields.field("employees", &number),
            "machines" => fields = fields.field("machines", &number),
            "certificates" => fields = fields.field("certificates", &number),
            "revocations" => fields = fields.field("revocations", &number),
            _ => {}
        }
    }
    fields.render()
}

/// One that was put back.
#[must_use]
pub fn restored(
    data: &Path,
    is: &InBackup<'_>,
    epoch: u32,
    machines: usize,
    clock: Clock,
) -> String {
    let shown = data.display().to_string();
    let option = if shown == DEFAULT_DATA {
        String::new()
    } else {
        format!(" --data {}", shell_word(&shown))
    };
    let facts = fields(&format!("Restored into {shown}"), is, clock)
        .field("new epoch", &epoch.to_string())
        .render();
    let machines = match machines {
        0 => String::new(),
        1 => " The machine's own KRL is read before anything is brought to it.".to_owned(),
        some => format!(
            " The KRL of each of the {some} machines is read before anything is brought to it."
        ),
    };
    let word = shell_word(&shown);
    let keys = if is.keys.is_empty() {
        format!(
            "  cp -a KEPT/keys KEPT/tls {word}/     # the backup has no keys: put yours back, files 0600\n"
        )
    } else {
        String::new()
    };
    format!(
        "{facts}\n\
         Every earlier serial is revoked, and everybody logs in once more.{machines}\n\
         The lost server must never run again.\n\n\
         Next:\n{keys}  \
         ca-server serve{option}\n  \
         ca-server recovery show{option}\n  \
         ca-server recovery finish{option}\n"
    )
}
