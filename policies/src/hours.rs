//! The days and hours in which a grant is in force, on the wall clock of a time zone.

mod text;

use jiff::{Timestamp, tz::TimeZone};
use time::OffsetDateTime;

pub use text::HoursError;

/// How far ahead hours are looked at, in seconds: hours that never close are said to be open until then, and hours that do not open
/// before then are said not to open. It is more than [`crate::check::MAX_CEILING_SECS`], so that it never shortens a certificate.
pub const HORIZON_SECS: i64 = 32 * DAY_SECS;

const MINUTE_SECS: i64 = 60;
const DAY_SECS: i64 = 24 * 3600;

/// Days and hours: `Mon-Fri 08:00-18:00 Europe/Berlin`, several windows joined by `; `.
///
/// A window is open when a wall clock in its zone shows one of its days and a time from its begin up to, and without, its end. That
/// alone decides, also where clocks are turned: a time that is left out in spring is never shown, so that nothing is open in it, and
/// a time that comes twice in autumn is shown twice. So no window lasts past its end's wall time, whichever of two it is.
///
/// A window whose end is not after its begin (`22:00-06:00`) is over midnight and belongs to the day on which it begins. The zone's
/// rules come with the program: no file of the system is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// As written, in order; never empty.
    windows: Vec<Window>,
}

/// One begin and one end, on some days.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Window {
    days: Days,
    /// Of the day on which it begins.
    begin_minute: u16,
    /// After `begin_minute`; above 1440 it is a time of the day after.
    end_minute: u16,
    zone: TimeZone,
}

/// Days of the week: bit 0 is Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Days(u8);

impl Days {
    fn contains(self, day: u8) -> bool {
        self.0 & (1 << day) != 0
    }
}

/// Where the wall clock stands at an instant, as seconds since 1970 if it were UTC.
#[derive(Debug, Clone, Copy)]
struct Wall {
    secs: i64,
}

impl Wall {
    fn midnight(self) -> i64 {
        self.secs - self.secs.rem_euclid(DAY_SECS)
    }
}

/// The day of the week on which the wall second `secs` lies; 0 is Monday.
fn week_day(secs: i64) -> u8 {
    // 1970-01-01 was a Thursday.
    u8::try_from((secs.div_euclid(DAY_SECS) + 3).rem_euclid(7)).expect("a remainder of seven")
}

impl Hours {
    /// The first second at or after which these hours are closed, if they are open at `now`; `None` if they are closed.
    ///
    /// Windows that touch or overlap count as one. Never more than [`HORIZON_SECS`] ahead.
    #[must_use]
    pub fn open_until(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let end = self.open_until_unix_secs(now.unix_timestamp())?;
        OffsetDateTime::from_unix_timestamp(end).ok()
    }

    /// The first second after `now` in which these hours are open, if they are closed at `now`; `None` if they are open already, or
    /// stay closed for [`HORIZON_SECS`] (a window within a time that the clocks leave out).
    #[must_use]
    pub fn opens_at(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let now = now.unix_timestamp();
        if self.open_until_unix_secs(now).is_some() {
            return None;
        }
        let opens = self
            .windows
            .iter()
            .filter_map(|window| window.opens(now))
            .min()?;
        OffsetDateTime::from_unix_timestamp(opens).ok()
    }

    /// [`Self::open_until`] in Unix seconds; every border lies on a whole second.
    pub(crate) fn open_until_unix_secs(&self, now: i64) -> Option<i64> {
        let horizon = now.checked_add(HORIZON_SECS)?;
        let mut open_until = now;
        while open_until < horizon {
            let further = self
                .windows
                .iter()
                .filter_map(|window| window.closes(open_until))
                .max();
            match further {
                Some(closes) if closes > open_until => open_until = closes,
                Some(_) | None => break,
            }
        }
        (open_until > now).then_some(open_until.min(horizon))
    }
}

impl Window {
    /// When this window closes, if it is open at `at`.
    fn closes(&self, mut at: i64) -> Option<i64> {
        let mut closes = None;
        // A window is shorter than two days: few clocks are turned in it, and each turn is one round.
        while let Some(end) = self.shown(self.wall(at)?) {
            let by_this_offset = at.checked_add(end - self.wall(at)?.secs)?;
            match self.turned_after(at) {
                Some(turned) if turned < by_this_offset => {
                    closes = Some(turned);
                    at = turned;
                }
                Some(_) | None => return Some(by_this_offset),
            }
        }
        closes
    }

    /// When this window, closed at `at`, opens next within the horizon.
    fn opens(&self, mut at: i64) -> Option<i64> {
        let horizon = at.checked_add(HORIZON_SECS)?;
        while at < horizon {
            let wall = self.wall(at)?;
            if self.shown(wall).is_some() {
                return Some(at);
            }
            let begin = (0..8)
                .map(|day| wall.midnight() + day * DAY_SECS)
                .filter(|&midnight| self.days.contains(week_day(midnight)))
                .map(|midnight| midnight + i64::from(self.begin_minute) * MINUTE_SECS)
                .find(|&begin| begin > wall.secs)?;
            let by_this_offset = at.checked_add(begin - wall.secs)?;
            at = match self.turned_after(at) {
                Some(turned) => turned.min(by_this_offset),
                None => by_this_offset,
            };
        }
        None
    }

    /// The wall second at which the window ends, if it is open while the clock shows `wall`.
    fn shown(&self, wall: Wall) -> Option<i64> {
        let yesterday = wall.midnight() - DAY_SECS;
        [wall.midnight(), yesterday]
            .into_iter()
            .filter(|&midnight| self.days.contains(week_day(midnight)))
            .map(|midnight| {
                (
                    midnight + i64::from(self.begin_minute) * MINUTE_SECS,
                    midnight + i64::from(self.end_minute) * MINUTE_SECS,
                )
            })
            .find(|(begin, end)| (*begin..*end).contains(&wall.secs))
            .map(|(_, end)| end)
    }

    /// What the clock shows at `at`; `None` far outside of the calendar.
    fn wall(&self, at: i64) -> Option<Wall> {
        let offset = self.zone.to_offset(Timestamp::from_second(at).ok()?);
        Some(Wall {
            secs: at.checked_add(i64::from(offset.seconds()))?,
        })
    }

    /// When the zone's clocks are turned next after `at`.
    fn turned_after(&self, at: i64) -> Option<i64> {
        let next = self.zone.following(Timestamp::from_second(at).ok()?).next();
        next.map(|transition| transition.timestamp().as_second())
    }
}
