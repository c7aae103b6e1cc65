//! How often the server looks at its machines by itself.

use serde::{Deserialize, Serialize};

/// `[check]` of the configuration file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckConfig {
    /// How often each machine is looked at: `24h`, `30m`, `1d`; `never`.
    pub every: Every,
}

/// The units, longest first.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Every {
    /// Only when somebody asks.
    Never,
    /// After so many seconds.
    Secs(u64),
}

impl Default for Every {
    fn default() -> Self {
        Self::Secs(24 * 3600)
    }
}

/// A text that does not say how often.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} does not say how often; write 24h, 30m, 1d (at least 1s), or never")]
pub struct EveryError(String);

impl TryFrom<String> for Every {
    type Error = EveryError;

    fn try_from(text: String) -> Result<Self, EveryError> {
        if text == "never" {
            return Ok(Self::Never);
        }
        let number = text.trim_end_matches(['s', 'm', 'h', 'd']);
        let unit = UNITS
            .iter()
            .find(|(unit, _)| *unit == &text[number.len()..]);
        let count: Option<u64> = number.parse().ok().filter(|count| *count > 0);
        let secs = count
            .zip(unit)
            .and_then(|(count, (_, secs))| count.checked_mul(*secs));
        secs.map(Self::Secs)
            .ok_or_else(|| EveryError(text.chars().take(80).collect()))
    }
}

impl From<Every> for String {
    fn from(every: Every) -> Self {
        match every {
            Every::Never => "never".to_owned(),
            Every::Secs(secs) => {
                let fits = |unit: &&(&str, u64)| secs % unit.1 == 0;
                let (unit, length) = UNITS.iter().find(fits).unwrap_or(&("s", 1));
                format!("{}{unit}", secs / length)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_often_is_written_as_people_say_it() {
        for (text, every) in [
            ("never", Every::Never),
            ("24h", Every::Secs(86_400)),
            ("1d", Every::Secs(86_400)),
            ("90s", Every::Secs(90)),
        ] {
            assert_eq!(Every::try_from(text.to_owned()), Ok(every));
            let again = Every::try_from(String::from(every));
            assert_eq!(again, Ok(every));
        }
        for text in [
            "",
            "0s",
            "often",
            "24",
            "-1h",
            "1hh",
            "s",
            "99999999999999999999d",
        ] {
            assert!(Every::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }
}
