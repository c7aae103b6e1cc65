//! The CA's clock, and whether it may be believed: a step of the wall clock stops signing, and nothing else (Z5).
//!
//! Two clocks of the kernel are compared: the wall clock, which can be set, and the time since boot (`CLOCK_BOOTTIME`), which cannot, and which
//! goes on while the host sleeps. NTP that slews drives both alike; what parts them is a step.
//!
//! | how far they parted | the CA's time | certificates |
//! |---|---|---|
//! | at most 30 s in an hour | the wall clock | signed |
//! | more | goes on as if nothing had been set | none: nobody knows which of the two is right |
//!
//! Because the CA's time goes on, nothing that ends by a clock ends too early or too late meanwhile: no entry leaves the KRL, no key
//! retires, no account expires, and a TOTP code is judged by the time in which the authenticator lives.
//!
//! It heals by itself when the wall clock is back, or by an admin's word that it is right as it is (`ca-server clock accept`). A restart is no such
//! word: how the two clocks stood is in the store. After a reboot the time since boot says nothing about before, so the wall clock must be
//! neither earlier than the last ledger entry nor more than a week later: a week is what KRL entries stay beyond the longest
//! lifetime, so an error that is not noticed takes no revocation back.

pub mod watch;

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicI64, Ordering},
};

use nix::time::{ClockId, clock_gettime};
use time::{Duration, OffsetDateTime};

use crate::{ca::unix_ms, revoke::GRACE_SECS};

/// A step of more than this, in milliseconds, in either direction, stops signing (Z5).
const STEP_MS: i64 = 30_000;
/// Steps that are smaller are followed, and forgotten after this, in milliseconds: so they add up to less than a step an hour.
const FORGET_MS: i64 = 3_600_000;
/// What is smaller than this, in milliseconds, is not worth a ledger entry.
const WORTH_MS: i64 = 1_000;
/// How much later than the last ledger entry it may be after a reboot, in milliseconds.
const GAP_MS: i64 = GRACE_SECS.cast_signed() * 1000;

/// The wall clock is not where it must be: nothing is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the CA's clock {}, and nothing is signed until that is settled", self.what())]
pub struct Doubt {
    /// By how much, in seconds: negative where it is behind.
    pub by_secs: i64,
    /// What it was compared with.
    pub against: Against,
}

/// What the wall clock is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The time since boot: somebody set the wall clock.
    Boottime,
    /// The last ledger entry: the host was started since.
    Ledger,
}

impl Doubt {
    /// What is wrong, as the middle of a sentence.
    #[must_use]
    pub fn what(&self) -> String {
        let secs = self.by_secs.unsigned_abs();
        match (self.against, self.by_secs < 0) {
            (Against::Boottime, false) => format!("was set {secs} s forward"),
            (Against::Boottime, true) => format!("was set {secs} s back"),
            (Against::Ledger, false) => {
                format!("is {secs} s after the last ledger entry since the host was started")
            }
            (Against::Ledger, true) => {
                format!("is {secs} s before the last ledger entry since the host was started")
            }
        }
    }
}

/// A moment that may stand in a certificate: only [`Clock::steady`] makes these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steady(OffsetDateTime);

impl Steady {
    /// The moment.
    #[must_use]
    pub fn at(self) -> OffsetDateTime {
        self.0
    }
}

/// The CA's clock. Tests may shift it, stop it or step it; nothing else does.
#[derive(Debug)]
pub struct Clock {
    /// Time that passed in a test, for both clocks.
    shift_secs: AtomicI64,
    /// Where it was stopped, in seconds since 1970; 0 while it runs.
    stopped_unix: AtomicI64,
    /// By how much a test set the wall clock.
    set_secs: AtomicI64,
    anchor: Mutex<Anchor>,
    /// What the ledger was told last.
    told: Mutex<Option<Doubt>>,
}

/// Both clocks at one moment, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: OffsetDateTime,
    since_boot_ms: i64,
}

/// How the two clocks stood when the wall clock was believed.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    /// Wall clock minus time since boot.
    offset_ms: i64,
    /// When that was.
    since_boot_ms: i64,
    /// What it rests on.
    rests_on: Against,
}

impl Reading {
    fn offset_ms(self) -> i64 {
        unix_ms(self.wall) - self.since_boot_ms
    }
}

impl Anchor {
    fn at(reading: Reading) -> Self {
        Self {
            offset_ms: reading.offset_ms(),
            since_boot_ms: reading.since_boot_ms,
            rests_on: Against::Boottime,
        }
    }

    /// How far the wall clock went from where it was believed.
    fn parted_ms(self, reading: Reading) -> i64 {
        reading.offset_ms() - self.offset_ms
    }

    fn judge(self, reading: Reading) -> Result<(), Doubt> {
        let parted_ms = self.parted_ms(reading);
        let most_ms = match self.rests_on {
            Against::Boottime => STEP_MS,
            Against::Ledger => GAP_MS,
        };
        if (-STEP_MS..=most_ms).contains(&parted_ms) {
            Ok(())
        } else {
            Err(Doubt {
                by_secs: parted_ms / 1000,
                against: self.rests_on,
            })
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        let clock = Self {
            shift_secs: AtomicI64::default(),
            stopped_unix: AtomicI64::default(),
            set_secs: AtomicI64::default(),
            anchor: Mutex::new(Anchor {
                offset_ms: 0,
                since_boot_ms: 0,
                rests_on: Against::Boottime,
            }),
            told: Mutex::default(),
        };
        *clock.anchor() = Anchor::at(clock.read());
        clock
    }
}

impl Clock {
    /// Now: the wall clock, or where it would be if nobody had set it.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        self.look().0
    }

    /// Now, for a certificate.
    ///
    /// # Errors
    /// When the wall clock cannot be believed.
    pub fn steady(&self) -> Result<Steady, Doubt> {
        // One reading is judged and given out: a step in between cannot slip through.
        let (now, doubt) = self.look();
        match doubt {
            None => Ok(Steady(now)),
            Some(doubt) => Err(doubt),
        }
    }

    /// Shows this second until it is shifted.
    pub fn stop(&self) {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        self.stopped_unix.store(now, Ordering::Relaxed);
    }

    /// Time passes, or is taken back, for everybody: no step.
    pub fn shift(&self, secs: i64) {
        self.shift_secs.fetch_add(secs, Ordering::Relaxed);
    }

    /// Sets the wall clock, as whoever may do that on the host: a step.
    pub fn set_by(&self, secs: i64) {
        self.set_secs.fetch_add(secs, Ordering::Relaxed);
    }

    /// The CA's time, and why nothing is signed by it; from one reading of both clocks.
    #[must_use]
    pub fn look(&self) -> (OffsetDateTime, Option<Doubt>) {
        let reading = self.read();
        let anchor = *self.anchor();
        let doubt = anchor.judge(reading).err();
        let believed = match (doubt, self.stopped_unix.load(Ordering::Relaxed)) {
            (None, 0) => reading.wall,
            (Some(_), 0) => reading.wall - Duration::milliseconds(anchor.parted_ms(reading)),
            (_, stopped) => OffsetDateTime::from_unix_timestamp(stopped).unwrap_or(reading.wall),
        };
        (believed + self.shifted(), doubt)
    }

    fn read(&self) -> Reading {
        let since_boot =
            clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has CLOCK_BOOTTIME since 2.6.39");
        let set = Duration::seconds(self.set_secs.load(Ordering::Relaxed));
        Reading {
            wall: OffsetDateTime::now_utc() + set,
            since_boot_ms: since_boot.tv_sec() * 1000 + since_boot.tv_nsec() / 1_000_000,
        }
    }

    fn shifted(&self) -> Duration {
        Duration::seconds(self.shift_secs.load(Ordering::Relaxed))
    }

    fn anchor(&self) -> MutexGuard<'_, Anchor> {
        self.anchor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> MutexGuard<'_, Option<Doubt>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(wall_secs: i64, since_boot_secs: i64) -> Reading {
        Reading {
            wall: OffsetDateTime::from_unix_timestamp(wall_secs).unwrap(),
            since_boot_ms: since_boot_secs * 1000,
        }
    }

    #[test]
    fn z5_what_parts_the_two_clocks_is_a_step_and_what_drives_both_is_none() {
        let anchor = Anchor::at(reading(1_800_000_000, 500));
        // A year of work and sleep.
        let year = 365 * 86_400;
        assert_eq!(
            anchor.judge(reading(1_800_000_000 + year, 500 + year)),
            Ok(())
        );
        for secs in [30, -30] {
            assert_eq!(anchor.judge(reading(1_800_000_000 + secs, 500)), Ok(()));
        }
        for secs in [31, -31, 86_400, -86_400] {
            let doubt = anchor
                .judge(reading(1_800_000_000 + secs, 500))
                .unwrap_err();
            assert_eq!(
                doubt,
                Doubt {
                    by_secs: secs,
                    against: Against::Boottime
                }
            );
        }
    }

    #[test]
    fn z5_after_a_reboot_it_is_not_before_the_ledger_and_not_long_after() {
        let anchor = Anchor {
            rests_on: Against::Ledger,
            ..Anchor::at(reading(1_800_000_000, 10))
        };
        let week = 7 * 86_400;
        for secs in [-30, 0, week] {
            assert_eq!(anchor.judge(reading(1_800_000_000 + secs, 10)), Ok(()));
        }
        for secs in [-31, week + 1] {
            assert!(
                anchor.judge(reading(1_800_000_000 + secs, 10)).is_err(),
                "{secs}"
            );
        }
    }
}
