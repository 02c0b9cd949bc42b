//! The boot sector's code as a whole: what fits, what is refused, what is read back.

use super::{Found, Preset, Then, boot_code, decode_message, recognise};

#[test]
fn what_was_put_there_is_read_back() {
    for preset in Preset::ALL {
        for then in Then::ALL {
            let code = boot_code(&preset.message(), then).expect("presets fit");
            assert_eq!(recognise(&code), Found::Ours);
            let prompt = if then == Then::KeyReboot { "\n  Press any key to restart.\n" } else { "" };
            assert_eq!(decode_message(&code), Some(format!("{}{prompt}", preset.text())));
        }
    }
}
