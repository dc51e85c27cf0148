//! Numbers, times and sizes as people read them.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A whole number with a comma between thousands: 1,234,567.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number of things: `1 instance`, `2 instances`.
pub(super) fn several(count: u64, thing: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{} {thing}{end}", number(count))
}

/// A time since something that is seconds to days ago, in its largest unit: 12 s, 5 min, 3 h, 2 days.
pub(super) fn ago(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds < 2 * MINUTE => format!("{seconds} s"),
        seconds if seconds < 2 * HOUR => format!("{} min", seconds / MINUTE),
        seconds if seconds < 2 * DAY => format!("{} h", seconds / HOUR),
        seconds => format!("{} days", seconds / DAY),
    }
}

/// A time since something that should be a moment ago: 0.4 s, then as [`ago`].
pub(super) fn moment(time: Duration) -> String {
    if time < Duration::from_secs(10) { format!("{:.1} s", time.as_secs_f64()) } else { ago(time) }
}

/// A round trip: 0.42 ms, 12 ms.
pub(super) fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    if millis < 10.0 { format!("{millis:.2} ms") } else { format!("{millis:.0} ms") }
}

/// A size in memory, in the largest binary unit: 512 kB, 21 MB, 1.5 GB.
pub(super) fn bytes(bytes: u64) -> String {
    let (mut size, mut unit) = (bytes, "kB");
    let mut rest = size % 1024;
    size /= 1024;
    for larger in ["MB", "GB", "TB"] {
        if size < 1024 {
            break;
        }
        (rest, size, unit) = (size % 1024, size / 1024, larger);
    }
    if size < 10 && unit != "kB" {
        return format!("{size}.{} {unit}", rest * 10 / 1024);
    }
    format!("{size} {unit}")
}

/// A rate: 0.3, 12.
pub(super) fn rate(per_second: f64) -> String {
    if per_second < 10.0 { format!("{per_second:.1}") } else { format!("{per_second:.0}") }
}

/// A share of a whole in percent, between 0 and 100.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    let percent = (u128::from(part) * 200 / u128::from(whole)).div_ceil(2);
    u64::try_from(percent.min(100)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Goal: long numbers can be read. Method: on both sides of each comma.
    #[rstest]
    #[case(0, "0")]
    #[case(999, "999")]
    #[case(1000, "1,000")]
    #[case(123_456, "123,456")]
    #[case(1_234_567, "1,234,567")]
    fn numbers(#[case] value: u64, #[case] text: &str) {
        assert_eq!(number(value), text);
    }

    /// Goal: a time has a unit that fits. Method: on both sides of each change of unit.
    #[rstest]
    #[case(0, "0.0 s", "0 s")]
    #[case(9_940, "9.9 s", "9 s")]
    #[case(119_999, "119 s", "119 s")]
    #[case(120_000, "2 min", "2 min")]
    #[case(7_199_000, "119 min", "119 min")]
    #[case(7_200_000, "2 h", "2 h")]
    #[case(172_800_000, "2 days", "2 days")]
    fn times(#[case] millis: u64, #[case] as_moment: &str, #[case] as_ago: &str) {
        let time = Duration::from_millis(millis);
        assert_eq!((moment(time).as_str(), ago(time).as_str()), (as_moment, as_ago));
    }

    /// Goal: a size has a unit that fits. Method: on both sides of each change of unit, and the largest number.
    #[rstest]
    #[case(0, "0 kB")]
    #[case(1023 * 1024, "1023 kB")]
    #[case(1024 * 1024, "1.0 MB")]
    #[case(1_600 * 1024, "1.5 MB")]
    #[case(10 << 20, "10 MB")]
    #[case(3 << 30, "3.0 GB")]
    #[case(u64::MAX, "16777215 TB")]
    fn sizes(#[case] size: u64, #[case] text: &str) {
        assert_eq!(bytes(size), text);
    }

    /// Goal: a share is rounded, and never above 100. Method: halves, nothing of nothing, and more than all.
    #[rstest]
    #[case(0, 0, 0)]
    #[case(1, 3, 33)]
    #[case(2, 3, 67)]
    #[case(1, 1000, 0)]
    #[case(1, 200, 1)]
    #[case(5, 4, 100)]
    #[case(u64::MAX, u64::MAX, 100)]
    fn shares(#[case] part: u64, #[case] whole: u64, #[case] expected: u64) {
        assert_eq!(percent(part, whole), expected);
    }

    /// Goal: one thing is one, and all else is several. Method: one, none, and many.
    #[rstest]
    #[case(1, "1 instance")]
    #[case(0, "0 instances")]
    #[case(1200, "1,200 instances")]
    fn plurals(#[case] count: u64, #[case] text: &str) {
        assert_eq!(several(count, "instance"), text);
    }
}
