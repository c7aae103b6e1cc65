//! `doctor`: looks at everything that ssh depends on, and says the remedy for what is not in order.

use std::{fs, os::unix::fs::PermissionsExt, process::Command, time::Duration};

use serde::Serialize;

use super::{
    Ending, Failure, Format, block_on, machines, print_json,
    setup::CLOCK_TOLERANCE_SECS,
    status::{self, KeyState},
};
use crate::{
    agent::Agent,
    api::Deadlines,
    config::Config,
    due::now_unix,
    install,
    key::{KeyPlace, PRIVATE_FILE},
    places::Places,
    say::{self, Tone},
    session::{self, Session, SessionError},
    text,
};

/// What was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    state: State,
    detail: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Good,
    Caution,
    Bad,
}

fn good(what: &'static str, detail: impl Into<String>) -> Finding {
    Finding {
        what,
        state: State::Good,
        detail: detail.into(),
        remedy: String::new(),
    }
}

fn amiss(
    what: &'static str,
    state: State,
    detail: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    Finding {
        what,
        state,
        detail: detail.into(),
        remedy: remedy.into(),
    }
}

fn failed(what: &'static str, failure: Failure) -> Finding {
    amiss(what, State::Bad, failure.message, failure.hint)
}

pub(super) fn run(places: &Places, format: Format) -> Result<Ending, Failure> {
    let mut findings = Vec::new();
    match Config::load(places) {
        Ok(config) => {
            findings.push(good(
                "setup",
                format!("{} ({})", config.settings.url, config.pinned.fingerprint()),
            ));
            look_at_ca(&config, &mut findings)?;
        }
        Err(error) => findings.push(failed("setup", error.into())),
    }
    findings.push(look_for_agent());
    match Session::load(places) {
        Ok(session) => look_at_session(places, &session, &mut findings),
        Err(SessionError::None) => {
            findings.push(amiss(
                "session",
                State::Caution,
                "you are not logged in",
                "Log in: ca-client login",
            ));
        }
        Err(error) => findings.push(failed("session", error.into())),
    }
    let bad = findings.iter().any(|finding| finding.state == State::Bad);
    match format {
        Format::Json => print_json(&findings),
        Format::Text => say::out(&render(&findings)),
    }
    Ok(if bad { Ending::Amiss } else { Ending::Done })
}

fn render(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding {
        what,
        state,
        detail,
        remedy,
    } in findings
    {
        let word = match state {
            State::Good => say::toned("good   ", Tone::Good),
            State::Caution => say::toned("note   ", Tone::Caution),
            State::Bad => say::toned("amiss  ", Tone::Bad),
        };
        text.push_str(&format!("  {word}{what:<14}{}\n", text::line(detail)));
        if !remedy.is_empty() {
            text.push_str(&format!("  {:21}-> {}\n", "", text::line(remedy)));
        }
    }
    text
}

fn look_at_ca(config: &Config, findings: &mut Vec<Finding>) -> Result<(), Failure> {
    let deadlines = Deadlines {
        connect: Duration::from_secs(3),
        call: Duration::from_secs(5),
        event: Duration::from_secs(5),
    };
    let client = config.client().with_deadlines(deadlines);
    let info = match block_on(client.server_info())? {
        Ok(info) => info,
        Err(error) => {
            findings.push(failed("CA", error.into()));
            return Ok(());
        }
    };
    if text::line(&info.ca_id) == config.settings.ca_id {
        findings.push(good(
            "CA",
            format!(
                "answers, and its TLS certificate is the pinned one (version {})",
                info.version
            ),
        ));
    } else {
        findings.push(amiss(
            "CA",
            State::Bad,
            format!("it is another CA now: {}", info.ca_id),
            "Ask your admin; if that is meant: ca-client setup URL --fingerprint SHA256:…",
        ));
    }
    let off = info.now_unix - now_unix();
    findings.push(if off.abs() <= CLOCK_TOLERANCE_SECS {
        good("clock", "agrees with the CA's")
    } else {
        let way = if off > 0 { "behind" } else { "ahead of" };
        let detail = format!("{} {way} the CA's", say::duration(off.abs()));
        amiss(
            "clock",
            State::Bad,
            detail,
            "Set this computer's clock (NTP).",
        )
    });
    Ok(())
}

fn look_for_agent() -> Finding {
    match Agent::of_user() {
        Ok(_) => good("ssh-agent", "answers"),
        Err(error) => amiss(
            "ssh-agent",
            State::Caution,
            error.to_string(),
            "Without one the key is kept in a file that only you can read. To use one: eval \"$(ssh-agent)\", then ca-client login",
        ),
    }
}

fn look_at_session(places: &Places, session: &Session, findings: &mut Vec<Finding>) {
    let now = now_unix() + session.server_ahead_secs;
    findings.push(if now < session.ends_unix {
        good(
            "session",
            format!(
                "{}, until {}",
                session.email,
                say::when(session.ends_unix, now)
            ),
        )
    } else {
        amiss(
            "session",
            State::Bad,
            format!("over since {}", say::when(session.ends_unix, now)),
            "Log in: ca-client login",
        )
    });
    findings.push(match status::key_state(places, session) {
        KeyState::Held => good("key", status::place_words(&session.key_place)),
        KeyState::Lost if matches!(session.key_place, KeyPlace::SecurityKey { .. }) => amiss(
            "key",
            State::Bad,
            "your security key cannot be asked",
            status::lost_handle(&session.key_place),
        ),
        KeyState::Lost => amiss(
            "key",
            State::Bad,
            "lost (was the ssh-agent restarted?)",
            "Log in: ca-client login",
        ),
        KeyState::OutOfReach(error) => failed("key", error.into()),
    });
    findings.push(if now < session.last_expiry_unix() {
        good(
            "certificates",
            format!(
                "{}, until {}",
                session.certificates.len(),
                say::when(session.last_expiry_unix(), now)
            ),
        )
    } else {
        amiss(
            "certificates",
            State::Bad,
            "ended",
            "Renew: ca-client renew; or log in: ca-client login",
        )
    });
    if let Some(left_out) = session.left_out() {
        findings.push(amiss("grants", State::Caution, left_out, ""));
    }
    findings.push(look_at_modes(places));
    findings.push(look_at_include(places));
    // `ssh -G` runs the fragment's Match exec, which would offer a login where the session is over.
    if now < session.ends_unix
        && let Ok(reach) = machines::stored_reach(places, session)
        && let Some(machine) = reach.machines.first()
    {
        findings.push(look_at_ssh(places, machine.name.as_str()));
    }
}

fn look_at_modes(places: &Places) -> Finding {
    let private = [
        places.state(session::FILE),
        places.state(PRIVATE_FILE),
        places.state_folder(),
    ];
    let wide = private
        .iter()
        .find(|path| fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o077 != 0));
    match wide {
        None => good("files", "~/.ssh/ca is yours alone"),
        Some(path) => amiss(
            "files",
            State::Bad,
            format!("{} can be read by others", path.display()),
            format!(
                "chmod go= {}; then log in again: ca-client login",
                path.display()
            ),
        ),
    }
}

fn look_at_include(places: &Places) -> Finding {
    match install::includes(places) {
        Ok(true) => good(
            "ssh_config",
            "~/.ssh/config includes ~/.ssh/ca/config at its top",
        ),
        Ok(false) => amiss(
            "ssh_config",
            State::Bad,
            format!(
                "~/.ssh/config lacks its first line: {}",
                install::include_line(places)
            ),
            "Log in again, which puts it there: ca-client login",
        ),
        Err(error) => failed("ssh_config", error.into()),
    }
}

/// Asks ssh itself what it would do.
fn look_at_ssh(places: &Places, machine: &str) -> Finding {
    let mut command = Command::new("ssh");
    // ssh takes its home from the password database; where HOME says otherwise, it has to be told.
    if !install::is_ssh_home(places) {
        command.arg("-F").arg(places.ssh_config());
    }
    let output = match command.args(["-G", machine]).output() {
        Ok(output) => output,
        Err(error) => {
            return amiss(
                "ssh",
                State::Bad,
                format!("ssh cannot be run: {error}"),
                "Install the OpenSSH client.",
            );
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let known_hosts = places.state(install::KNOWN_HOSTS_FILE);
    let effective = text
        .lines()
        .any(|line| line == format!("hostkeyalias {machine}"))
        && text
            .lines()
            .any(|line| line.strip_prefix("userknownhostsfile ") == known_hosts.to_str());
    if effective {
        return good(
            "ssh",
            format!("`ssh {machine}` uses the certificate and checks the host by the CA"),
        );
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let detail = match said.lines().next() {
        Some(line) if !output.status.success() => {
            format!("ssh does not accept the configuration: {line}")
        }
        _ => format!("`ssh {machine}` does not use ~/.ssh/ca/config as it should"),
    };
    amiss(
        "ssh",
        State::Bad,
        detail,
        format!(
            "Look at: ssh -G {machine}, and at what stands above the Include in ~/.ssh/config."
        ),
    )
}
