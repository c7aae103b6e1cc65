//! How things are shown: times, durations, columns, and colour only where it means something.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use anstyle::{AnsiColor, Style};
use jiff::{
    Timestamp,
    tz::{Offset, TimeZone},
};

/// What colour means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// In order.
    Good,
    /// Worth a look.
    Caution,
    /// Not in order.
    Bad,
}

/// Prints to standard output; a reader that has gone (`| head`) is no error.
pub fn out(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// Prints a line to standard error.
pub fn err(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Are colours wanted on standard output?
#[must_use]
pub fn colours() -> bool {
    io::stdout().is_terminal()
        && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// `text` in the colour of its tone, where colours are wanted.
#[must_use]
pub fn toned(text: &str, tone: Tone) -> String {
    if !colours() {
        return text.to_owned();
    }
    let colour = match tone {
        Tone::Good => AnsiColor::Green,
        Tone::Caution => AnsiColor::Yellow,
        Tone::Bad => AnsiColor::Red,
    };
    let style = Style::new().fg_color(Some(colour.into()));
    format!("{style}{text}{style:#}")
}

/// `7 h 59 min`, `12 min`, `40 s`.
#[must_use]
pub fn duration(secs: i64) -> String {
    let secs = secs.max(0);
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 => format!("{} min", secs / 60),
        3600..172_800 => format!("{} h {} min", secs / 3600, secs % 3600 / 60),
        _ => format!("{} days", secs / 86_400),
    }
}

/// `17:42 (in 7 h 59 min)` by this computer's time zone, with the date where it is another day; `17:42 UTC (…)` where the
/// zone is that, or unknown.
#[must_use]
pub fn when(at_unix: i64, now_unix: i64) -> String {
    when_in(
        &TimeZone::try_system().unwrap_or(TimeZone::UTC),
        at_unix,
        now_unix,
    )
}

fn when_in(zone: &TimeZone, at_unix: i64, now_unix: i64) -> String {
    let distance = if at_unix >= now_unix {
        format!("in {}", duration(at_unix - now_unix))
    } else {
        format!("{} ago", duration(now_unix - at_unix))
    };
    let local = |unix| Some(Timestamp::from_second(unix).ok()?.to_zoned(zone.clone()));
    let Some(at) = local(at_unix) else {
        return distance;
    };
    let mut clock = if local(now_unix).is_some_and(|now| now.date() == at.date()) {
        at.strftime("%H:%M").to_string()
    } else {
        at.strftime("%Y-%m-%d %H:%M").to_string()
    };
    if zone
        .iana_name()
        .is_none_or(|name| matches!(name, "UTC" | "Etc/UTC" | "Etc/Unknown"))
        && at.offset() == Offset::UTC
    {
        clock.push_str(" UTC");
    }
    format!("{clock} ({distance})")
}

/// Rows as aligned columns, each line indented by two; the last column is not padded.
#[must_use]
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from("  ");
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_read_them() {
        let when = |at, now| when_in(&TimeZone::UTC, at, now);
        assert_eq!(
            when(1_800_000_000 + 28_740, 1_800_000_000),
            "15:59 UTC (in 7 h 59 min)"
        );
        assert_eq!(
            when(1_800_000_000 - 40, 1_800_000_000),
            "07:59 UTC (40 s ago)"
        );
        assert_eq!(
            when(1_800_086_400, 1_800_000_000),
            "2027-01-16 08:00 UTC (in 24 h 0 min)"
        );
        // Another day begins at another time there, and summer is an hour ahead of winter.
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(
            when_in(&berlin, 1_800_000_000 + 28_740, 1_800_000_000),
            "16:59 (in 7 h 59 min)"
        );
        assert_eq!(
            when_in(&berlin, 1_800_000_000 + 55_000, 1_800_000_000),
            "2027-01-16 00:16 (in 15 h 16 min)"
        );
        assert_eq!(
            when_in(&berlin, 1_815_000_000, 1_815_000_000),
            "00:40 (in 0 s)"
        );
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [
            vec!["web-1".into(), "alice, deploy".into(), "web".into()],
            vec!["db".into(), "alice".into(), "db".into()],
        ];
        assert_eq!(
            columns(&rows),
            "  web-1  alice, deploy  web\n  db     alice          db\n"
        );
    }
}
