//! Sizes on the command line and in messages.

/// Parses `34M`, `2G`, `36700160`, `512MiB` as bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let advice = || format!("invalid size {text:?}: expected a number of bytes, or a number with suffix K, M, G or T");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KIB" => 1 << 10,
        "M" | "MIB" => 1 << 20,
        "G" | "GIB" => 1 << 30,
        "T" | "TIB" => 1 << 40,
        _ => return Err(advice()),
    };
    let number: u64 = digits.parse().map_err(|_| advice())?;
    number.checked_mul(factor).filter(|size| *size > 0).ok_or_else(advice)
}

/// Formats a size in MiB if it is a multiple of that, else in bytes.
pub(crate) fn format_size(bytes: u64) -> String {
    if bytes > 0 && bytes.is_multiple_of(1 << 20) { format!("{} MiB", bytes >> 20) } else { format!("{bytes} bytes") }
}

#[cfg(test)]
mod tests {
    use super::{format_size, size};

    #[test]
    fn sizes_have_binary_units() {
        for (text, bytes) in [("34M", 34 << 20), ("2GiB", 2 << 30), ("4096", 4096), ("1t", 1 << 40), ("8k", 8192)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1", "0", "1.5G", "12Q", "99999999999T", "ü"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!((format_size(3 << 20), format_size(1000)), ("3 MiB".into(), "1000 bytes".into()));
    }
}
