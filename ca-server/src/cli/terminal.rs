//! Asks a person, and only where there is one.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _},
};

use ca_api::{AdminLogin, Secret};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::{args::Url, client::ClientError, text::line};

/// Is there somebody to ask?
#[must_use]
pub fn somebody_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Do progress and answer come out on the same screen?
#[must_use]
pub fn shows_both_outputs() -> bool {
    io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// How many columns standard output has, where it is a terminal.
#[must_use]
pub fn width() -> Option<usize> {
    terminal_size::terminal_size_of(io::stdout())
        .map(|(terminal_size::Width(columns), _)| usize::from(columns))
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
    let hidden = |prompt: &str| match ask_hidden(prompt) {
        Ok(mut typed) => Ok(Secret::new(std::mem::take(&mut *typed))),
        Err(error) => Err(ClientError::Ask(error)),
    };
    Ok(AdminLogin {
        email,
        password: hidden("Password: ")?,
        // The code is as good as a password for half a minute.
        totp: hidden("Code of the authenticator (6 digits): ")?,
    })
}

/// Asks on the terminal itself for something that is not shown while it is typed.
///
/// # Errors
/// There is no terminal, it cannot be read, or it was closed.
pub fn ask_hidden(prompt: &str) -> io::Result<Zeroizing<String>> {
    let terminal = File::options().read(true).write(true).open("/dev/tty")?;
    // Echo goes off before the prompt appears: whatever answers the prompt at once (a paste, a script) is not shown.
    let quiet = NoEcho::on(&terminal)?;
    (&terminal).write_all(prompt.as_bytes())?;
    let mut typed = Zeroizing::new(String::with_capacity(MAX_LINE_BYTES));
    let count = BufReader::with_capacity(1, &terminal).read_line(&mut typed)?;
    drop(quiet);
    if count == 0 {
        (&terminal).write_all(b"\n")?;
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let length = typed.trim_end_matches(['\n', '\r']).len();
    typed.truncate(length);
    Ok(typed)
}

/// The longest line that a terminal hands over.
const MAX_LINE_BYTES: usize = 4096;

/// A terminal that does not show what is typed, until this is dropped.
struct NoEcho<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> NoEcho<'a> {
    fn on(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        quiet.local_flags.insert(LocalFlags::ECHONL);
        tcsetattr(terminal, SetArg::TCSANOW, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for NoEcho<'_> {
    fn drop(&mut self) {
        // Nothing better can be done than to have tried.
        let _ = tcsetattr(self.terminal, SetArg::TCSANOW, &self.before);
    }
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
