//! Numbers and times in words.

use tidegate_engine::time::Time;

/// A duration with as many digits as matter: `340 ms`, `4.3 s`, `34 s`, `2 min 5 s`, `1 h 4 min`,
/// `3 d 2 h`.
#[must_use]
pub fn duration(ms: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    if ms < 1_000 {
        return format!("{ms} ms");
    }
    if ms < 10_000 {
        return format!("{}.{} s", ms / 1_000, ms % 1_000 / 100);
    }
    let seconds = ms / 1_000;
    let two = |large: u64, unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{large} {unit}")
        } else {
            format!("{large} {unit} {small} {small_unit}")
        }
    };
    match seconds {
        0..100 => format!("{seconds} s"),
        100..HOUR => two(seconds / MINUTE, "min", seconds % MINUTE, "s"),
        HOUR..DAY => two(seconds / HOUR, "h", seconds % HOUR / MINUTE, "min"),
        _ => two(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
    }
}

/// A point in time seen from `now`: `12 s ago`, `now`, `in 34 s`. Whole seconds.
#[must_use]
pub fn ago(now: Time, at: Time) -> String {
    let whole = |ms: u64| duration(ms / 1_000 * 1_000).replace(".0 s", " s");
    match (now.since_ms(at), at.since_ms(now)) {
        (1_000.., _) => format!("{} ago", whole(now.since_ms(at))),
        (_, 1_000..) => format!("in {}", whole(at.since_ms(now))),
        _ => "now".to_owned(),
    }
}

/// A count with thousands apart: `8,204`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `part` of `whole` as a percentage with at most two decimals: `49.08%`, `0.05%`, `<0.01%`;
/// `-` when `whole` is 0, because no requests are not 0% failures.
#[must_use]
pub fn ratio(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let hundredths = (u128::from(part) * 20_000 + u128::from(whole)) / (2 * u128::from(whole));
    match (part, hundredths) {
        (0, _) => "0%".to_owned(),
        (_, 0) => "<0.01%".to_owned(),
        _ if part < whole && hundredths >= 10_000 => ">99.99%".to_owned(),
        _ => {
            let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
            format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_digits_that_matter() {
        let expected = [
            (0, "0 ms"),
            (340, "340 ms"),
            (4_350, "4.3 s"),
            (34_900, "34 s"),
            (99_999, "99 s"),
            (125_000, "2 min 5 s"),
            (120_000, "2 min"),
            (3_840_000, "1 h 4 min"),
            (266_400_000, "3 d 2 h"),
        ];
        for (ms, text) in expected {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn times_are_told_from_now() {
        let now = Time(100_000);
        assert_eq!(ago(now, Time(88_000)), "12 s ago");
        assert_eq!(ago(now, Time(95_500)), "4 s ago");
        assert_eq!(ago(now, Time(134_000)), "in 34 s");
        assert_eq!(ago(now, Time(99_500)), "now");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(8_204), "8,204");
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn a_ratio_never_rounds_a_failure_away_nor_to_everything() {
        assert_eq!(ratio(80, 163), "49.08%");
        assert_eq!(ratio(0, 163), "0%");
        assert_eq!(ratio(163, 163), "100%");
        assert_eq!(ratio(1, 2), "50%");
        assert_eq!(ratio(1, 1_000_000), "<0.01%");
        assert_eq!(ratio(999_999, 1_000_000), ">99.99%");
        assert_eq!(ratio(0, 0), "-");
    }
}
