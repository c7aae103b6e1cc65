//! Days and hours: the text, the windows, and the two days a year on which clocks are turned.

use policies::{Hours, HoursError, hours::HORIZON_SECS};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

fn hours(text: &str) -> Hours {
    text.parse().unwrap()
}

fn at(text: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text, &Rfc3339).unwrap()
}

/// `text` is open from `begin` until `end`: not a second before, and until that end at its first and last second.
#[track_caller]
fn opens(text: &str, begin: &str, end: &str) {
    let (hours, begin, end) = (hours(text), at(begin), at(end));
    let second = Duration::seconds(1);
    assert_eq!(hours.open_until(begin - second), None, "{text} before");
    assert_eq!(hours.open_until(begin), Some(end), "{text} at its begin");
    assert_eq!(
        hours.open_until(end - second),
        Some(end),
        "{text} at its last second"
    );
    assert_eq!(
        hours.open_until(end - Duration::NANOSECOND),
        Some(end),
        "{text}"
    );
    assert_eq!(hours.open_until(end), None, "{text} at its end");
    assert_eq!(hours.opens_at(begin), None, "{text} is open");
    assert_eq!(hours.opens_at(begin - second), Some(begin), "{text} opens");
}

#[test]
fn one_canonical_text_comes_back_as_itself() {
    for text in [
        "Mon-Fri 08:00-18:00 Europe/Berlin",
        "Mon,Wed 22:00-06:00",
        "Sat,Sun 00:00-24:00 America/New_York",
        "Mon-Sun 00:00-24:00",
        "Mon-Wed,Fri-Sun 06:30-24:00 Asia/Kolkata",
        "Mon 08:00-12:00; Mon 13:00-17:00; Tue 08:00-12:00 Pacific/Auckland",
    ] {
        let hours = hours(text);
        assert_eq!(hours.to_string(), text);
        let json = serde_json::to_string(&hours).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Hours>(&json).unwrap(), hours);
    }
    for (written, canonical) in [
        ("mon-tue  8:00-18:00", None),
        (" MON , TUE 08:00-18:00", None),
        (
            " mon,TUE,wed 08:00-18:00  europe/berlin ;sun 10:00-00:00 UTC",
            Some("Mon-Wed 08:00-18:00 Europe/Berlin; Sun 10:00-24:00"),
        ),
        ("Sat-Mon 08:00-18:00", Some("Mon,Sat,Sun 08:00-18:00")),
    ] {
        assert_eq!(
            written
                .parse::<Hours>()
                .ok()
                .map(|hours| hours.to_string())
                .as_deref(),
            canonical,
            "{written}"
        );
    }
}

#[test]
fn what_says_no_hours_is_refused_with_what_to_write() {
    let wrong = |text: &str| text.parse::<Hours>().unwrap_err();
    for text in [
        "",
        " ",
        "Mon",
        "08:00-18:00",
        "Mon-Fri 08:00-18:00;",
        "Mon 08:00 - 18:00 UTC",
        "Mon 08:00-18:00 Europe/Berlin x",
    ] {
        assert!(
            matches!(
                wrong(text),
                HoursError::Window { .. } | HoursError::Times { .. }
            ),
            "{text:?}: {}",
            wrong(text)
        );
    }
    for text in [
        "Montag",
        "Mo",
        "Mon-",
        "-Mon",
        "Mon,",
        "Mon-Tue-Wed",
        "*",
        "1-5",
        "daily",
        "Ｍon",
    ] {
        assert!(
            matches!(
                wrong(&format!("{text} 08:00-18:00")),
                HoursError::Days { .. }
            ),
            "{text:?}"
        );
    }
    for text in [
        "08-18",
        "8:00-18:00",
        "08:00",
        "08:60-18:00",
        "24:00-08:00",
        "08:00-24:01",
        "08:00-25:00",
        "+8:00-18:00",
        "08:00-18:00:00",
        "08:00–18:00",
        "٠٨:00-18:00",
    ] {
        assert!(
            matches!(wrong(&format!("Mon {text}")), HoursError::Times { .. }),
            "{text:?}"
        );
    }
    assert!(matches!(wrong("Mon 08:00-08:00"), HoursError::Empty { .. }));
    for text in [
        "Europe/Bonn",
        "CEST",
        "+01:00",
        "../../etc/passwd",
        "Etc/Unknown",
        "/etc/localtime",
        "posixrules",
    ] {
        assert!(
            matches!(
                wrong(&format!("Mon 08:00-18:00 {text}")),
                HoursError::Zone { .. }
            ),
            "{text:?}"
        );
    }
    let many = vec!["Mon 08:00-18:00"; 65].join(";");
    assert_eq!(wrong(&many), HoursError::TooMany { count: 65 });
    assert!(wrong(&"x".repeat(10_000)).to_string().len() < 400);
    assert!(serde_json::from_str::<Hours>("\"Mon\"").is_err());
    assert!(serde_json::from_str::<Hours>("5").is_err());
}

#[test]
fn i7_a_window_opens_and_closes_to_the_second() {
    // 2026-11-23 is a Monday.
    opens(
        "Mon 08:00-18:00",
        "2026-11-23T08:00:00Z",
        "2026-11-23T18:00:00Z",
    );
    opens(
        "Mon 08:00-18:00 Europe/Berlin",
        "2026-11-23T08:00:00+01:00",
        "2026-11-23T18:00:00+01:00",
    );
    opens(
        "Mon 08:00-18:00 Asia/Kathmandu",
        "2026-11-23T08:00:00+05:45",
        "2026-11-23T18:00:00+05:45",
    );
    // Monday in Kiribati begins on Sunday in UTC.
    opens(
        "Mon 00:00-24:00 Pacific/Kiritimati",
        "2026-11-22T10:00:00Z",
        "2026-11-23T10:00:00Z",
    );
    assert_eq!(
        hours("Mon 08:00-18:00").open_until(at("2026-11-24T09:00:00Z")),
        None
    );
}

#[test]
fn i7_a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
    opens(
        "Mon 22:00-06:00",
        "2026-11-23T22:00:00Z",
        "2026-11-24T06:00:00Z",
    );
    opens(
        "Sun 22:00-06:00 Europe/Berlin",
        "2026-11-22T22:00:00+01:00",
        "2026-11-23T06:00:00+01:00",
    );
    assert_eq!(
        hours("Mon 22:00-06:00").open_until(at("2026-11-23T03:00:00Z")),
        None
    );
}

#[test]
fn i7_windows_that_touch_or_overlap_count_as_one() {
    opens(
        "Mon 00:00-24:00; Tue 00:00-24:00",
        "2026-11-23T00:00:00Z",
        "2026-11-25T00:00:00Z",
    );
    opens(
        "Mon-Wed 22:00-06:00; Tue,Wed 06:00-22:00",
        "2026-11-23T22:00:00Z",
        "2026-11-26T06:00:00Z",
    );
    opens(
        "Mon 08:00-12:00; Mon 11:00-13:00; Mon 13:00-14:00 UTC",
        "2026-11-23T08:00:00Z",
        "2026-11-23T14:00:00Z",
    );
    // Follow the sun: 08:00-16:00 in three places.
    opens(
        "Mon 09:00-17:00 Asia/Tokyo; Mon 09:00-17:00 Europe/Berlin; Mon 11:00-18:00 America/New_York",
        "2026-11-23T00:00:00Z",
        "2026-11-23T23:00:00Z",
    );
    opens(
        "Mon 08:00-12:00; Mon 12:01-14:00",
        "2026-11-23T08:00:00Z",
        "2026-11-23T12:00:00Z",
    );
}

#[test]
fn hours_that_never_close_are_open_to_the_horizon() {
    let always = hours("Mon-Sun 00:00-24:00 Europe/Berlin");
    let now = at("2026-11-23T08:00:07Z");
    assert_eq!(
        always.open_until(now),
        Some(now + Duration::seconds(HORIZON_SECS))
    );
    assert_eq!(always.opens_at(now), None);
    const { assert!(HORIZON_SECS as u64 > policies::check::MAX_CEILING_SECS) };
}

#[test]
fn i7_where_a_time_is_left_out_nothing_is_open_in_it() {
    // Berlin, Sunday 2026-03-29: 02:00 +01:00 is followed by 03:00 +02:00.
    opens(
        "Sun 01:00-02:30 Europe/Berlin",
        "2026-03-29T01:00:00+01:00",
        "2026-03-29T02:00:00+01:00",
    );
    opens(
        "Sun 02:30-06:00 Europe/Berlin",
        "2026-03-29T03:00:00+02:00",
        "2026-03-29T06:00:00+02:00",
    );
    opens(
        "Sat 22:00-06:00 Europe/Berlin",
        "2026-03-28T22:00:00+01:00",
        "2026-03-29T06:00:00+02:00",
    );
    let gone = hours("Sun 02:10-02:50 Europe/Berlin");
    assert_eq!(
        gone.opens_at(at("2026-03-28T12:00:00Z")),
        Some(at("2026-04-05T02:10:00+02:00"))
    );
    // Samoa had no Friday 2011-12-30.
    let friday = hours("Fri 00:00-24:00 Pacific/Apia");
    assert_eq!(
        friday.opens_at(at("2011-12-24T10:00:00Z")),
        Some(at("2012-01-05T10:00:00Z"))
    );
}

#[test]
fn i7_where_a_time_comes_twice_a_window_ends_at_the_first() {
    // Berlin, Sunday 2026-10-25: 03:00 +02:00 is followed by 02:00 +01:00.
    opens(
        "Sun 01:00-02:30 Europe/Berlin",
        "2026-10-25T01:00:00+02:00",
        "2026-10-25T02:30:00+02:00",
    );
    opens(
        "Sun 01:00-03:00 Europe/Berlin",
        "2026-10-25T01:00:00+02:00",
        "2026-10-25T03:00:00+01:00",
    );
    // The wall clock shows it again, so that it opens again, and closes at the same wall time.
    opens(
        "Sun 02:00-02:30 Europe/Berlin",
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:30:00+02:00",
    );
    opens(
        "Sun 02:00-02:30 Europe/Berlin",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T02:30:00+01:00",
    );
    opens(
        "Sun 02:30-06:00 Europe/Berlin",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T03:00:00+02:00",
    );
    opens(
        "Sun 02:30-06:00 Europe/Berlin",
        "2026-10-25T02:30:00+01:00",
        "2026-10-25T06:00:00+01:00",
    );
    // Half an hour only, in summer on the other side of the world.
    opens(
        "Sun 01:00-01:45 Australia/Lord_Howe",
        "2026-04-05T01:00:00+11:00",
        "2026-04-05T01:45:00+11:00",
    );
}

#[test]
fn w3_a_clock_at_the_ends_of_time_opens_nothing_and_panics_nowhere() {
    let always = hours("Mon-Sun 00:00-24:00 Europe/Berlin; Mon 22:00-06:00");
    for now in [
        at("0000-01-01T00:00:00Z"),
        at("9999-12-31T23:59:59Z"),
        at("9999-12-20T00:00:00Z"),
    ] {
        let _ = always.open_until(now);
        let _ = always.opens_at(now);
        let _ = hours("Mon 22:00-06:00 Asia/Tokyo").opens_at(now);
    }
}
