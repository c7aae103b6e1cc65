//! Waiting for what comes in its own time: polled, with a bound that only something broken reaches.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// What a busy machine may take for anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until it is so, for five minutes at most.
///
/// # Errors
/// When looking fails, or it is not so in time.
pub fn poll(what: &str, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !so()? {
        ensure!(Instant::now() < deadline, "{what}: not within five minutes");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
