//! Watches the clock: tells the ledger of a step, follows what is small, keeps in the store how the clocks stood, and takes an admin's word.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Against, Anchor, Clock, Doubt, FORGET_MS, Reading, WORTH_MS};
use crate::{
    ca::{Ca, unix_ms},
    ledger::{Actor, Event},
    store::{Db, Read, ReadError, Table, WriteError},
};

/// How often it is looked at when nobody asks.
const ROUND: Duration = Duration::from_secs(10);

/// The key of [`ClockRecord`] in table `meta`.
const RECORD: &[u8] = b"clock";

/// How the two clocks stood when the wall clock was last believed (table `meta`, key `clock`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ClockRecord {
    /// Since which start of the host.
    boot: String,
    /// Wall clock minus time since boot, in milliseconds.
    offset_ms: i64,
}

/// Takes up what the store knows, before anything is signed: a restart is nobody's word that the clock is right.
///
/// # Errors
/// If the store cannot be read.
pub fn begin(clock: &Clock, db: &Db) -> Result<(), ReadError> {
    begin_since(clock, db, &boot())
}

fn begin_since(clock: &Clock, db: &Db, boot: &str) -> Result<(), ReadError> {
    let view = db.snapshot()?;
    let record: Option<ClockRecord> = view.get_json(Table::Meta, RECORD)?;
    let reading = clock.read();
    let anchor = match record.filter(|record| !boot.is_empty() && record.boot == boot) {
        Some(record) => Anchor {
            offset_ms: record.offset_ms,
            since_boot_ms: reading.since_boot_ms,
            rests_on: Against::Boottime,
        },
        None => {
            let head = view.head().entries.to_be_bytes();
            let Some(last) = view.get_json::<Moment>(Table::Ledger, &head)? else {
                return Ok(());
            };
            let shift_ms = i64::try_from(clock.shifted().whole_milliseconds()).unwrap_or(0);
            Anchor {
                offset_ms: last.at_unix_ms - shift_ms - reading.since_boot_ms,
                since_boot_ms: reading.since_boot_ms,
                rests_on: Against::Ledger,
            }
        }
    };
    *clock.anchor() = anchor;
    Ok(())
}

/// When a ledger entry was made, whatever it says.
#[derive(Deserialize)]
struct Moment {
    at_unix_ms: i64,
}

/// Which start of the host this is; empty where the kernel does not say.
fn boot() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// Looks until the server ends.
pub async fn keep(ca: Arc<Ca>, mut stop: tokio::sync::watch::Receiver<bool>) {
    loop {
        if let Err(error) = look(&ca).await {
            tracing::error!(%error, "how the clock stands could not be written down; it is tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            _ = stop.changed() => return,
        }
    }
}

/// Looks once.
///
/// # Errors
/// If the store fails; the next look does what this one could not.
pub async fn look(ca: &Ca) -> Result<(), WriteError<ReadError>> {
    let clock = &ca.clock;
    let reading = clock.read();
    let anchor = *clock.anchor();
    let told = *clock.told();
    if let Err(doubt) = anchor.judge(reading) {
        // One entry for each step, not one for each look: the clock that was doubted goes on.
        let known = told.is_some_and(|told| (told.by_secs - doubt.by_secs).abs() <= 1);
        if !known {
            tracing::error!("{doubt}; see `ca-server clock show`");
            let event = Event::ClockDoubted {
                by_secs: doubt.by_secs,
                what: doubt.what(),
            };
            write(ca, Actor::Server, event, None).await?;
            *clock.told() = Some(doubt);
        }
        return Ok(());
    }
    let (reason, fresh) = match (anchor.rests_on, told) {
        (Against::Ledger, _) => ("the host was started", Anchor::at(reading)),
        // Measured from where it was believed before: back and forth adds up to no step.
        (Against::Boottime, Some(_)) => ("it is back", anchor),
        (Against::Boottime, None) if is_to_follow(anchor, reading) => {
            ("it was set by little", Anchor::at(reading))
        }
        (Against::Boottime, None) if is_kept(ca)? => return Ok(()),
        (Against::Boottime, None) => ("the server was started", anchor),
    };
    let event = Event::ClockTrusted {
        by_ms: match anchor.rests_on {
            Against::Boottime => anchor.parted_ms(reading),
            Against::Ledger => 0,
        },
        reason: reason.to_owned(),
    };
    write(ca, Actor::Server, event, Some(fresh)).await?;
    *clock.anchor() = fresh;
    *clock.told() = None;
    // What waited for a signature, as host certificates do.
    if told.is_some() {
        ca.fleet_changed.notify_one();
    }
    Ok(())
}

/// A small step that is old enough to be forgotten.
fn is_to_follow(anchor: Anchor, reading: Reading) -> bool {
    anchor.parted_ms(reading).abs() >= WORTH_MS
        && reading.since_boot_ms - anchor.since_boot_ms >= FORGET_MS
}

/// Does the store know of this start of the host?
fn is_kept(ca: &Ca) -> Result<bool, WriteError<ReadError>> {
    let record: Option<ClockRecord> = ca
        .db
        .read(|view| view.get_json(Table::Meta, RECORD))
        .map_err(WriteError::Refused)?;
    Ok(record.is_some_and(|record| record.boot == boot()))
}

/// An admin says that the wall clock is right as it is: gives what was doubted, or nothing where nothing was.
///
/// # Errors
/// If the store fails: then nothing changed.
pub async fn accept(ca: &Ca, actor: Actor) -> Result<Option<Doubt>, WriteError<ReadError>> {
    let clock = &ca.clock;
    let reading = clock.read();
    let Err(doubt) = clock.anchor().judge(reading) else {
        return Ok(None);
    };
    let event = Event::ClockTrusted {
        by_ms: doubt.by_secs.saturating_mul(1000),
        reason: "an admin says so".to_owned(),
    };
    let fresh = Anchor::at(reading);
    write(ca, actor, event, Some(fresh)).await?;
    *clock.anchor() = fresh;
    *clock.told() = None;
    ca.fleet_changed.notify_one();
    Ok(Some(doubt))
}

async fn write(
    ca: &Ca,
    actor: Actor,
    event: Event,
    anchor: Option<Anchor>,
) -> Result<(), WriteError<ReadError>> {
    let at = unix_ms(ca.clock.now());
    let record = anchor.map(|anchor| ClockRecord {
        boot: boot(),
        offset_ms: anchor.offset_ms,
    });
    ca.db
        .write_async(move |txn| {
            if let Some(record) = &record {
                txn.put_json(Table::Meta, RECORD, record);
            }
            txn.record(at, &actor, &event);
            Ok::<_, ReadError>(())
        })
        .await
}
