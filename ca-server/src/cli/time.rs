//! Times and spans as people read and write them; the clock is an argument.

use time::{
    Date, Duration, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset,
    format_description::well_known::Rfc3339,
};

use super::args::ValueError;

/// The moment at which a command runs, in the zone that the person looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Now, with the local offset.
    pub now: OffsetDateTime,
}

impl Clock {
    /// The clock of this computer in its zone. Must run before threads do (the zone is not readable otherwise; UTC then).
    #[must_use]
    pub fn local() -> Self {
        let now = OffsetDateTime::now_utc();
        let offset = UtcOffset::local_offset_at(now).unwrap_or(UtcOffset::UTC);
        Self {
            now: now.to_offset(offset),
        }
    }

    /// `today 17:30`, `Tue 24 Nov 09:00` within a week, `2027-01-04 09:00` otherwise.
    #[must_use]
    pub fn when(&self, unix: i64) -> String {
        let Some(at) = self.at(unix) else {
            return impossible(unix);
        };
        let day = (at.date() - self.now.date()).whole_days();
        let hour_minute = format!("{:02}:{:02}", at.hour(), at.minute());
        match day {
            0 => format!("today {hour_minute}"),
            1 => format!("tomorrow {hour_minute}"),
            -1 => format!("yesterday {hour_minute}"),
            -6..=6 => format!(
                "{} {} {} {hour_minute}",
                short(&at.weekday().to_string()),
                at.day(),
                short(&at.month().to_string())
            ),
            _ => format!(
                "{:04}-{:02}-{:02} {hour_minute}",
                at.year(),
                u8::from(at.month()),
                at.day()
            ),
        }
    }

    /// `today 17:30 (in 7 h 12 min)`, `today 08:00 (9 min ago)`.
    #[must_use]
    pub fn until(&self, unix: i64) -> String {
        if self.at(unix).is_none() {
            return impossible(unix);
        }
        format!("{} ({})", self.when(unix), self.distance(unix))
    }

    /// `in 7 h 12 min`, `9 min ago`, `now`.
    #[must_use]
    pub fn distance(&self, unix: i64) -> String {
        let secs = unix.saturating_sub(self.now.unix_timestamp());
        match secs {
            0 => "now".to_owned(),
            secs if secs > 0 => format!("in {}", span(secs.unsigned_abs())),
            secs => format!("{} ago", span(secs.unsigned_abs())),
        }
    }

    /// `2026-11-22 17:30:05`, for the ledger.
    #[must_use]
    pub fn exact(&self, unix: i64) -> String {
        let Some(at) = self.at(unix) else {
            return impossible(unix);
        };
        format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        )
    }

    fn at(&self, unix: i64) -> Option<OffsetDateTime> {
        let at = OffsetDateTime::from_unix_timestamp(unix).ok()?;
        // Near the ends of the calendar even a shift by an offset overflows.
        let at = at.checked_to_offset(self.now.offset())?;
        (0..=9999).contains(&at.year()).then_some(at)
    }
}

/// RFC 3339 in UTC, for `--json`; `None` outside of the years 0 to 9999.
#[must_use]
pub fn iso(unix: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(unix)
        .ok()?
        .format(&Rfc3339)
        .ok()
}

/// `45 s`, `12 min`, `7 h 12 min`, `3 d 4 h`: the two largest units.
#[must_use]
pub fn span(secs: u64) -> String {
    let (minutes, hours, days) = (secs / 60, secs / 3600, secs / 86_400);
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{big} {big_unit}")
        } else {
            format!("{big} {big_unit} {small} {small_unit}")
        }
    };
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => two(hours, "h", minutes % 60, "min"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// `310 ms`, `1.2 s`, `75 s`.
#[must_use]
pub fn millis(millis: u64) -> String {
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..10_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        _ => format!("{} s", millis / 1000),
    }
}

fn short(word: &str) -> &str {
    word.get(..3).unwrap_or(word)
}

fn impossible(unix: i64) -> String {
    format!("an impossible time ({unix})")
}

/// When something ends, as a person writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// An exact moment.
    At(OffsetDateTime),
    /// A moment in the zone of whoever writes it.
    Local(PrimitiveDateTime),
    /// So long from now.
    In(Duration),
}

impl Deadline {
    /// As Unix seconds.
    #[must_use]
    pub fn unix(self, clock: Clock) -> i64 {
        match self {
            Self::At(at) => at.unix_timestamp(),
            Self::Local(at) => at.assume_offset(clock.now.offset()).unix_timestamp(),
            Self::In(span) => clock
                .now
                .unix_timestamp()
                .saturating_add(span.whole_seconds()),
        }
    }
}

/// `2026-12-24` (its end), `2026-12-24 17:30`, RFC 3339, or a span such as `30d`.
pub(crate) fn parse_deadline(text: &str) -> Result<Deadline, ValueError> {
    const RULE: ValueError = ValueError {
        rule: "expected 2026-12-24, \"2026-12-24 17:30\", 2026-12-24T17:30:00Z, or a span such as 8h or 30d",
    };
    if let Ok(secs) = parse_span_secs(text) {
        let secs = i64::try_from(secs).map_err(|_| RULE)?;
        return Ok(Deadline::In(Duration::seconds(secs)));
    }
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(Deadline::At(at));
    }
    let (date, clock) = match text.split_once([' ', 'T']) {
        Some((date, clock)) => (date, Some(clock)),
        None => (text, None),
    };
    let date = parse_date(date).ok_or(RULE)?;
    Ok(Deadline::Local(match clock {
        Some(clock) => PrimitiveDateTime::new(date, parse_clock(clock).ok_or(RULE)?),
        // Whoever writes "until the 24th" means that the 24th still counts.
        None => PrimitiveDateTime::new(date.next_day().ok_or(RULE)?, Time::MIDNIGHT),
    }))
}

/// `90s`, `30m`, `8h`, `7d`, as seconds; at least one.
pub(crate) fn parse_span_secs(text: &str) -> Result<u64, ValueError> {
    const RULE: ValueError = ValueError {
        rule: "expected a span such as 90s, 30m, 8h or 7d",
    };
    let unit = match text.chars().next_back().ok_or(RULE)? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(RULE),
    };
    digits(&text[..text.len() - 1])
        .and_then(|count| u64::from(count).checked_mul(unit))
        .filter(|secs| *secs > 0)
        .ok_or(RULE)
}

fn parse_date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let fine = parts.next().is_none() && year.len() == 4 && month.len() == 2 && day.len() == 2;
    let month = u8::try_from(digits(month)?).ok()?.try_into().ok()?;
    let date = Date::from_calendar_date(
        i32::try_from(digits(year)?).ok()?,
        month,
        u8::try_from(digits(day)?).ok()?,
    )
    .ok()?;
    fine.then_some(date)
}

fn parse_clock(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let fine = hour.len() == 2 && minute.len() == 2;
    let time = Time::from_hms(
        u8::try_from(digits(hour)?).ok()?,
        u8::try_from(digits(minute)?).ok()?,
        0,
    )
    .ok()?;
    fine.then_some(time)
}

/// ASCII digits only: `+5` and `٥` are numbers to nobody here.
fn digits(text: &str) -> Option<u32> {
    let fine = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    fine.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use time::macros::{datetime, offset};

    use super::*;

    const CLOCK: Clock = Clock {
        now: datetime!(2026-11-22 10:18:00 +1),
    };

    fn unix(at: OffsetDateTime) -> i64 {
        at.unix_timestamp()
    }

    #[test]
    fn a_time_reads_as_a_person_says_it() {
        let cases = [
            (
                datetime!(2026-11-22 17:30 +1),
                "today 17:30 (in 7 h 12 min)",
            ),
            (datetime!(2026-11-22 10:09 +1), "today 10:09 (9 min ago)"),
            (datetime!(2026-11-22 10:18 +1), "today 10:18 (now)"),
            (
                datetime!(2026-11-22 23:30 UTC),
                "tomorrow 00:30 (in 14 h 12 min)",
            ),
            (
                datetime!(2026-11-21 22:10 +1),
                "yesterday 22:10 (12 h 8 min ago)",
            ),
            (
                datetime!(2026-11-24 09:00 +1),
                "Tue 24 Nov 09:00 (in 1 d 22 h)",
            ),
            (
                datetime!(2027-01-04 09:00 +1),
                "2027-01-04 09:00 (in 42 d 22 h)",
            ),
        ];
        for (at, expected) in cases {
            assert_eq!(CLOCK.until(unix(at)), expected);
        }
    }

    #[test]
    fn w3_no_time_of_the_server_panics() {
        for unix in [i64::MIN, i64::MAX, -62_167_219_200, 253_402_300_799, 0, -1] {
            for offset in [offset!(+14), offset!(-12), offset!(UTC)] {
                let clock = Clock {
                    now: datetime!(2026-11-22 10:18 UTC).to_offset(offset),
                };
                assert!(!clock.until(unix).is_empty());
                assert!(!clock.exact(unix).is_empty());
                assert!(!clock.distance(unix).is_empty());
            }
            let _ = iso(unix);
        }
        assert_eq!(
            CLOCK.when(i64::MAX),
            "an impossible time (9223372036854775807)"
        );
    }

    #[test]
    fn spans_have_their_two_largest_units() {
        let cases = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (25_920, "7 h 12 min"),
            (86_400, "1 d"),
            (100_000, "1 d 3 h"),
        ];
        for (secs, expected) in cases {
            assert_eq!(span(secs), expected);
        }
        assert_eq!(millis(310), "310 ms");
        assert_eq!(millis(1249), "1.2 s");
        assert_eq!(millis(75_100), "75 s");
    }

    #[test]
    fn deadlines_are_read_in_the_persons_zone() {
        let cases = [
            ("2026-12-24", datetime!(2026-12-25 00:00 +1)),
            ("2026-12-24 17:30", datetime!(2026-12-24 17:30 +1)),
            ("2026-12-24T17:30", datetime!(2026-12-24 17:30 +1)),
            ("2026-12-24T17:30:00Z", datetime!(2026-12-24 17:30 UTC)),
            ("8h", datetime!(2026-11-22 18:18 +1)),
            ("30d", datetime!(2026-12-22 10:18 +1)),
        ];
        for (text, expected) in cases {
            let deadline = parse_deadline(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(deadline.unix(CLOCK), unix(expected), "{text}");
        }
        for text in [
            "",
            "soon",
            "24.12.2026",
            "2026-13-01",
            "2026-02-30",
            "2026-12-24 25:00",
            "0h",
            "-1h",
            "+1h",
            "1.5h",
            "h",
            "٣h",
            "é",
            "9999999999999d",
            "2026-12-24-1",
            "26-12-24",
        ] {
            assert!(parse_deadline(text).is_err(), "{text:?}");
        }
    }
}
