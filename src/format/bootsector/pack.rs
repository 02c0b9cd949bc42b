//! Compression format of the message: characters, and runs copied from earlier output.
//!
//! | byte | meaning |
//! |---|---|
//! | `0D 0A`, first | literal CR and LF: the text starts with an empty line, and later line ends copy these bytes |
//! | 20 to FF | literal character |
//! | 01 to 1F | length of a run; the next byte is the distance back; copied byte by byte, so it may overlap itself |
//! | 00 | end |
//!
//! A line of 30 equal signs is packed to three bytes; a repeated part of a banner to two.

/// Start of every packed message.
const SEED: &[u8; 2] = b"\r\n";
/// First literal byte.
const FIRST_CHARACTER: u8 = b' ';
/// Longest run.
const LONGEST: usize = FIRST_CHARACTER as usize - 1;
/// Maximum distance of a run.
const FURTHEST: usize = u8::MAX as usize;
/// Maximum unpacked length: an 80x25 screen with line ends. Limits the output of a hostile sector, and the memory that
/// the stub uses.
const MOST_UNPACKED: usize = 82 * 25;

/// Encoding of the text at one position.
#[derive(Debug, Clone, Copy)]
enum Step {
    Character,
    Run { length: usize, back: usize },
}

/// Packs `text` to the minimum length. `None` if it is too long, or contains control characters that no run can copy:
/// only CR and LF, in lines shorter than 253 columns, are in earlier output.
pub(super) fn pack(text: &[u8]) -> Option<Vec<u8>> {
    let all = [SEED, text].concat();
    if all.len() > MOST_UNPACKED {
        return None;
    }
    // From the end backwards: the minimum packed length of the remaining text, and the first step of it.
    let mut best = vec![Some((0, Step::Character)); all.len() + 1];
    for at in (SEED.len()..all.len()).rev() {
        let (longest, back) = longest_run(&all, at);
        let then = |next: usize, cost: usize, step| best[next].map(|(rest, _)| (cost + rest, step));
        let runs = (1..=longest).filter_map(|length| then(at + length, 2, Step::Run { length, back }));
        let character = if all[at] >= FIRST_CHARACTER { then(at + 1, 1, Step::Character) } else { None };
        best[at] = character.into_iter().chain(runs).min_by_key(|(cost, _)| *cost);
    }
    let mut packed = SEED.to_vec();
    let mut at = SEED.len();
    while at < all.len() {
        match best[at]?.1 {
            Step::Character => {
                packed.push(all[at]);
                at += 1;
            }
            Step::Run { length, back } => {
                packed.extend([length as u8, back as u8]);
                at += length;
            }
        }
    }
    packed.push(0);
    Some(packed)
}

/// Returns length and distance of the longest run at `at`.
fn longest_run(all: &[u8], at: usize) -> (usize, usize) {
    let mut longest = (0, 0);
    for back in 1..=at.min(FURTHEST) {
        let equal = all[at..].iter().zip(&all[at - back..]).take(LONGEST).take_while(|(a, b)| a == b).count();
        if equal > longest.0 {
            longest = (equal, back);
        }
    }
    longest
}

/// Unpacks a message as the stub does, without the seed; `None` if it is invalid.
pub(super) fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = packed.strip_prefix(SEED)?.iter().copied();
    let mut all = SEED.to_vec();
    loop {
        match bytes.next()? {
            0 => return Some(all.split_off(SEED.len())),
            length @ 1..FIRST_CHARACTER => {
                let from = all.len().checked_sub(usize::from(bytes.next().filter(|back| *back != 0)?))?;
                for at in from..from + usize::from(length) {
                    all.push(all[at]);
                }
            }
            character => all.push(character),
        }
        if all.len() > MOST_UNPACKED {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{pack, unpack};
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    #[test]
    fn repeated_text_is_packed_as_runs() {
        let packed = |text: &[u8]| pack(text).expect("it can be packed");
        assert_eq!(packed(b""), b"\r\n\0");
        assert_eq!(packed(b"\r\n"), b"\r\n\x02\x02\0");
        assert_eq!(packed(b"a======b\r\n"), b"\r\na=\x05\x01b\x02\x0a\0");
        assert_eq!(packed(b"ABC ABC\r\n"), b"\r\nABC \x03\x04\x02\x09\0");
    }

    #[test]
    fn text_outside_of_the_format_is_not_packed() {
        let long = |columns: usize| [&vec![b'x'; columns][..], b"\r\n"].concat();
        assert!(pack(&long(252)).is_some() && pack(b"a\nb\rc").is_some());
        for text in [&b"\x1b[1mSTOP\x1b[m\r\n"[..], b"\x07", &long(300), &[b' '; 3000]] {
            assert_eq!(pack(text), None);
        }
    }

    #[test]
    fn invalid_messages_are_refused() {
        for bad in [&b""[..], b"\r\n", b"\n\n\0", b"\r\nabc", b"\r\n\x02", b"\r\n\x02\x00\0", b"\r\n\x02\x03\0"] {
            assert_eq!(unpack(bad), None, "{bad:?}");
        }
        let endless = [b"\r\n", &b"\x1f\x01".repeat(100)[..], b"\0"].concat();
        assert_eq!(unpack(&endless), None);
    }

    proptest! {
        #[test]
        fn packed_text_unpacks_to_itself(rows in vec(vec(0x20u8..0x28, 0..79), 0..23), wide in vec(0x20u8..=0xFF, 0..79)) {
            let mut text: Vec<u8> = rows.into_iter().chain([wide]).flat_map(|row| [row, b"\r\n".to_vec()].concat()).collect();
            let packed = pack(&text).expect("it can be packed");
            assert_eq!(unpack(&packed), Some(text.clone()));
            assert!(packed.len() <= text.len() + 3);
            text.truncate(text.len() - 2);
            assert_eq!(unpack(&pack(&text).expect("it can be packed")), Some(text));
        }

        #[test]
        fn unpack_accepts_any_bytes(bytes in vec(any::<u8>(), 0..440)) {
            unpack(&[&b"\r\n"[..], &bytes].concat());
        }
    }
}
