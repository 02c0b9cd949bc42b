//! The boot sector stub in an emulated processor, started from hostile states: whatever a BIOS leaves in registers,
//! flags and memory, the message is shown exactly once, and the stub touches only its own memory.

mod firmware;
mod machine;

use bootling::format::bootsector::BootCodeError;
use bootling::format::bootsector::Message;
use bootling::format::bootsector::Preset;
use bootling::format::bootsector::Then;
use bootling::format::bootsector::{boot_code, is_shown_twice};
use firmware::{Firmware, Uart, Video};
use machine::{CS, End, Machine};
use proptest::char;
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

/// Arbitrary processor states with a valid entry point.
fn hostile() -> impl Strategy<Value = Machine> {
    let entry = prop_oneof![Just((0x0000, 0x7C00)), Just((0x07C0, 0x0000))];
    (any::<[u16; 8]>(), any::<[u16; 4]>(), entry, any::<[bool; 4]>()).prop_map(
        |(registers, mut segments, (segment, ip), [carry, zero, down, interrupts])| {
            segments[CS] = segment;
            Machine { registers, segments, ip, carry, zero, down, interrupts }
        },
    )
}

/// Processor state as left by SeaBIOS.
fn friendly() -> Machine {
    let (registers, segments) = ([0xAA55, 0, 0x80, 0, 0x6F62, 0, 0, 0], [0; 4]);
    Machine { registers, segments, ip: 0x7C00, carry: false, zero: false, down: false, interrupts: true }
}

fn videos() -> impl Strategy<Value = Video> {
    prop_oneof![
        Just(Video::Vga),
        Just(Video::Absent),
        // SeaBIOS's sercon, sgabios after a video BIOS, a handler in low memory.
        prop_oneof![Just(0xF0), Just(0xCA), Just(0x9F)].prop_map(Video::Mirrored)
    ]
}

fn uarts() -> impl Strategy<Value = Uart> {
    prop_oneof![Just(Uart::Unknown), Just(Uart::Ghost), Just(Uart::Stuck), (0u32..4).prop_map(Uart::Ready)]
}

fn thens() -> impl Strategy<Value = Then> {
    prop_oneof![Just(Then::Halt), Just(Then::KeyReboot), Just(Then::NextDevice)]
}

/// Message texts of characters in the code page, some of them repetitive.
fn texts() -> impl Strategy<Value = String> {
    let character = prop_oneof![4 => Just(' '), 2 => Just('_'), 2 => Just('|'), 4 => char::range(' ', '~'), 1 => Just('═'), 1 => Just('é')];
    vec(vec(character, 0..79), 1..20)
        .prop_map(|rows| rows.into_iter().map(|row| row.into_iter().collect::<String>() + "\n").collect())
}

/// Returns the expected output: an empty row, the message, and the prompt, if any.
fn expected(message: &Message, then: Then) -> Vec<u8> {
    let prompt: &[u8] = match then {
        Then::KeyReboot => b"\r\n  Press any key to restart.\r\n",
        Then::Halt | Then::NextDevice => b"",
    };
    [b"\r\n", message.bytes(), prompt].concat()
}

/// Runs the stub and checks all of its effects.
fn check(mut machine: Machine, mut firmware: Firmware, text: &[u8], then: Then) -> Result<(), String> {
    let before = firmware.clone();
    let end = machine.run(&mut firmware)?;
    let mine = matches!(firmware.video, Video::Vga | Video::Absent);
    let sent = match firmware.uart {
        Uart::Ready(_) | Uart::Ghost if mine => text,
        Uart::Ready(_) | Uart::Ghost | Uart::Unknown | Uart::Stuck => b"",
    };
    let wanted = match then {
        Then::Halt => End::Halted,
        Then::KeyReboot => End::Restarted,
        Then::NextDevice if firmware.next_device_returns => End::Halted,
        Then::NextDevice => End::GaveUp,
    };
    for (what, holds) in [
        ("the screen", firmware.shown == text),
        ("the serial port", firmware.sent == sent),
        ("the end", end == wanted),
        ("the restart", end != End::Restarted || firmware.restarts_warm()),
        ("the pause before the next device", end != End::GaveUp || firmware.ticks == 91),
        ("the patience", firmware.asked <= 0x1_0000),
        ("the boot sector in memory", firmware.memory[0x7C00..] == before.memory[0x7C00..]),
        ("the memory below the stack", firmware.memory[0x474..0x6FC0] == before.memory[0x474..0x6FC0]),
    ] {
        if !holds {
            return Err(format!("{what}: {end:?}, {:?}", String::from_utf8_lossy(&firmware.shown)));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_preset_is_shown_once_from_any_state(
        machine in hostile(),
        (video, uart, then) in (videos(), uarts(), thens()),
        preset in 0..Preset::ALL.len(),
        (rubbish, clobbers, next_device_returns) in any::<(u8, bool, bool)>(),
    ) {
        let message = Preset::ALL[preset].message();
        let code = boot_code(&message, then).expect("presets fit");
        let firmware = Firmware { next_device_returns, clobbers, ..Firmware::new(&code, video, uart, rubbish) };
        check(machine, firmware, &expected(&message, then), then).expect("message is shown");
    }

    #[test]
    fn every_message_that_fits_is_shown_unchanged(
        machine in hostile(),
        (video, uart, then) in (videos(), (0u32..2).prop_map(Uart::Ready), thens()),
        text in texts(),
    ) {
        let Ok(message) = Message::parse(text.as_bytes()) else {
            assert!(text.trim().is_empty(), "{text:?}");
            return Ok(());
        };
        let code = match boot_code(&message, then) {
            Ok(code) => code,
            Err(error) => {
                assert!(matches!(error, BootCodeError::TooLong { .. }) && message.bytes().len() > 250, "{error}");
                return Ok(());
            }
        };
        // The smaller code relies on the state that a BIOS usually leaves; tests/boot runs it under SeaBIOS.
        if !is_shown_twice(&code) {
            check(machine, Firmware::new(&code, video, uart, 0), &expected(&message, then), then).expect("message is shown");
        }
    }
}

#[test]
fn the_largest_messages_fit_into_the_stubs_memory() {
    // Full rows of one character compress well; 23 rows are the limit of the screen and of the buffer.
    for then in [Then::Halt, Then::NextDevice] {
        let text = format!("{}\n", "#".repeat(79)).repeat(23);
        let message = Message::parse(text.as_bytes()).expect("message of the maximum size");
        let code = boot_code(&message, then).expect("message compresses well");
        let firmware = Firmware::new(&code, Video::Vga, Uart::Ready(0), 0xFF);
        check(friendly(), firmware, &expected(&message, then), then).expect("message is shown");
    }
}

#[test]
fn the_checks_detect_missing_instructions() {
    let code = boot_code(&Message::standard(), Then::Halt).expect("fits");
    let text = expected(&Message::standard(), Then::Halt);
    let try_it = |code: &[u8; 440], machine: Machine, video| {
        check(machine, Firmware::new(code, video, Uart::Ready(1), 0x55), &text, Then::Halt)
    };
    assert_eq!(try_it(&code, friendly(), Video::Vga), Ok(()));
    // Replacing any of these instructions by NOPs must be detected.
    let hostile = Machine { down: true, interrupts: false, segments: [0x1234, 0, 0x1234, 0x1234], ..friendly() };
    for (what, instruction) in [
        ("the stack's segment", &[0x8E, 0xD0][..]),
        ("the data's segment", &[0x8E, 0xD8]),
        ("the message's segment", &[0x8E, 0xC0]),
        ("the direction", &[0xFC]),
        ("the interrupts", &[0xFB]),
        ("the registers that firmware destroys", &[0x60]),
        ("the colour", &[0xBB, 0x07, 0x00]),
        ("the wait for the serial port", &[0xE1]),
    ] {
        let at = code.windows(instruction.len()).position(|window| window == instruction).expect(what);
        let mut maimed = code;
        maimed[at..at + instruction.len()].fill(0x90);
        assert!(try_it(&maimed, hostile.clone(), Video::Vga).is_err(), "{what}");
    }
    // A stub without the check for a mirrored screen.
    let jump = code.windows(3).position(|window| window == [0xC0, 0x74, 0x09]).expect("mirror check in the stub");
    let mut loud = code;
    loud[jump + 1] = 0xEB;
    assert_eq!(try_it(&loud, friendly(), Video::Vga), Ok(()));
    assert!(try_it(&loud, friendly(), Video::Mirrored(0xF0)).is_err());
}
