//! Byte-exact tests of the protocol between host and guest. Both sides compile the same codec, so a change here
//! requires a new [`bootling::format::protocol::VERSION`].

use bootling::format::protocol::frame::Ended;
use bootling::format::protocol::frame::Failure;
use bootling::format::protocol::frame::FrameError;
use bootling::format::protocol::frame::HEADER;
use bootling::format::protocol::frame::Lost;
use bootling::format::protocol::frame::MAX_PAYLOAD;
use bootling::format::protocol::frame::Stream;
use bootling::format::protocol::frame::ToGuest;
use bootling::format::protocol::frame::ToHost;
use bootling::format::protocol::frame::Usage;
use bootling::format::protocol::job::JobError;
use bootling::format::protocol::job::MAGIC;
use bootling::format::protocol::job::Tag;
use bootling::format::protocol::job::record_header;
use bootling::format::protocol::job::records;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

const USAGE: Usage = Usage { wall_ns: 1, user_us: 2, system_us: 3, max_rss_kib: 0x0102_0304_0506_0708 };

/// Messages of the guest, in the order of a run, and their bytes.
const TO_HOST: [(ToHost<'static>, &[u8]); 35] = [
    (
        ToHost::Hello { version: 1, uptime_ns: 0x0807_0605_0403_0201, taint: 512, window: 0x1_0000, release: b"6.1.0" },
        b"\x01\x25\0bootling\x01\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08\0\x02\0\0\0\0\0\0\0\0\x01\x006.1.0",
    ),
    (ToHost::Note(b"slow"), b"\x06\x04\0slow"),
    (ToHost::Started(258), b"\x02\x08\0\x02\x01\0\0\0\0\0\0"),
    (ToHost::Stdout(b"out\n"), b"\x03\x04\0out\n"),
    (ToHost::Stderr(b"\0\xff"), b"\x04\x02\0\0\xff"),
    (ToHost::Stdout(b""), b"\x03\0\0"),
    (ToHost::Collected(b"z\0"), b"\x0f\x02\0z\0"),
    (ToHost::Window(4096), b"\x05\x04\0\0\x10\0\0"),
    (ToHost::Failed { what: Failure::Job, errno: 0, subject: b"" }, b"\x07\x05\0\0\0\0\0\0"),
    (ToHost::Failed { what: Failure::Module, errno: 8, subject: b"a.ko" }, b"\x07\x09\0\x01\x08\0\0\0a.ko"),
    (ToHost::Failed { what: Failure::Exec, errno: 2, subject: b"nope" }, b"\x07\x09\0\x02\x02\0\0\0nope"),
    (ToHost::Failed { what: Failure::Tty, errno: 19, subject: b"t" }, b"\x07\x06\0\x03\x13\0\0\0t"),
    (ToHost::Failed { what: Failure::BlockDevices, errno: 110, subject: b"0 of 1" }, b"\x07\x0b\0\x04\x6e\0\0\x000 of 1"),
    (ToHost::Failed { what: Failure::Window, errno: 28, subject: b"a" }, b"\x07\x06\0\x05\x1c\0\0\0a"),
    (ToHost::Failed { what: Failure::SoftModule, errno: 19, subject: b"s" }, b"\x07\x06\0\x06\x13\0\0\0s"),
    (ToHost::Failed { what: Failure::Crash, errno: 9, subject: b"a.ko" }, b"\x07\x09\0\x07\x09\0\0\0a.ko"),
    (ToHost::Failed { what: Failure::Setup, errno: 24, subject: b"p" }, b"\x07\x06\0\x08\x18\0\0\0p"),
    (ToHost::Failed { what: Failure::Seed, errno: 2, subject: b"u" }, b"\x07\x06\0\x09\x02\0\0\0u"),
    (ToHost::CommandLine(b"quiet\n"), b"\x0c\x06\0quiet\n"),
    (ToHost::Loading(b"/a.ko"), b"\x0d\x05\0/a.ko"),
    (ToHost::Ready, b"\x09\0\0"),
    (
        ToHost::Log { lost: Lost::Nothing, records: b"4,1,2,-;x\n" },
        b"\x0a\x0b\0\x004,1,2,-;x\n",
    ),
    (ToHost::Log { lost: Lost::Overwritten, records: b"" }, b"\x0a\x01\0\x01"),
    (ToHost::Log { lost: Lost::TooMany, records: b"" }, b"\x0a\x01\0\x02"),
    (ToHost::Log { lost: Lost::Unreadable, records: b"" }, b"\x0a\x01\0\x03"),
    (ToHost::Left { pid: 258, lives: false, name: b"sh" }, b"\x0b\x07\0\x02\x01\0\0\0sh"),
    (ToHost::Left { pid: 258, lives: true, name: b"sh" }, b"\x0b\x07\0\x02\x01\0\0\x01sh"),
    (ToHost::Helper { id: 258, message: b"t" }, b"\x0e\x05\0\x02\x01\0\0t"),
    (ToHost::Helper { id: 1, message: b"" }, b"\x0e\x04\0\x01\0\0\0"),
    (
        ToHost::Exit { ended: Ended::Exited(7), usage: USAGE, taint: 9 },
        b"\x08\x2a\0\0\x07\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01\x09\0\0\0\0\0\0\0",
    ),
    (
        ToHost::Exit { ended: Ended::Signaled(9, false), usage: USAGE, taint: 9 },
        b"\x08\x2a\0\x01\x09\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01\x09\0\0\0\0\0\0\0",
    ),
    (
        ToHost::Exit { ended: Ended::Signaled(11, true), usage: USAGE, taint: 9 },
        b"\x08\x2a\0\x02\x0b\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01\x09\0\0\0\0\0\0\0",
    ),
    (
        ToHost::Exit { ended: Ended::PowerOff, usage: USAGE, taint: 9 },
        b"\x08\x2a\0\x03\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01\x09\0\0\0\0\0\0\0",
    ),
    (
        ToHost::Exit { ended: Ended::Restart, usage: USAGE, taint: 9 },
        b"\x08\x2a\0\x04\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01\x09\0\0\0\0\0\0\0",
    ),
    (
        ToHost::Exit { ended: Ended::Halt, usage: USAGE, taint: 9 },
        b"\x08\x2a\0\x05\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01\x09\0\0\0\0\0\0\0",
    ),
];

/// Messages of the host, and their bytes.
const TO_GUEST: [(ToGuest<'static>, &[u8]); 9] = [
    (
        ToGuest::Go { rows: 25, columns: 80, realtime_ns: 0x0807_0605_0403_0201 },
        b"\x41\x0c\0\x19\0\x50\0\x01\x02\x03\x04\x05\x06\x07\x08",
    ),
    (ToGuest::Stdin(b"in\n"), b"\x42\x03\0in\n"),
    (ToGuest::StdinEof, b"\x43\0\0"),
    (ToGuest::Resize { rows: 1, columns: 256 }, b"\x44\x04\0\x01\0\0\x01"),
    (ToGuest::Signal(15), b"\x45\x01\0\x0f"),
    (ToGuest::Done, b"\x46\0\0"),
    (ToGuest::Collect, b"\x49\0\0"),
    (ToGuest::Helper { id: 258, message: b"e\0" }, b"\x48\x06\0\x02\x01\0\0e\0"),
    (
        ToGuest::Renew { len: 258, seed: *b"0123456789abcdef0123456789ABCDEF" },
        b"\x47\x28\0\x02\x01\0\0\0\0\0\x000123456789abcdef0123456789ABCDEF",
    ),
];

fn encoded(encode: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut out = vec![0; HEADER + MAX_PAYLOAD];
    let len = encode(&mut out);
    out.truncate(len);
    out
}

#[test]
fn frames_of_the_guest_have_fixed_bytes_and_decode_to_the_message() {
    let mut transcript = Vec::new();
    for (message, bytes) in TO_HOST {
        assert_eq!(encoded(|out| message.encode(out)), bytes, "encoding {message:?}");
        transcript.extend_from_slice(bytes);
    }
    let mut rest = transcript.as_slice();
    for (message, bytes) in TO_HOST {
        let decoded = ToHost::decode(rest).expect("a valid frame");
        assert_eq!(decoded, Some((message, bytes.len())));
        rest = &rest[bytes.len()..];
    }
    assert_eq!(ToHost::decode(rest), Ok(None));
}

#[test]
fn frames_of_the_host_have_fixed_bytes_and_decode_to_the_message() {
    for (message, bytes) in TO_GUEST {
        assert_eq!(encoded(|out| message.encode(out)), bytes, "encoding {message:?}");
        assert_eq!(ToGuest::decode(bytes), Ok(Some((message, bytes.len()))));
    }
}

#[test]
fn an_incomplete_frame_is_not_decoded() {
    for (_, bytes) in TO_HOST {
        for len in 0..bytes.len() {
            assert_eq!(ToHost::decode(&bytes[..len]), Ok(None), "{len} bytes of {bytes:?}");
        }
    }
    for (_, bytes) in TO_GUEST {
        for len in 0..bytes.len() {
            assert_eq!(ToGuest::decode(&bytes[..len]), Ok(None), "{len} bytes of {bytes:?}");
        }
    }
}

#[test]
fn an_invalid_frame_is_refused_with_the_reason() {
    assert_eq!(ToHost::decode(b"\0\0\0"), Err(FrameError::Tag(0)));
    assert_eq!(ToHost::decode(b"\x10\0\0"), Err(FrameError::Tag(16)));
    assert_eq!(ToGuest::decode(b"\x4a\0\0"), Err(FrameError::Tag(0x4a)));
    assert_eq!(ToHost::decode(b"\x03\x01\x80"), Err(FrameError::TooLong(3, 0x8001)));
    assert_eq!(ToHost::decode(b"\x01\x08\0bootl1ng"), Err(FrameError::Malformed(1)), "another magic");
    assert_eq!(ToHost::decode(b"\x05\x05\0\0\0\0\0\0"), Err(FrameError::Malformed(5)), "a byte too many");
    assert_eq!(ToHost::decode(b"\x07\x05\0\x0a\0\0\0\0"), Err(FrameError::Malformed(7)), "an unknown failure");
    assert_eq!(ToHost::decode(b"\x41\0\0"), Err(FrameError::Malformed(0x41)), "from the wrong side");
    assert_eq!(ToGuest::decode(b"\x43\x01\0x"), Err(FrameError::Malformed(0x43)), "an end of file with a payload");
    assert_eq!(ToGuest::decode(b"\x45\x02\0\x0f\0"), Err(FrameError::Malformed(0x45)));
}

#[test]
fn a_stream_header_equals_the_header_of_an_encoded_message() {
    assert_eq!(encoded(|out| ToHost::Stdout(b"abc").encode(out))[..HEADER], Stream::Output.header(3));
    assert_eq!(encoded(|out| ToHost::Stderr(b"abc").encode(out))[..HEADER], Stream::Errors.header(3));
}

#[test]
fn a_payload_over_the_limit_is_truncated() {
    let text = vec![b'x'; MAX_PAYLOAD + 1];
    let bytes = encoded(|out| ToHost::Note(&text).encode(out));
    assert_eq!(bytes.len(), HEADER + MAX_PAYLOAD);
    assert_eq!(ToHost::decode(&bytes), Ok(Some((ToHost::Note(&text[1..]), bytes.len()))));
}

fn job(entries: &[(Tag, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (tag, value) in entries {
        bytes.extend_from_slice(&record_header(*tag, u32::try_from(value.len()).expect("a short value")));
        bytes.extend_from_slice(value);
    }
    bytes
}

#[test]
fn a_job_without_its_magic_is_refused() {
    assert_eq!(records(b"bootling job 2\n").err(), Some(JobError::Magic));
    assert_eq!(records(b"").err(), Some(JobError::Magic));
}

#[test]
fn a_broken_record_ends_the_job_with_its_offset() {
    let start = MAGIC.len();
    let unknown = [MAGIC, b"a\x01\0\0\0xz\0\0\0\0a\0\0\0\0"].concat();
    let found: Vec<_> = records(&unknown).expect("a magic").collect();
    assert_eq!(found, [Ok((Tag::Arg, b"x".as_slice())), Err(JobError::Tag(start + 6))]);
    for cut in [b"a".as_slice(), b"a\x01\0\0", b"a\x02\0\0\0x", b"a\xff\xff\xff\xffx"] {
        let bytes = [MAGIC, cut].concat();
        let found: Vec<_> = records(&bytes).expect("a magic").collect();
        assert_eq!(found, [Err(JobError::Truncated(start))], "{cut:?}");
    }
}

#[test]
fn every_tag_has_a_unique_byte() {
    let known: Vec<_> = (0..=u8::MAX).filter_map(|code| Some((code, Tag::from_code(code)?))).collect();
    assert_eq!(known.len(), 22);
    assert!(known.iter().all(|(code, tag)| tag.code() == *code));
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn pid1_is_a_small_static_program_that_cannot_panic() {
    let image =
        bootling::initrd::pid1::image(bootling::arch::Arch::X86_64).expect("pid 1 for the machine the tests run on");
    assert!(image.len() < 96 * 1024, "{} bytes", image.len());
    let elf = goblin::elf::Elf::parse(image).expect("an ELF file");
    assert_eq!(elf.header.e_type, goblin::elf::header::ET_EXEC);
    assert!(elf.interpreter.is_none() && elf.dynamic.is_none(), "pid 1 requires a dynamic loader");
    // Message of the panic handler. If nothing can reach the handler, the linker omits both.
    let panicked = b"pid 1 panicked";
    assert!(!image.windows(panicked.len()).any(|text| text == panicked), "pid 1 can panic");
    assert!(image.windows(8).any(|text| text == b"bootling"), "the text search is broken");
}

fn tags() -> impl Strategy<Value = Tag> {
    proptest::sample::select(vec![
        Tag::Arg,
        Tag::Env,
        Tag::Cwd,
        Tag::Module,
        Tag::SoftModule,
        Tag::Alternative,
        Tag::LastAlternative,
        Tag::ChannelModule,
        Tag::Channel,
        Tag::Tty,
        Tag::Hostname,
        Tag::BlockDevices,
        Tag::Disk,
        Tag::Network,
        Tag::Window,
        Tag::Verbose,
        Tag::User,
        Tag::Autoload,
        Tag::Collect,
        Tag::CollectLimit,
    ])
}

fn endings() -> impl Strategy<Value = Ended> {
    prop_oneof![
        any::<u8>().prop_map(Ended::Exited),
        any::<(u8, bool)>().prop_map(|(signal, core)| Ended::Signaled(signal, core)),
        Just(Ended::PowerOff),
        Just(Ended::Restart),
        Just(Ended::Halt),
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes_neither_panic_a_decoder_nor_exceed_the_input(bytes: Vec<u8>) {
        if let Ok(Some((_, taken))) = ToHost::decode(&bytes) {
            prop_assert!(taken <= bytes.len());
        }
        if let Ok(Some((_, taken))) = ToGuest::decode(&bytes) {
            prop_assert!(taken <= bytes.len());
        }
    }

    #[test]
    fn arbitrary_payloads_do_not_panic_a_decoder(tag in 0_u8..0x50, payload in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut bytes = vec![tag, payload.len() as u8, 0];
        bytes.extend_from_slice(&payload);
        // A decoded message must encode to the same bytes: each message has one encoding.
        if let Ok(Some((message, taken))) = ToHost::decode(&bytes) {
            prop_assert_eq!(taken, bytes.len());
            let canonical = encoded(|out| message.encode(out));
            let again = ToHost::decode(&canonical);
            prop_assert_eq!(again, Ok(Some((message, canonical.len()))));
        }
        if let Ok(Some((message, taken))) = ToGuest::decode(&bytes) {
            prop_assert_eq!(taken, bytes.len());
            prop_assert_eq!(encoded(|out| message.encode(out)), bytes);
        }
    }

    #[test]
    fn a_verdict_round_trips(
        ended in endings(), wall_ns: u64, user_us: u64, system_us: u64, max_rss_kib: u64, taint: u64,
    ) {
        let message = ToHost::Exit { ended, usage: Usage { wall_ns, user_us, system_us, max_rss_kib }, taint };
        let bytes = encoded(|out| message.encode(out));
        prop_assert_eq!(ToHost::decode(&bytes), Ok(Some((message, bytes.len()))));
    }

    #[test]
    fn output_and_texts_round_trip(text: Vec<u8>, number: u32, wide: u64) {
        for message in [
            ToHost::Stdout(&text),
            ToHost::Stderr(&text),
            ToHost::Note(&text),
            ToHost::Failed { what: Failure::Exec, errno: number, subject: &text },
            ToHost::Log { lost: Lost::TooMany, records: &text },
            ToHost::Left { pid: number, lives: true, name: &text },
            ToHost::Hello { version: number, uptime_ns: wide, taint: wide, window: number, release: &text },
        ] {
            let bytes = encoded(|out| message.encode(out));
            prop_assert_eq!(ToHost::decode(&bytes), Ok(Some((message, bytes.len()))));
        }
    }

    #[test]
    fn a_job_round_trips(entries in proptest::collection::vec((tags(), any::<Vec<u8>>()), 0..20)) {
        let bytes = job(&entries);
        let read: Result<Vec<_>, _> =
            records(&bytes).expect("a magic").map(|record| record.map(|(tag, value)| (tag, value.to_vec()))).collect();
        prop_assert_eq!(read, Ok(entries));
    }

    #[test]
    fn arbitrary_bytes_neither_panic_the_job_reader_nor_make_it_loop(rest: Vec<u8>) {
        let bytes = [MAGIC, &rest].concat();
        prop_assert!(records(&bytes).expect("a magic").count() <= rest.len());
    }
}
