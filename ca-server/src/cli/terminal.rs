//! Asks a person, and only where there is one.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read, Write as _},
    os::fd::AsFd,
};

use ca_api::{AdminLogin, Secret};
use nix::sys::{
    signal::{Signal, raise},
    stat::fstat,
    termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr},
};
use zeroize::{Zeroize as _, Zeroizing};

use super::{args::Url, client::ClientError, text::line};

/// Is there somebody to ask?
#[must_use]
pub fn somebody_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Do progress and answer come out on the same screen, or in the same file or pipe (`2>&1`)?
#[must_use]
pub fn shows_both_outputs() -> bool {
    if io::stdout().is_terminal() && io::stderr().is_terminal() {
        return true;
    }
    match (fstat(io::stdout()), fstat(io::stderr())) {
        (Ok(out), Ok(err)) => (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino),
        _ => false,
    }
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
    let asking = Asking::begin(&terminal, Echo::Off)?;
    (&terminal).write_all(prompt.as_bytes())?;
    let typed = typed_line(&terminal)?;
    drop(asking);
    match typed {
        Typed::Line(line) => Ok(line),
        Typed::Closed => {
            (&terminal).write_all(b"\n")?;
            Err(io::ErrorKind::UnexpectedEof.into())
        }
        Typed::CtrlC => {
            (&terminal).write_all(b"\n")?;
            end_as_interrupted()
        }
    }
}

/// The longest line that a terminal hands over.
const MAX_LINE_BYTES: usize = 4096;

/// Ctrl-C, as a terminal without signals hands it over.
const CTRL_C: u8 = 3;

/// Is what is typed shown?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Echo {
    On,
    Off,
}

/// A terminal on which somebody is asked; as it was before when this is dropped.
///
/// Ctrl-C comes as a byte that ends the line, and not as a signal: a signal would leave the echo off behind a dead program, and
/// the runtime of a command that talks to a CA elsewhere would take it and go on asking.
struct Asking<'a, T: AsFd> {
    terminal: &'a T,
    before: Termios,
}

impl<'a, T: AsFd> Asking<'a, T> {
    fn begin(terminal: &'a T, echo: Echo) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut asking = before.clone();
        asking.local_flags.remove(LocalFlags::ISIG);
        asking.control_chars[SpecialCharacterIndices::VEOL as usize] = CTRL_C;
        if echo == Echo::Off {
            asking.local_flags.remove(LocalFlags::ECHO);
            asking.local_flags.insert(LocalFlags::ECHONL);
        }
        tcsetattr(terminal, SetArg::TCSANOW, &asking)?;
        Ok(Self { terminal, before })
    }
}

impl<T: AsFd> Drop for Asking<'_, T> {
    fn drop(&mut self) {
        // Nothing better can be done than to have tried.
        let _ = tcsetattr(self.terminal, SetArg::TCSANOW, &self.before);
    }
}

/// What came of a question.
enum Typed {
    /// A line, without its end.
    Line(Zeroizing<String>),
    /// Nothing: the terminal was closed, or Ctrl-D was typed.
    Closed,
    /// Ctrl-C.
    CtrlC,
}

fn typed_line(mut terminal: impl Read) -> io::Result<Typed> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE_BYTES));
    let mut byte = Zeroizing::new([0]);
    loop {
        match terminal.read(&mut *byte) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
            Ok(0) if line.is_empty() => return Ok(Typed::Closed),
            Ok(0) => break,
            Ok(_) => {}
        }
        match byte[0] {
            b'\n' => break,
            CTRL_C => return Ok(Typed::CtrlC),
            other => line.push(other),
        }
    }
    while line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(std::mem::take(&mut *line))
        .map(|line| Typed::Line(Zeroizing::new(line)))
        .map_err(|error| {
            error.into_bytes().zeroize();
            io::Error::new(io::ErrorKind::InvalidData, "that is not UTF-8 text")
        })
}

/// Ends the program as Ctrl-C does, so that a shell's loop around it ends too.
fn end_as_interrupted() -> ! {
    let _ = raise(Signal::SIGINT);
    // Somebody in this program listens for the signal and did not end it.
    std::process::exit(130)
}

fn ask_line(prompt: &str) -> io::Result<String> {
    let stdin = io::stdin();
    let asking = Asking::begin(&stdin, Echo::On)?;
    let mut stderr = io::stderr();
    write!(stderr, "{prompt}")?;
    stderr.flush()?;
    let typed = typed_line(stdin.lock())?;
    drop(asking);
    match typed {
        Typed::Line(mut line) => Ok(std::mem::take(&mut *line)),
        Typed::Closed => {
            writeln!(stderr)?;
            Ok(String::new())
        }
        Typed::CtrlC => {
            writeln!(stderr)?;
            end_as_interrupted()
        }
    }
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

    #[test]
    fn a_line_ends_where_it_was_ended() {
        let typed = |bytes: &[u8]| typed_line(bytes).expect("it can be read");
        assert!(matches!(typed(b"one\r\ntwo\n"), Typed::Line(line) if *line == "one"));
        assert!(matches!(typed(b"no end"), Typed::Line(line) if *line == "no end"));
        assert!(matches!(typed(b"\n"), Typed::Line(line) if line.is_empty()));
        assert!(matches!(typed(b""), Typed::Closed));
        assert!(matches!(typed(b"half a pass\x03"), Typed::CtrlC));
        assert!(typed_line(&[0xff, b'\n'][..]).is_err());
    }

    #[test]
    fn a_terminal_is_afterwards_as_it_was() {
        let pair = nix::pty::openpty(None, None).expect("a terminal");
        let slave = File::from(pair.slave);
        let before = tcgetattr(&slave).expect("a terminal");
        let asking = Asking::begin(&slave, Echo::Off).expect("a terminal");
        let during = tcgetattr(&slave).expect("a terminal");
        assert!(
            !during
                .local_flags
                .intersects(LocalFlags::ECHO | LocalFlags::ISIG)
        );
        // The kernel itself hands the line over at Ctrl-C, without a newline and without a signal.
        File::from(pair.master.try_clone().expect("one more"))
            .write_all(b"half a pass\x03")
            .expect("typed");
        assert!(matches!(typed_line(&slave), Ok(Typed::CtrlC)));
        drop(asking);
        assert_eq!(tcgetattr(&slave).expect("a terminal"), before);
    }
}
