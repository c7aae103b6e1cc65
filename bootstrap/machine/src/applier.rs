//! The scripts that run on a machine: POSIX sh, with nothing but what a stock machine has. Fixed text; data comes on standard input (H6).

/// The KRL that sshd reads on a machine. It belongs to the KRL lane alone; no bundle can name it.
pub const KRL_PATH: &str = "/etc/ssh/ca/revoked.krl";

/// The applier, as it stands at `/var/lib/ssh-ca/applier`.
pub const APPLIER: &str = concat!(
    include_str!("applier/common.sh"),
    include_str!("applier/report.sh"),
    include_str!("applier/succession.sh"),
    include_str!("applier/krl.sh"),
    include_str!("applier/sessions.sh"),
    // A KRL alone comes to its end here; what follows is not read for it.
    include_str!("applier/begin.sh"),
    include_str!("applier/order.sh"),
    include_str!("applier/restore.sh"),
    include_str!("applier/timer.sh"),
    include_str!("applier/pull.sh"),
    include_str!("applier/bundle.sh"),
    include_str!("applier/validate.sh"),
    include_str!("applier/accounts.sh"),
    include_str!("applier/apply.sh"),
    include_str!("applier/check.sh"),
    include_str!("applier/remove.sh"),
    include_str!("applier/config-files.sh"),
    include_str!("applier/facts.sh"),
    include_str!("applier/keys.sh"),
    include_str!("applier/main.sh"),
);

/// The script that pam_exec runs at session start (R8).
pub const SESSION_RECORD: &str = include_str!("applier/session-record.sh");

/// The script that fetches what the CA wants, where a machine does so itself; a timer runs it.
pub const PULLER: &str = concat!(
    include_str!("applier/common.sh"),
    include_str!("applier/timer.sh"),
    include_str!("applier/pull.sh"),
    include_str!("applier/puller.sh"),
);

/// The read-only look at a machine before anything is changed.
pub const PREFLIGHT: &str = concat!(
    include_str!("applier/common.sh"),
    include_str!("applier/timer.sh"),
    include_str!("applier/config-files.sh"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    fn has(program: &str) -> bool {
        Command::new(program)
            .arg("--help")
            .stdin(Stdio::null())
            .output()
            .is_ok()
    }

    /// What a program says of a script on its standard input; it must say nothing.
    fn says(program: &str, arguments: &[&str], script: &str) -> String {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    #[test]
    fn every_shell_that_a_machine_may_have_takes_the_scripts() {
        for script in [APPLIER, SESSION_RECORD, PULLER, PREFLIGHT] {
            assert_eq!(says("sh", &["-n"], script), "");
            for (shell, arguments) in [
                ("dash", vec!["-n"]),
                ("bash", vec!["--posix", "-n"]),
                ("busybox", vec!["ash", "-n"]),
            ] {
                if has(shell) {
                    assert_eq!(says(shell, &arguments, script), "", "{shell}");
                }
            }
            if has("shellcheck") {
                // Words of a request that one script needs and the other does not.
                let arguments = [
                    "-s", "sh", "-S", "warning", "-e", "SC2034", "-f", "gcc", "-",
                ];
                assert_eq!(says("shellcheck", &arguments, script), "");
            }
        }
    }

    #[test]
    fn h6_the_loader_is_fixed_text_but_for_a_number() {
        let hostile = b"'; touch /tmp/x; \"$(id)\n".as_slice();
        let (command, stdin) = loaded(Script::Applier, hostile);
        assert_eq!(command, loaded(Script::Applier, b"").0);
        assert!(!command.contains('\'') && stdin.ends_with(hostile));
    }

    /// What `functions` of the applier print, run by `shell` on a machine where `$W` is `folder`.
    fn prints(shell: &[&str], functions: &str, folder: &std::path::Path, call: &str) -> String {
        let script = format!(
            "set -u; LC_ALL=C; export LC_ALL; STATE=$W; DROP_IN=none; have() {{ command -v \"$1\" >/dev/null 2>&1; }}\n{functions}\n{call}\n"
        );
        let output = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", &script])
            .env("W", folder)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.is_empty(), "{shell:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    fn w2_what_local_users_write_keeps_no_check_up_from_its_answer() {
        let functions = concat!(
            include_str!("applier/facts.sh"),
            include_str!("applier/keys.sh")
        );
        let folder = tempfile::tempdir().unwrap();
        let ssh = folder.path().join("home/.ssh");
        std::fs::create_dir_all(&ssh).unwrap();
        // Keys of two accounts, full of what takes two characters in an answer; and of a third, behind more than is read.
        let (options, comment, blob) = ("\"".repeat(290), "\\".repeat(190), "A".repeat(1000));
        let keys: String = (0..160)
            .map(|n| format!("{options} ssh-rsa AAAAB3{n}{blob} {comment}\n"))
            .collect();
        let long = folder.path().join("long/.ssh");
        std::fs::create_dir_all(&long).unwrap();
        let hidden = format!("{}\nssh-rsa AAAAB3hidden eve\n", "#".repeat(300_000));
        std::fs::write(long.join("authorized_keys"), hidden).unwrap();
        for name in ["authorized_keys", "authorized_keys2"] {
            std::fs::write(ssh.join(name), &keys).unwrap();
        }
        std::fs::write(
            folder.path().join("says.1"),
            "authorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2\n",
        )
        .unwrap();
        // `logger -t sshd` is anybody's: a login that the ledger would not know is hidden neither behind others, nor behind the same serial.
        let real = format!("SHA256:{}", "b".repeat(43));
        let login = |who: &str, serial: u32, ca: &str| {
            format!(
                "Nov 22 10:00:00 web-1 sshd[1]: Accepted publickey for {who} from 192.0.2.1 port 1 ssh2: ED25519-CERT {real} ID {who}/1 \
                 (serial {serial}) CA ED25519 {ca}\n"
            )
        };
        let mut log = login("alice", 77, &real);
        log.push_str(&login("alice", 77, &format!("SHA256:{}", "c".repeat(43))));
        for n in 0..250 {
            log.push_str(&login("eve", n, &format!("SHA256:{}", "A".repeat(5000))));
        }
        let mut flood = log.clone();
        for n in 0..300 {
            flood.push_str(&login("eve", n, &real));
        }
        std::fs::write(folder.path().join("flood"), flood).unwrap();
        std::fs::write(folder.path().join("log"), log).unwrap();
        let call = ": >\"$W/facts\"; for who in joe jim; do key_facts $who 0 \"$W/home\" 1; done; key_facts eve 0 \"$W/long\" 1; \
                    certificate_logins syslog <\"$W/log\" >>\"$W/facts\"; printf 'disk\\t/etc/ssh\\t9\\n' >>\"$W/facts\"; \
                    print_facts; echo '{\"step\":\"done\"}'";
        for shell in [&["sh"][..], &["bash", "--posix"], &["busybox", "sh"]] {
            if !has(shell[0]) {
                continue;
            }
            let answer = prints(shell, functions, folder.path(), call);
            let report = crate::report::Report::parse(answer.as_bytes()).unwrap();
            let (mut keys, mut logins, mut cut, mut disks) = (0, Vec::new(), Vec::new(), 0);
            for fact in report.facts() {
                match fact {
                    crate::facts::Fact::Key(_) => keys += 1,
                    crate::facts::Fact::CertificateLogin { serial, .. } => logins.push(*serial),
                    crate::facts::Fact::Cut { what, left_out } => {
                        cut.push((what.as_str(), *left_out))
                    }
                    crate::facts::Fact::Disk { .. } => disks += 1,
                    _ => {}
                }
            }
            assert!(keys > 100, "{keys}");
            let told = u64::try_from(keys).unwrap();
            cut.sort_unstable();
            assert_eq!(
                cut,
                [
                    ("files of keys, longer than 256 KiB,", Some(1)),
                    ("keys", Some(640 - told))
                ]
            );
            assert_eq!((logins, disks), (vec![Some(77); 2], 1));
            let call = "certificate_logins syslog <\"$W/flood\" >\"$W/facts\"; print_facts; echo '{\"step\":\"done\"}'";
            let answer = prints(shell, functions, folder.path(), call);
            assert!(
                answer.contains("\"what\":\"logins with certificates\",\"left_out\":102"),
                "{answer}"
            );
        }
    }
}
