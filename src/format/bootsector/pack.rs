//! The message as the stub unpacks it: characters, and runs copied from what was unpacked before.
//!
//! | byte | meaning |
//! |---|---|
//! | `0D 0A`, first | CR and LF, taken as they are: the text begins with an empty line, and later line ends copy it |
//! | 20 to FF | that character |
//! | 01 to 1F | a run: this many bytes, copied one by one from as far back as the next byte says (so a run may overlap itself) |
//! | 00 | the end |
//!
//! A run of 30 equal signs is three bytes, and so is every piece of a banner that was drawn before.

/// What every packed message begins with.
const SEED: &[u8; 2] = b"\r\n";
/// Bytes from here on stand for themselves.
const FIRST_CHARACTER: u8 = b' ';
/// Longest run.
const LONGEST: usize = FIRST_CHARACTER as usize - 1;
/// Furthest that a run reaches back.
const FURTHEST: usize = u8::MAX as usize;
/// What a hostile sector may unpack to: a screen of 80 by 25, and its line ends.
const MOST_UNPACKED: usize = 82 * 25;

/// How the text goes on at one place.
#[derive(Debug, Clone, Copy)]
enum Step {
    Character,
    Run { length: usize, back: usize },
}

/// Packs `text` as tightly as the format allows. Lines end with CR LF and are shorter than 253 columns: a line's end
/// has to find the one before.
pub(super) fn pack(text: &[u8]) -> Vec<u8> {
    let all = [SEED, text].concat();
    // From the end backwards: the fewest bytes for what follows each place, and the step that leads there.
    let mut best = vec![(0, Step::Character); all.len() + 1];
    for at in (SEED.len()..all.len()).rev() {
        let (longest, back) = longest_run(&all, at);
        let runs = (1..=longest).map(|length| (2 + best[at + length].0, Step::Run { length, back }));
        let character = (all[at] >= FIRST_CHARACTER).then(|| (1 + best[at + 1].0, Step::Character));
        best[at] = character.into_iter().chain(runs).min_by_key(|(cost, _)| *cost).expect("lines end in time");
    }
    let mut packed = SEED.to_vec();
    let mut at = SEED.len();
    while at < all.len() {
        match best[at].1 {
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
    packed
}

/// The longest run that may begin at `at`, and how far back its model stands.
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

/// What the stub makes of `packed`, without the seed; `None` where that is no text of ours.
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
    fn what_repeats_is_said_once() {
        assert_eq!(pack(b""), b"\r\n\0");
        assert_eq!(pack(b"\r\n"), b"\r\n\x02\x02\0");
        assert_eq!(pack(b"a======b\r\n"), b"\r\na=\x05\x01b\x02\x0a\0");
        assert_eq!(pack(b"ABC ABC\r\n"), b"\r\nABC \x03\x04\x02\x09\0");
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        for bad in [&b""[..], b"\r\n", b"\n\n\0", b"\r\nabc", b"\r\n\x02", b"\r\n\x02\x00\0", b"\r\n\x02\x03\0"] {
            assert_eq!(unpack(bad), None, "{bad:?}");
        }
        let endless = [b"\r\n", &b"\x1f\x01".repeat(100)[..], b"\0"].concat();
        assert_eq!(unpack(&endless), None);
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_again(rows in vec(vec(0x20u8..0x28, 0..79), 0..23), wide in vec(0x20u8..=0xFF, 0..79)) {
            let mut text: Vec<u8> = rows.into_iter().chain([wide]).flat_map(|row| [row, b"\r\n".to_vec()].concat()).collect();
            assert_eq!(unpack(&pack(&text)), Some(text.clone()));
            assert!(pack(&text).len() <= text.len() + 3);
            text.truncate(text.len() - 2);
            assert_eq!(unpack(&pack(&text)), Some(text));
        }

        #[test]
        fn anything_may_be_given_to_it(bytes in vec(any::<u8>(), 0..440)) {
            unpack(&[&b"\r\n"[..], &bytes].concat());
        }
    }
}
