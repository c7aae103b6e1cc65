//! Durations as people write them: `8h`, `15m`, `1h30m`, `90s`.

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no duration; write whole days, hours, minutes and seconds, such as 8h, 15m, 1h30m or 90s"
)]
pub struct DurationError {
    /// The text as it came (cut to 80 characters).
    pub text: String,
}

/// The units, longest first.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// Reads a duration, in seconds. Units come from the longest to the shortest, each at most once.
///
/// # Errors
/// It is no duration, or too long to count.
pub fn duration_secs(text: &str) -> Result<u64, DurationError> {
    let wrong = || DurationError {
        text: text.chars().take(80).collect(),
    };
    let mut secs: u64 = 0;
    let mut rest = text;
    let mut units = UNITS.as_slice();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let count: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = rest[digits..].chars().next().ok_or_else(wrong)?;
        let at = units
            .iter()
            .position(|(letter, _)| *letter == unit)
            .ok_or_else(wrong)?;
        secs = count
            .checked_mul(units[at].1)
            .and_then(|more| secs.checked_add(more))
            .ok_or_else(wrong)?;
        units = &units[at + 1..];
        rest = &rest[digits + unit.len_utf8()..];
    }
    Ok(secs)
}

/// Writes a duration in hours, minutes and seconds; [`duration_secs`] reads it back.
#[must_use]
pub fn duration_text(secs: u64) -> String {
    let parts = [(secs / 3600, 'h'), (secs / 60 % 60, 'm'), (secs % 60, 's')];
    let text: String = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_come_back_as_they_were_written() {
        for secs in [0, 1, 59, 60, 61, 3599, 3600, 3661, 86_400, 90_061, u64::MAX] {
            assert_eq!(duration_secs(&duration_text(secs)), Ok(secs), "{secs}");
        }
        assert_eq!(duration_secs("1d2h3m4s"), Ok(93_784));
        assert_eq!(duration_secs("90m"), Ok(5400));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "8",
            "h",
            "8 h",
            "-8h",
            "8h ",
            "8H",
            "1.5h",
            "8h8h",
            "5m8h",
            "8ä",
            "٣h",
            "+8h",
            "18446744073709551616s",
            "18446744073709551615h",
            "18446744073709551615s1s",
        ] {
            assert!(duration_secs(text).is_err(), "{text:?}");
        }
    }
}
