//! `authenticator`: the phone in scripts; reads a base32 TOTP secret from standard input and prints a code.

use std::io::Read;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result};
use totp_rs::{Builder, Secret};

const USAGE: &str = "usage: authenticator [STEP]   (the secret on standard input)

STEP is -1, 0 or 1: the code before the present one, the present one (default), or the next. The CA takes each once.";

fn main() -> ExitCode {
    match run() {
        Ok(code) => {
            println!("{code}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("authenticator: {error:#}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<String> {
    let step: i64 = match std::env::args().nth(1) {
        Some(word) => word.parse().context("STEP is a number")?,
        None => 0,
    };
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let text: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let secret = Secret::try_from_base32(&text)
        .map_err(|_| anyhow::anyhow!("this is not a base32 secret"))?;
    let totp = Builder::new()
        .with_secret(secret)
        .with_account_name("demo")
        .build()
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_secs();
    let at = now.saturating_add_signed(step * 30);
    Ok(totp.generate(at).to_string())
}
