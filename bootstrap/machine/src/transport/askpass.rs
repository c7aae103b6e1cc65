//! How a password reaches `ssh`: a script that reads a private pipe, so that it stands in no argument, variable or file.

use std::{io, os::unix::fs::OpenOptionsExt, path::Path, process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt, net::unix::pipe, process::Command};

use super::Secret;

const SCRIPT: &str = "#!/bin/sh\nexec cat \"${0%/*}/secret\"\n";

/// Puts the script and the pipe into `folder` (private, 0700) and names them to `command`.
pub(super) async fn prepare(folder: &Path, command: &mut Command) -> io::Result<()> {
    let script = folder.join("askpass");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o700)
        .open(&script)?;
    io::Write::write_all(&mut file, SCRIPT.as_bytes())?;
    drop(file);
    let made = Command::new("mkfifo")
        .args(["-m", "600"])
        .arg(folder.join("secret"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await?;
    if !made.success() {
        return Err(io::Error::other("mkfifo failed in the private folder"));
    }
    command
        .env("SSH_ASKPASS", script)
        .env("SSH_ASKPASS_REQUIRE", "force")
        // A client older than 8.4 asks the program only where there is a display and no terminal.
        .env("DISPLAY", ":0");
    Ok(())
}

/// Answers every question with `secret`, until dropped.
pub(super) async fn answer(folder: &Path, secret: &Secret) -> io::Result<()> {
    let path = folder.join("secret");
    loop {
        // Opening for writing succeeds only once the script reads.
        match pipe::OpenOptions::new().open_sender(&path) {
            Ok(mut sender) => {
                sender.write_all(secret.expose().as_bytes()).await?;
                sender.write_all(b"\n").await?;
                drop(sender);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
