//! Tests of the complete boot sector code: accepted and refused messages, and detection.

use super::{
    BootCodeError, Found, Message, MessageError, Preset, Then, boot_area, boot_code, decode_message, is_shown_twice,
    recognize,
};
use proptest::prelude::{any, proptest};

fn parse(text: &str) -> Result<Message, MessageError> {
    Message::parse(text.as_bytes())
}

/// Returns a text that cannot be compressed.
fn dense(bytes: usize) -> Message {
    let mut seed = 1_u32;
    let mut character = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + (seed >> 16) as u8 % 94)
    };
    let row = |_| (0..70).map(|_| character()).collect::<String>() + "\n";
    let text: String = (0..10).map(row).collect::<String>().chars().take(bytes).collect();
    parse(&text).expect("it is a message")
}

#[test]
fn written_messages_are_read_back() {
    for preset in Preset::ALL {
        for then in Then::ALL {
            let code = boot_code(&preset.message(), then).expect("presets fit");
            assert_eq!(recognize(&code), Found::Bootling);
            let prompt = if then == Then::KeyReboot { "\n  Press any key to restart.\n" } else { "" };
            assert_eq!(decode_message(&code), Some(format!("{}{prompt}", preset.text())));
        }
    }
}

#[test]
fn common_text_formats_are_accepted() {
    for (text, shown) in [
        ("STOP", "STOP\n"),
        ("one\ntwo\n", "one\ntwo\n"),
        ("one\r\ntwo\r\n\r\n", "one\ntwo\n"),
        ("one\rtwo\r", "one\ntwo\n"),
        ("\n\n  one  \n \n\ttwo\nx\ty  \n\n", "\n\n  one\n\n        two\nx       y\n"),
        ("\u{FEFF}Größe – “EFI”…", "Größe - \"EFI\"...\n"),
        ("└─ ¿Qué?", "└─ ¿Qué?\n"),
    ] {
        assert_eq!(parse(text).expect(text).text(), shown);
    }
    assert_eq!(parse("Größe").expect("it is in the code page").beyond_ascii(), Some('ö'));
    assert_eq!(parse("– “EFI”").expect("it becomes ASCII").beyond_ascii(), None);
}

#[test]
fn text_that_cannot_be_shown_is_refused_with_its_position() {
    let cases = [
        (&b""[..], "empty message"),
        (b" \n\t\n", "empty message"),
        (b"one\nGr\xF6\xDFe\n", "invalid message: line 2 is not UTF-8"),
        (b"one\ra \x1B[1mb", "invalid message: line 2, column 3: control character (U+001B)"),
        (b"beep \x07!", "invalid message: line 1, column 6: control character (U+0007)"),
        (
            "one\n\n字 ж".as_bytes(),
            "invalid message: line 3, column 1: '字' (U+5B57) is not in code page 437, the only characters that a BIOS shows",
        ),
    ];
    for (text, error) in cases {
        assert_eq!(Message::parse(text).expect_err(error).to_string(), error);
    }
    assert_eq!(parse(&"x".repeat(79)).map(|message| message.rows()), Ok(1));
    let wide = parse(&format!("one\n{}", "x".repeat(80))).expect_err("it would wrap");
    assert_eq!(wide.to_string(), "invalid message: line 2 has 80 columns, maximum 79");
    assert_eq!(parse(&"x\n".repeat(23)).map(|message| message.rows()), Ok(23));
    for ending in ["\n", "\r\n", "\r"] {
        let tall = parse(&format!("x{ending}").repeat(24)).expect_err("it would scroll");
        assert_eq!(tall.to_string(), "invalid message: 24 rows, maximum 23");
    }
}

#[test]
fn the_number_of_free_or_excess_bytes_is_reported() {
    // 440 bytes minus the stub and the three bytes that start and end a message; each line end is packed to two bytes.
    let most = 440 - Then::NextDevice.code().len() - 3;
    let fits = |characters| dense(characters).fits(Then::NextDevice);
    // A row has 71 characters, including its line end; the last row gets a line end, too.
    let overhead = most / 71 + 2;
    assert_eq!(fits(most - overhead), Ok(0));
    assert_eq!(fits(most - overhead - 3), Ok(3));
    let over = fits(most - overhead + 5).expect_err("there is no room");
    assert_eq!(over, BootCodeError::TooLong { over: 5, room: most + 3, plain: None });
    assert_eq!(over.to_string(), "message is 5 bytes too long for the boot sector (limit: 324 bytes packed)");
    assert_eq!(
        boot_code(&dense(most), Then::NextDevice).expect_err("there is no room"),
        dense(most).fits(Then::NextDevice).expect_err("neither")
    );
    // Text that halts may follow the smaller stub unpacked.
    let plain = |characters| boot_code(&dense(characters), Then::Halt);
    assert!(plain(400).is_ok_and(|code| is_shown_twice(&code) && recognize(&code) == Found::Bootling));
    assert_eq!(decode_message(&plain(400).expect("it fits")), Some(dense(400).text()));
    let over = plain(417).expect_err("there is no room");
    assert_eq!(
        over.to_string(),
        "message is 4 bytes too long for the boot sector (limit: 332 bytes packed, or 420 bytes unpacked)"
    );
    assert!(boot_area(&dense(417)).is_ok_and(|area| area[440..] != [0; 6] && decode_message(&area).is_some()));
    let tall = parse(&"x\n".repeat(22)).expect("it is shorter than the screen");
    assert!(tall.fits(Then::Halt).is_ok() && tall.fits(Then::NextDevice).is_ok());
    assert_eq!(tall.fits(Then::KeyReboot), Err(BootCodeError::TooTall { rows: 22, most: 21 }));
}

#[test]
fn a_banner_of_the_maximum_byebyebios_size_fits() {
    // Letters with the size of figlet's; byebyebios had room for 424 bytes.
    let letter = [r" _   _ ", r"| | | |", r"| | | |", r"| |_| |", r" \___/ "];
    let banner: Vec<String> = letter.iter().map(|row| format!("  {}", [*row; 8].join(" "))).collect();
    let banner = banner.join("\n");
    let text = format!("\n{banner}\n\n  This system starts by UEFI only: see your manual for how it is set up.\n");
    assert!((390..=424).contains(&text.len()), "{}", text.len());
    for then in Then::ALL {
        assert!(parse(&text).expect("it is a message").fits(then).is_ok_and(|left| left > 100));
    }
}

#[test]
fn a_damaged_stub_has_no_message() {
    let good = boot_code(&Message::standard(), Then::Halt).expect("it fits");
    let end = good.iter().rposition(|byte| *byte != 0).expect("it has a message") + 1;
    let mut endless = good;
    endless[end..].fill(b'x');
    assert_eq!((recognize(&endless), decode_message(&endless)), (Found::Bootling, None));
    let mut elsewhere = good;
    elsewhere[0x11] = 0x7D;
    elsewhere[0x10] = 0xFF;
    // The message address is invalid, but the stub is still bootling's.
    assert_eq!((recognize(&elsewhere), decode_message(&elsewhere)), (Found::Bootling, None));
    let mut other = good;
    other[3] ^= 1;
    assert_eq!((recognize(&other), decode_message(&other)), (Found::Unknown, None));
}

proptest! {
    #[test]
    fn any_bytes_may_be_parsed_as_a_message(text in any::<Vec<u8>>(), characters in any::<String>()) {
        for text in [text, characters.into_bytes()] {
            if let Ok(message) = Message::parse(&text) {
                // The shown text is a valid message itself.
                assert_eq!(Message::parse(message.text().as_bytes()), Ok(message));
            }
        }
    }

    #[test]
    fn damaged_boot_code_is_decoded_or_refused(at in 0x2A..440_usize, bytes in any::<[u8; 32]>()) {
        let mut code = boot_code(&Message::standard(), Then::Halt).expect("it fits");
        let end = (at + 32).min(code.len());
        code[at..end].copy_from_slice(&bytes[..end - at]);
        if let Some(text) = decode_message(&code) {
            assert!(text.len() < 3 * 82 * 25);
        }
    }
}
