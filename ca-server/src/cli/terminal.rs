//! Asks a person, and only where there is one.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use ca_api::{AdminLogin, Secret};

use super::{args::Url, client::ClientError, text::line};

/// Is there somebody to ask?
#[must_use]
pub fn somebody_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks whether to go on; everything but a clear yes is a no.
///
/// # Errors
/// The terminal cannot be read.
pub fn confirm(question: &str) -> io::Result<bool> {
    let answer = ask_line(&format!("{}\nGo on? [y/N] ", line(question)))?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Asks for an admin's email (unless the last one is taken with Enter), password and TOTP code.
///
/// # Errors
/// There is no terminal, or it cannot be read.
pub fn ask_login(url: &Url, last: Option<&str>) -> Result<AdminLogin, ClientError> {
    if !somebody_there() {
        return Err(ClientError::LoginNeeded {
            url: url.to_string(),
        });
    }
    let prompt = match last {
        Some(last) => format!("Admin login at {url}\nEmail [{}]: ", line(last)),
        None => format!("Admin login at {url}\nEmail: "),
    };
    let typed = ask_line(&prompt).map_err(ClientError::Ask)?;
    let email = match (typed.trim(), last) {
        ("", Some(last)) => last.to_owned(),
        (typed, _) => typed.to_owned(),
    };
    let hidden = |prompt: &str| {
        rpassword::prompt_password(prompt)
            .map(Secret::new)
            .map_err(ClientError::Ask)
    };
    Ok(AdminLogin {
        email,
        password: hidden("Password: ")?,
        // The code is as good as a password for half a minute.
        totp: hidden("Code of the authenticator (6 digits): ")?,
    })
}

fn ask_line(prompt: &str) -> io::Result<String> {
    let mut stderr = io::stderr();
    write!(stderr, "{prompt}")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_goes_on() {
        for yes in ["y\n", "Y", "yes\n", " YES \n"] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n\n", "yeah\n", "yes please\n", "j\n"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }
}
