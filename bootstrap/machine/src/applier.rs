//! The scripts that run on a machine: POSIX sh, with nothing but what a stock machine has. Fixed text; data comes on standard input (H6).

/// The KRL that sshd reads on a machine. It belongs to the KRL lane alone; no bundle can name it.
pub const KRL_PATH: &str = "/etc/ssh/ca/revoked.krl";

/// The applier, as it stands at `/var/lib/ssh-ca/applier`.
pub const APPLIER: &str = concat!(
    include_str!("applier/common.sh"),
    include_str!("applier/report.sh"),
    include_str!("applier/krl.sh"),
    include_str!("applier/sessions.sh"),
    include_str!("applier/restore.sh"),
    include_str!("applier/timer.sh"),
    include_str!("applier/bundle.sh"),
    include_str!("applier/validate.sh"),
    include_str!("applier/accounts.sh"),
    include_str!("applier/apply.sh"),
    include_str!("applier/check.sh"),
    include_str!("applier/main.sh"),
);

/// The script that pam_exec runs at session start (R8).
pub const SESSION_RECORD: &str = include_str!("applier/session-record.sh");

/// The read-only look at a machine before anything is changed.
pub const PREFLIGHT: &str = concat!(
    include_str!("applier/common.sh"),
    include_str!("applier/preflight.sh"),
);

/// Marks, in what is sent, where the request to the loader begins: a password line for sudo may stand before it.
const BEGIN: &str = "ssh-ca-begin";

/// What [`loaded`] runs on the machine: it takes the script from standard input into a root-only folder and hands it the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// [`APPLIER`], allowed to trust the fleet keys that come with the request if the machine has none.
    Applier,
    /// [`PREFLIGHT`].
    Preflight,
}

impl Script {
    /// Its text.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Applier => APPLIER,
            Self::Preflight => PREFLIGHT,
        }
    }
}

/// The command for a root shell and the bytes for its standard input, that run `script` with `request` on a machine that has no
/// applier yet. The command is fixed text but for one number.
#[must_use]
pub fn loaded(script: Script, request: &[u8]) -> (String, Vec<u8>) {
    let text = script.text().as_bytes();
    // `dd bs=1` reads not one byte more than the script; `read` likewise. Both matter: the rest belongs to the script.
    let command = format!(
        "umask 077; d=$(mktemp -d /run/ssh-ca-load.XXXXXX || mktemp -d) || exit 1; \
         while IFS= read -r l; do [ \"$l\" = {BEGIN} ] && break; done; \
         dd bs=1 count={} of=\"$d/s\" 2>/dev/null; sh \"$d/s\" first-contact; c=$?; rm -rf \"$d\"; exit $c",
        text.len()
    );
    let mut stdin = format!("{BEGIN}\n").into_bytes();
    stdin.extend_from_slice(text);
    stdin.extend_from_slice(request);
    (command, stdin)
}
