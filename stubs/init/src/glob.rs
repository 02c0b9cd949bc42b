//! Shell patterns for one name: `*`, `?` and `[...]`. As in a shell, a leading dot must be matched by a dot.

/// Returns true if a name contains characters of a pattern.
pub fn is_pattern(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// Returns true if the pattern matches the whole name.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    // On a mismatch, the last `*` takes one more byte.
    let (mut rest, mut left) = (pattern, name);
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some((b'*', after)) = rest.split_first() {
            star = Some((after, left));
            rest = after;
            continue;
        }
        let Some((&byte, following)) = left.split_first() else {
            return rest.is_empty();
        };
        if let Some(after) = matches_byte(rest, byte) {
            (rest, left) = (after, following);
        } else if let Some((after, from)) = star {
            let Some((_, from)) = from.split_first() else { return false };
            star = Some((after, from));
            (rest, left) = (after, from);
        } else {
            return false;
        }
    }
}

/// Matches one byte with the start of a pattern, which is not `*`. Returns the rest of the pattern.
fn matches_byte(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (&first, rest) = pattern.split_first()?;
    match first {
        b'?' => Some(rest),
        b'[' => {
            let Some((is_member, rest)) = matches_set(rest, byte) else {
                // Without an end, the bracket is a character.
                return (byte == b'[').then_some(rest);
            };
            is_member.then_some(rest)
        }
        other => (other == byte).then_some(rest),
    }
}

/// Matches a byte with a set, after its `[`. Returns the rest of the pattern, too; `None`: the set has no end.
fn matches_set(set: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match set.split_first() {
        Some((b'!' | b'^', rest)) => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    let mut is_first = true;
    loop {
        let (&from, after) = rest.split_first()?;
        if from == b']' && !is_first {
            return Some((found != negated, after));
        }
        is_first = false;
        if let [b'-', to, after @ ..] = after
            && *to != b']'
        {
            found |= (from..=*to).contains(&byte);
            rest = after;
        } else {
            found |= from == byte;
            rest = after;
        }
    }
}
