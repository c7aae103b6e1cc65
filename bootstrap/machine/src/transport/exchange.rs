//! One request over one connection of its own, and the bounded reading of what comes back.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::{
    Limits, OpenError, RunError, Target,
    client::{self, Client},
    patience::Patience,
};
use crate::{
    report::{MAX_REPORT_BYTES, Report, ReportError},
    request::Request,
};

/// Sends `request` to the applier as `ssh-ca-sync` (whose forced command it is) over a new connection, and reads its report. Where nobody
/// listens for the moment, it is tried again for some seconds: nothing was sent yet.
///
/// # Errors
/// [`RunError`]: no connection, no end in time, or an answer that is none. A refusal by the applier is a [`Report`].
pub async fn exchange(
    target: &Target,
    request: &Request,
    limits: &Limits,
) -> Result<Report, RunError> {
    let mut patience = Patience::new();
    loop {
        match exchange_once(target, request, limits).await {
            Err(RunError::Open(error)) if error.is_momentary() && patience.another_try().await => {}
            answered => return answered,
        }
    }
}

async fn exchange_once(
    target: &Target,
    request: &Request,
    limits: &Limits,
) -> Result<Report, RunError> {
    let client = Client::new(target, limits).await?;
    let mut command = client.command(&["-T"], Some("ssh-ca")).await?;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(OpenError::Client)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (stdin, stdout, stderr) = match (stdin, stdout, stderr) {
        (Some(stdin), Some(stdout), Some(stderr)) => (stdin, stdout, stderr),
        _ => return Err(OpenError::Client(std::io::ErrorKind::BrokenPipe.into()).into()),
    };
    let talk = talk(request.encode(), stdin, stdout, stderr);
    let (answer, words) = tokio::select! {
        talked = timeout(limits.request, talk) => talked.map_err(|_| out_of_time(target, limits))?,
        () = client.answer() => unreachable!("it never ends"),
    };
    let ended = timeout(limits.connect, child.wait()).await;
    let exit = ended
        .ok()
        .and_then(Result::ok)
        .and_then(|status| status.code());
    // 255 is the client's own: with no answer at all, there was no login.
    if exit == Some(255) && answer.is_empty() {
        return Err(client::failure(target, &words).into());
    }
    parse(target, &answer, &words)
}

pub(super) fn out_of_time(target: &Target, limits: &Limits) -> RunError {
    RunError::TimedOut {
        address: target.address.clone(),
        secs: limits.request.as_secs(),
    }
}

pub(super) fn parse(target: &Target, answer: &[u8], words: &[u8]) -> Result<Report, RunError> {
    Report::parse(answer).map_err(|source| no_answer(target, source, words))
}

pub(super) fn no_answer(target: &Target, source: ReportError, words: &[u8]) -> RunError {
    let stderr = client::short(words);
    RunError::Answer {
        address: target.address.clone(),
        source,
        stderr: (!stderr.is_empty()).then_some(stderr),
    }
}

/// Writes `request`, closes, and reads standard output and error at the same time, each up to its bound: a flood is cut off by dropping
/// the pipes. A machine that stops reading ends the writing, not the reading: its answer says why.
pub(super) async fn talk(
    request: Vec<u8>,
    mut stdin: impl AsyncWrite + Unpin,
    stdout: impl AsyncRead + Unpin,
    stderr: impl AsyncRead + Unpin,
) -> (Vec<u8>, Vec<u8>) {
    let write = async move {
        let _ = stdin.write_all(&request).await;
        let _ = stdin.shutdown().await;
    };
    let (mut answer, mut words) = (Vec::new(), Vec::new());
    let (most, most_words) = (MAX_REPORT_BYTES as u64 + 1, 64 * 1024);
    let (mut stdout, mut stderr) = (stdout.take(most), stderr.take(most_words));
    {
        let mut write = std::pin::pin!(write);
        let mut read = std::pin::pin!(stdout.read_to_end(&mut answer));
        let mut listen = std::pin::pin!(stderr.read_to_end(&mut words));
        let (mut writing, mut listening) = (true, true);
        // All at the same time, and over with the answer: a machine may answer and never read on, or flood and never end.
        loop {
            tokio::select! {
                _ = &mut read => break,
                () = &mut write, if writing => writing = false,
                _ = &mut listen, if listening => listening = false,
            }
        }
        if listening {
            // Its last words come with the end of the answer, or not at all.
            let _ = timeout(Duration::from_millis(500), listen).await;
        }
    }
    (answer, words)
}
