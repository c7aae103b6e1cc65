//! Hours as text: `Mon-Fri 08:00-18:00 Europe/Berlin; Sat 10:00-12:00 Europe/Berlin`.

use std::{fmt, str::FromStr};

use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{Days, Hours, Window};

/// The most windows in one text.
const WINDOWS_MAX: usize = 64;

const DAY_NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

const DAY_MINUTES: u16 = 24 * 60;

/// A text that says no hours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    /// A window has too few or too many parts, or there is none.
    #[error(
        "{text:?} is no window of hours; write days, times and, unless it is UTC, the time zone, such as \"Mon-Fri 08:00-18:00 Europe/Berlin\", and join several with \"; \""
    )]
    Window {
        /// The window as it came (cut to 80 characters).
        text: String,
    },
    /// Days that are none.
    #[error(
        "{text:?} are no days; write Mon Tue Wed Thu Fri Sat Sun as \"Mon-Fri\" or \"Mon,Wed\""
    )]
    Days {
        /// The days as they came.
        text: String,
    },
    /// Times that are none.
    #[error("{text:?} are no times; write begin and end in 24 hours, such as \"08:00-18:00\"")]
    Times {
        /// The times as they came.
        text: String,
    },
    /// Begin and end are the same.
    #[error("{text:?} begins when it ends; write 00:00-24:00 for a whole day")]
    Empty {
        /// The times as they came.
        text: String,
    },
    /// A zone that nobody knows.
    #[error("the time zone {text:?} is not known; write its IANA name, such as Europe/Berlin")]
    Zone {
        /// The zone as it came.
        text: String,
    },
    /// Too many windows.
    #[error(
        "these are {count} windows, more than the {WINDOWS_MAX} that hours may have; join some"
    )]
    TooMany {
        /// How many there were.
        count: usize,
    },
}

impl FromStr for Hours {
    type Err = HoursError;

    /// Spaces around and between the parts are free, as is the case of days and zone; [`fmt::Display`] writes the one canonical form.
    fn from_str(text: &str) -> Result<Self, HoursError> {
        let count = text.split(';').count();
        if count > WINDOWS_MAX {
            return Err(HoursError::TooMany { count });
        }
        let windows = text.split(';').map(window).collect::<Result<_, _>>()?;
        Ok(Self { windows })
    }
}

fn window(text: &str) -> Result<Window, HoursError> {
    let parts: Vec<&str> = text.split_ascii_whitespace().collect();
    let (days_text, times_text, zone_text) = match *parts.as_slice() {
        [days, times] => (days, times, None),
        [days, times, zone] => (days, times, Some(zone)),
        _ => return Err(HoursError::Window { text: cut(text) }),
    };
    let (begin_minute, end_minute) = times(times_text)?;
    Ok(Window {
        days: days(days_text).ok_or_else(|| HoursError::Days {
            text: cut(days_text),
        })?,
        begin_minute,
        end_minute,
        zone: match zone_text {
            None => TimeZone::UTC,
            Some(name) => zone(name).ok_or_else(|| HoursError::Zone { text: cut(name) })?,
        },
    })
}

/// `Mon-Fri,Sun`; a range may go over the week's end (`Sat-Mon`).
fn days(text: &str) -> Option<Days> {
    let mut bits = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        bits |= 1 << at;
        while at != last {
            at = (at + 1) % 7;
            bits |= 1 << at;
        }
    }
    Some(Days(bits))
}

fn day(text: &str) -> Option<u8> {
    (0..7).find(|&at| DAY_NAMES[usize::from(at)].eq_ignore_ascii_case(text))
}

/// Begin and end in minutes; an end over midnight is counted on.
fn times(text: &str) -> Result<(u16, u16), HoursError> {
    let wrong = || HoursError::Times { text: cut(text) };
    let (begin, end) = text.split_once('-').ok_or_else(wrong)?;
    let begin = minute(begin)
        .filter(|&at| at < DAY_MINUTES)
        .ok_or_else(wrong)?;
    let end = minute(end).ok_or_else(wrong)?;
    if begin == end {
        return Err(HoursError::Empty { text: cut(text) });
    }
    let over_midnight = if end < begin { DAY_MINUTES } else { 0 };
    Ok((begin, end + over_midnight))
}

/// `HH:MM`, 00:00 to 24:00.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| -> Option<u16> {
        let two = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| two)
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    let at = hour * 60 + minute;
    (minute < 60 && at <= DAY_MINUTES).then_some(at)
}

/// From the rules that are compiled in: a system's own files may say something else on each host.
fn zone(name: &str) -> Option<TimeZone> {
    let zone = TimeZoneDatabase::bundled().get(name).ok()?;
    zone.iana_name().is_some().then_some(zone)
}

fn cut(text: &str) -> String {
    text.trim().chars().take(80).collect()
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, window) in self.windows.iter().enumerate() {
            let joint = if at == 0 { "" } else { "; " };
            write!(f, "{joint}{window}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 24:00 is 24:00; what is above is the day after.
        let end = match self.end_minute {
            minute if minute > DAY_MINUTES => minute - DAY_MINUTES,
            minute => minute,
        };
        write!(
            f,
            "{} {:02}:{:02}-{:02}:{:02}",
            self.days,
            self.begin_minute / 60,
            self.begin_minute % 60,
            end / 60,
            end % 60
        )?;
        match self.zone.iana_name() {
            None | Some("UTC") => Ok(()),
            Some(name) => write!(f, " {name}"),
        }
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut joint = "";
        let mut at = 0;
        while at < 7 {
            let length = (at..7).take_while(|&day| self.contains(day)).count();
            let (first, last) = (usize::from(at), usize::from(at) + length.max(1) - 1);
            match length {
                0 => {}
                1 | 2 => {
                    write!(f, "{joint}{}", DAY_NAMES[first..=last].join(","))?;
                    joint = ",";
                }
                _ => {
                    write!(f, "{joint}{}-{}", DAY_NAMES[first], DAY_NAMES[last])?;
                    joint = ",";
                }
            }
            at = u8::try_from(last + 1).expect("a week has seven days");
        }
        Ok(())
    }
}

impl Serialize for Hours {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
