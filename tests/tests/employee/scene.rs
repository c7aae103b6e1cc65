//! What the tests of an employee's day share: a company with machines, and short words for what a person sees.

use std::process::Output;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
pub use e2e::poll;
use e2e::{Company, Fleet, Home, Machine, Person, program, said, success};
use totp_rs::{Algorithm, Builder, Secret};

/// A CA, its admin's workstation, and machines that are under it.
pub struct Scene {
    pub company: Company,
    pub machines: Vec<Machine>,
}

/// Machines by name and pool, bootstrapped; the people are hired before, so that their accounts are part of the first apply.
pub fn scene(
    fleet: &Fleet,
    machines: &[(&str, &str)],
    people: impl FnOnce(&Company) -> Result<Vec<Person>>,
) -> Result<(Scene, Vec<Person>)> {
    let company = Company::new(fleet)?;
    for (_, pool) in machines {
        company.ca_ok(&["pool", "add", pool])?;
    }
    let people = people(&company)?;
    let admin = fleet.home("admin")?;
    let names: Vec<&str> = machines.iter().map(|(name, _)| *name).collect();
    let started = fleet.machines(&names, &[&admin.public_key()?])?;
    company.bootstrap_all(&admin, &started, machines)?;
    let scene = Scene {
        company,
        machines: started,
    };
    Ok((scene, people))
}

/// A `ca-client` command at a workstation, without a terminal and with nothing on standard input.
pub fn client(home: &Home, words: &[&str]) -> Result<Output> {
    Ok(home
        .command(&program("ca-client").to_string_lossy())
        .args(words)
        .stdin(std::process::Stdio::null())
        .output()?)
}

/// What `--json` printed.
pub fn json(output: &Output) -> Result<serde_json::Value> {
    serde_json::from_slice(&output.stdout).with_context(|| said(output))
}

/// Plain `ssh`, again where sshd has closed its listener for the moment of a reload, which each new account on a machine brings.
pub fn ssh(person: &Person, words: &[&str]) -> Result<Output> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let output = person.ssh(words)?;
        if !said(&output).contains("Connection refused") || Instant::now() > deadline {
            return Ok(output);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn assert_runs(person: &Person, words: &[&str], expected: &str) -> Result<()> {
    let output = ssh(person, words)?;
    let what = format!("{}: ssh {}", person.email, words.join(" "));
    success(&what, &output)?;
    let out = String::from_utf8_lossy(&output.stdout);
    ensure!(out.trim() == expected, "{what} said {out:?}");
    let err = String::from_utf8_lossy(&output.stderr);
    ensure!(err.is_empty(), "{what} is not silent: {err:?}");
    Ok(())
}

pub fn assert_denied(output: &Output) -> Result<()> {
    let words = said(output);
    ensure!(
        output.status.code() == Some(255) && words.contains("Permission denied (publickey"),
        "expected a refusal, got {}: {words}",
        output.status
    );
    Ok(())
}

/// A failure that ends with this status, and whose words have all of these in them.
pub fn assert_fails(output: &Output, status: i32, expected: &[&str]) -> Result<()> {
    let words = said(output);
    ensure!(
        output.status.code() == Some(status),
        "expected exit {status}, got {}:\n{words}",
        output.status
    );
    for word in expected {
        ensure!(words.contains(word), "{word:?} is not said in:\n{words}");
    }
    Ok(())
}

/// Makes the renewal of what somebody holds due, long before its end: a test that waited for the last quarter of a short life would
/// have to be done before it is over.
pub fn make_due(person: &Person) -> Result<()> {
    let path = person.home.ssh_path("ca/due");
    let text = std::fs::read_to_string(&path)?;
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let renew_at = words.get_mut(2).with_context(|| text.clone())?;
    *renew_at = (now_unix() - 1).to_string();
    std::fs::write(&path, format!("{}\n", words.join(" ")))?;
    Ok(())
}

pub fn now_unix() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// An authenticator app that was given the text of the QR code, for enrolments on a terminal.
pub struct Authenticator {
    secret: Vec<u8>,
}

impl Authenticator {
    /// From what the screen shows after "or type:".
    pub fn new(text: &str) -> Result<Self> {
        let text: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
        let secret =
            Secret::try_from_base32(&text).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        Ok(Self {
            secret: secret.as_bytes().to_vec(),
        })
    }

    /// The code that is `steps` of thirty seconds away from now.
    pub fn code(&self, steps: i64) -> Result<String> {
        let totp = Builder::new()
            .with_algorithm(Algorithm::SHA1)
            .with_digits(6)
            .with_skew(1)
            .with_step_duration(30)
            .with_secret(Secret::new(self.secret.clone().into_boxed_slice()))
            .with_account_name("someone")
            .build()
            .map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let step = now_unix() / 30 + steps;
        Ok(totp.generate(u64::try_from(step * 30)?).to_string())
    }
}

/// The words after a word in the line that an admin hands over.
pub fn handed_over<'a>(line: &'a str, word: &str, further: usize) -> Result<&'a str> {
    line.split_whitespace()
        .skip_while(|held| *held != word)
        .nth(further)
        .with_context(|| format!("no {word} in {line:?}"))
}
