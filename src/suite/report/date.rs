//! Formats dates in reports: UTC, ISO 8601.

use std::time::{Duration, SystemTime};

/// Formats seconds since 1970 as `2026-01-31T23:59:59Z`.
pub(crate) fn date(seconds: f64) -> String {
    // Reports are untrusted, and the formatter has a last year.
    let since = Duration::try_from_secs_f64(seconds.clamp(0.0, 250_000_000_000.0).floor()).unwrap_or_default();
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since).to_string()
}

/// Formats seconds since 1970 as `2026-01-31`.
pub(crate) fn day(seconds: f64) -> String {
    let date = date(seconds);
    date.split('T').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_in_utc_and_invalid_values_are_clamped() {
        assert_eq!(date(1_767_323_045.5), "2026-01-02T03:04:05Z");
        assert_eq!(date(-1.0), "1970-01-01T00:00:00Z");
        assert_eq!(date(f64::NAN), "1970-01-01T00:00:00Z");
        assert!(date(f64::INFINITY).starts_with("9892-"), "{}", date(f64::INFINITY));
    }
}
