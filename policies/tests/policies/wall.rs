//! Hours once more, by stepping through every minute, with time zones written down by hand.

use policies::Hours;

/// Zones whose rules are written down in [`offset_minutes`]: one that never changes, two that most know, one by three quarters of an
/// hour, and one whose clocks are turned by half an hour.
pub const ZONES: [&str; 5] = [
    "",
    " Europe/Berlin",
    " America/New_York",
    " Asia/Kathmandu",
    " Australia/Lord_Howe",
];

/// Unix times around which clocks are turned in 2026, and one ordinary Sunday.
pub const TURNS: [i64; 7] = [
    1_795_309_200, // 2026-11-22 01:00 UTC
    1_774_746_000, // 2026-03-29 01:00 UTC, Berlin
    1_792_890_000, // 2026-10-25 01:00 UTC, Berlin
    1_772_953_200, // 2026-03-08 07:00 UTC, New York
    1_793_512_800, // 2026-11-01 06:00 UTC, New York
    1_775_314_800, // 2026-04-04 15:00 UTC, Lord Howe
    1_791_041_400, // 2026-10-03 15:30 UTC, Lord Howe
];

/// How far the wall clock is ahead of UTC, in 2026 only.
fn offset_minutes(zone: &str, at_secs: i64) -> i64 {
    let summer = |from: usize, until: usize| (TURNS[from]..TURNS[until]).contains(&at_secs);
    match zone {
        "" => 0,
        "Europe/Berlin" => 60 + 60 * i64::from(summer(1, 2)),
        "America/New_York" => -300 + 60 * i64::from(summer(3, 4)),
        "Asia/Kathmandu" => 345,
        // Winter there is in the middle of the year.
        "Australia/Lord_Howe" => 660 - 30 * i64::from(summer(5, 6)),
        other => panic!("no rules for {other}"),
    }
}

/// Whether `hours` are open in the minute that holds `at_secs`, from their text alone.
fn is_open(hours: &str, at_secs: i64) -> bool {
    hours.split("; ").any(|window| {
        let mut parts = window.split(' ');
        let (days, times) = (parts.next().unwrap(), parts.next().unwrap());
        let wall = at_secs.div_euclid(60) + offset_minutes(parts.next().unwrap_or(""), at_secs);
        let (day, minute) = (wall.div_euclid(1440), wall.rem_euclid(1440));
        let (begin, end) = times.split_once('-').unwrap();
        let minutes = |text: &str| -> i64 {
            let (hour, minute) = text.split_once(':').unwrap();
            hour.parse::<i64>().unwrap() * 60 + minute.parse::<i64>().unwrap()
        };
        let (begin, end) = (minutes(begin), minutes(end));
        if begin < end {
            on(days, day) && begin <= minute && minute < end
        } else {
            (on(days, day) && begin <= minute) || (on(days, day - 1) && minute < end)
        }
    })
}

/// Whether the day of that number since 1970 is one of `days`.
fn on(days: &str, day: i64) -> bool {
    const NAMES: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let name = |day: i64| NAMES[day.rem_euclid(7) as usize];
    days.split(',').any(|part| match part.split_once('-') {
        None => part == name(day),
        // Back from today to the range's first day, without passing its last.
        Some((first, last)) => (0..7)
            .take_while(|back| *back == 0 || name(day - back) != last)
            .any(|back| name(day - back) == first),
    })
}

/// The first second after which `hours` are closed, or `at_most`; `None` if they are closed at `now_secs`.
pub fn open_until(hours: &Hours, now_secs: i64, at_most: i64) -> Option<i64> {
    let text = hours.to_string();
    if !is_open(&text, now_secs) {
        return None;
    }
    let mut end = now_secs.div_euclid(60) * 60 + 60;
    while end < at_most && is_open(&text, end) {
        end += 60;
    }
    Some(end.min(at_most))
}
