//! Formats durations for messages and reports.

use std::time::Duration;

/// Formats a duration, such as `0.35 s`, `12.3 s`, `2 min 3 s` or `2 h 5 min`.
pub fn duration(time: Duration) -> String {
    seconds(time.as_secs_f64())
}

/// Formats a duration in seconds. A negative or invalid duration, as an untrusted report may contain, is zero.
pub fn seconds(time: f64) -> String {
    let time = time.max(0.0);
    #[expect(clippy::cast_sign_loss, reason = "not negative after max")]
    let whole = time.round() as u64;
    match whole {
        0..10 => format!("{time:.2} s"),
        10..60 => format!("{time:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::{duration, seconds};
    use std::time::Duration;

    #[test]
    fn the_unit_depends_on_the_magnitude() {
        let formatted = [0.0, 0.004, 0.35, 9.24, 12.34, 59.4, 59.6, 75.0, 123.0, 3599.6, 7300.0].map(seconds);
        assert_eq!(
            formatted,
            [
                "0.00 s",
                "0.00 s",
                "0.35 s",
                "9.24 s",
                "12.3 s",
                "59.4 s",
                "1 min 0 s",
                "1 min 15 s",
                "2 min 3 s",
                "1 h 0 min",
                "2 h 1 min"
            ]
        );
        assert_eq!(duration(Duration::from_millis(1500)), "1.50 s");
    }

    #[test]
    fn an_invalid_duration_is_zero() {
        assert_eq!([-1.0, f64::NAN].map(seconds), ["0.00 s", "0.00 s"]);
    }
}
