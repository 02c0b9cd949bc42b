//! Parses times and memory sizes, for the command line and for manifests.

use std::time::Duration;

/// Parses a time: `90`, `90s`, `1500ms`, `5m`, `1h`. Returns `None` for `0` and `none`.
pub fn time(text: &str) -> Result<Option<Duration>, String> {
    let advice = || format!("invalid time {text:?}: expected seconds, or a number with ms, s, m or h, or none");
    if text == "none" {
        return Ok(None);
    }
    let split = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let factor = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(advice()),
    };
    let number: f64 = digits.parse().map_err(|_| advice())?;
    let time = Duration::try_from_secs_f64(number * factor).map_err(|_| advice())?;
    Ok((!time.is_zero()).then_some(time))
}

/// Parses a memory size in MiB: `512`, `512M`, `2G`, `1048576K`.
pub fn memory_mib(text: &str) -> Result<u64, String> {
    let advice = || format!("invalid size {text:?}: expected a number of MiB, or a number with suffix K, M, G or T");
    let (digits, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let number: u64 = digits.parse().map_err(|_| advice())?;
    let mib = match unit.to_ascii_uppercase().as_str() {
        "K" | "KB" | "KI" | "KIB" => Some(number / 1024),
        "" | "M" | "MB" | "MI" | "MIB" => Some(number),
        "G" | "GB" | "GI" | "GIB" => number.checked_mul(1024),
        "T" | "TB" | "TI" | "TIB" => number.checked_mul(1024 * 1024),
        // A bare `B` would be bytes, not MiB.
        _ => None,
    };
    mib.filter(|mib| (1..=64 << 20).contains(mib)).ok_or_else(advice)
}

#[cfg(test)]
mod tests {
    use super::{memory_mib, time};
    use std::time::Duration;

    #[test]
    fn sizes_are_parsed_as_in_qemu() {
        let sizes = [
            ("512", 512),
            ("512M", 512),
            ("2G", 2048),
            ("2GiB", 2048),
            ("1048576K", 1024),
            ("3g", 3072),
            ("1GB", 1024),
        ];
        for (text, mib) in sizes {
            assert_eq!(memory_mib(text), Ok(mib), "{text}");
        }
        for text in ["", "G", "-1", "0", "12Q", "99999999999T", "1.5G", "ü", "512B", "512i", "512iB", "GB", "1MM"] {
            assert!(memory_mib(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_units_and_an_off_switch() {
        let seconds = |seconds: f64| Ok(Some(Duration::from_secs_f64(seconds)));
        assert_eq!(time("90"), seconds(90.0));
        assert_eq!(time("1.5m"), seconds(90.0));
        assert_eq!(time("250ms"), seconds(0.25));
        assert_eq!(time("none"), Ok(None));
        assert_eq!(time("0"), Ok(None));
        for text in ["", "s", "5 s", "1d", "-1", "1e400", "inf"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
