//! Writes ssh's language: the ssh_config fragment and known_hosts, from values that were parsed.

use std::{
    collections::BTreeSet,
    fmt::{self, Write},
    path::{Path, PathBuf},
};

use crate::{
    directory::{Machine, Reach},
    key::bare,
    places::{PlacesError, quotable},
};

/// The files that the fragment names, by absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// `ca-client` itself, for `Match exec`.
    pub program: PathBuf,
    /// `id.pub` where the agent has the key, `id` where a file has it, a security key's handle where that lies.
    pub identity: PathBuf,
    /// The certificates, by position.
    pub certificates: Vec<PathBuf>,
    /// Our known_hosts.
    pub known_hosts: PathBuf,
}

const HEAD: &str = "\
# Written by ca-client at every login and renewal; changes here are lost. Your own settings belong below the
# Include line in ~/.ssh/config.
";

/// A path as an argument in ssh_config: `%` doubled, because file names and commands are percent-expanded, and quoted
/// where it has anything but plain characters (`#` begins a comment since 8.7).
fn argument(path: &Path) -> Result<String, PlacesError> {
    let text = quotable(path)?.replace('%', "%%");
    Ok(if text.bytes().all(is_plain) {
        text
    } else {
        format!("\"{text}\"")
    })
}

/// The command of `Match exec`: for the user's shell, inside ssh_config's double quotes.
fn renew_command(program: &Path) -> Result<String, PlacesError> {
    let text = quotable(program)?;
    let percent = text.replace('%', "%%");
    // `quotable` has refused the single quote, so single quotes hold everything else for the shell.
    let word = if text.bytes().all(is_plain) {
        percent
    } else {
        format!("'{percent}'")
    };
    Ok(format!("\"{word} renew --if-due\""))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._-+@,:%".contains(&byte)
}

/// The fragment. A person who has other settings for one of these hosts keeps them where the fragment is silent.
///
/// # Errors
/// When a path cannot be written in ssh_config.
pub fn fragment(reach: &Reach, files: &Files) -> Result<String, PlacesError> {
    let mut text = String::from(HEAD);
    if reach.machines.is_empty() {
        text.push_str("# You reach no machine at the moment.\n");
        return Ok(text);
    }
    let certificates = files
        .certificates
        .iter()
        .map(|path| argument(path))
        .collect::<Result<Vec<_>, _>>()?;
    let names = joined(reach, ",");
    let command = renew_command(&files.program)?;
    write(
        &mut text,
        format_args!("\nMatch originalhost {names} exec {command}\n"),
    );
    for machine in &reach.machines {
        machine_block(&mut text, machine, &certificates);
    }
    let identity = argument(&files.identity)?;
    let known_hosts = argument(&files.known_hosts)?;
    let names = joined(reach, " ");
    write(
        &mut text,
        format_args!(
            "\nHost {names}
    IdentityFile {identity}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}
    StrictHostKeyChecking yes
    CheckHostIP no
    UpdateHostKeys no
"
        ),
    );
    Ok(text)
}

fn machine_block(text: &mut String, machine: &Machine, certificates: &[String]) {
    let Machine {
        name,
        address,
        port,
        logins,
        ..
    } = machine;
    let Some(first) = logins.first() else { return };
    let account = &first.account;
    write(
        text,
        format_args!(
            "\nHost {name}
    HostName {address}
    Port {port}
    User {account}
    HostKeyAlias {name}
"
        ),
    );
    let used: BTreeSet<usize> = logins.iter().map(|login| login.certificate).collect();
    if let (1, Some(certificate)) = (used.len(), certificates.get(first.certificate)) {
        write(text, format_args!("    CertificateFile {certificate}\n"));
        return;
    }
    // CertificateFile adds up instead of the first winning, so each condition set gets a Match of its own. `Match user`
    // sees the User set above, or the one of the command line.
    for position in used {
        let accounts: Vec<_> = logins
            .iter()
            .filter(|login| login.certificate == position)
            .map(|login| login.account.as_str())
            .collect();
        if let Some(certificate) = certificates.get(position) {
            let accounts = accounts.join(",");
            write(
                text,
                format_args!(
                    "Match originalhost {name} user {accounts}\n    CertificateFile {certificate}\n"
                ),
            );
        }
    }
}

/// known_hosts: the host CAs for our names only, and the revoked host keys for any name.
#[must_use]
pub fn known_hosts(reach: &Reach) -> String {
    let mut text =
        String::from("# Written by ca-client at every login and renewal; changes here are lost.\n");
    if !reach.machines.is_empty() {
        let names = joined(reach, ",");
        for key in &reach.host_cas {
            write(
                &mut text,
                format_args!("@cert-authority {names} {}\n", bare(key)),
            );
        }
    }
    for key in &reach.revoked_hosts {
        write(&mut text, format_args!("@revoked * {}\n", bare(key)));
    }
    text
}

fn joined(reach: &Reach, with: &str) -> String {
    reach
        .machines
        .iter()
        .map(|machine| machine.name.as_str())
        .collect::<Vec<_>>()
        .join(with)
}

fn write(text: &mut String, line: fmt::Arguments<'_>) {
    text.write_fmt(line)
        .expect("writing to a String cannot fail");
}
