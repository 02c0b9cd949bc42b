//! Streams of a guest that behaves, and of one that does not.

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::{any, prop_oneof};
use proptest::strategy::{Just, Strategy};

use super::Collection;
use super::record::{Collected, fault};
use super::request::CollectRequest;
use crate::format::protocol::collect::{Kind, MAX_RECORD, header};

/// Encodes a record.
fn record(kind: Kind, payload: &[u8]) -> Vec<u8> {
    [&header(kind, u32::try_from(payload.len()).expect("short"))[..], payload].concat()
}

fn entry(kind: Kind, path: &str) -> Vec<u8> {
    record(kind, &[&0o644_u16.to_le_bytes()[..], path.as_bytes()].concat())
}

fn request(number: u16) -> Vec<u8> {
    record(Kind::Request, &number.to_le_bytes())
}

fn end() -> Vec<u8> {
    record(Kind::End, b"")
}

fn done() -> Vec<u8> {
    record(Kind::FileEnd, &[0; 4])
}

/// A collection of these requests into a directory.
fn collection(directory: &Path, guest: &[&str], limit: u64) -> Collection {
    let destination = Some(directory.join("d"));
    let requests: Vec<CollectRequest> =
        guest.iter().map(|guest| CollectRequest::new(guest.into(), destination.clone()).expect("valid")).collect();
    Collection::new(&requests, Some(limit)).expect("requests")
}

fn collect(directory: &Path, guest: &[&str], limit: u64, stream: &[Vec<u8>]) -> Result<Vec<Collected>, &'static str> {
    let mut collection = collection(directory, guest, limit);
    // Chunks end anywhere.
    stream.concat().chunks(7).try_for_each(|chunk| collection.receive(chunk))?;
    Ok(collection.finish(true).0)
}

#[test]
fn files_and_directories_are_stored_and_missing_ones_are_faults() {
    let scratch = tempfile::tempdir().expect("a directory");
    let stream = [
        request(0),
        entry(Kind::Directory, ""),
        entry(Kind::File, "a/b.log"),
        record(Kind::Bytes, b"one "),
        record(Kind::Bytes, b"two"),
        done(),
        entry(Kind::Directory, "empty"),
        record(Kind::Skipped, &[&[0; 4][..], b"fifo"].concat()),
        request(1),
        record(Kind::Missing, &2_u32.to_le_bytes()),
        request(2),
        record(Kind::Missing, &2_u32.to_le_bytes()),
        end(),
    ];
    let found = collect(scratch.path(), &["/out", "/missing", "/no/*.log"], 100, &stream).expect("valid");
    let at = |name: &str| scratch.path().join("d").join(name);
    assert_eq!(fs::read_to_string(at("a/b.log")).expect("there"), "one two");
    assert!(at("empty").is_dir());
    assert_eq!((found[0].files, found[0].bytes, found[0].skipped, &found[0].error), (1, 7, 1, &None));
    assert_eq!(found[0].host, [at("").display().to_string().trim_end_matches('/')]);
    assert_eq!((found[1].error.is_some(), &found[2].error), (true, &None));
    assert_eq!(fault(&found).expect("a fault"), "failed to collect /missing: No such file or directory");
}

#[test]
fn incomplete_files_are_not_stored() {
    let scratch = tempfile::tempdir().expect("a directory");
    let failing = record(Kind::FileEnd, &5_u32.to_le_bytes());
    let stream = [request(0), entry(Kind::File, "x"), record(Kind::Bytes, b"part"), failing, end()];
    let found = collect(scratch.path(), &["/out"], 100, &stream).expect("valid");
    assert!(found[0].error.as_ref().expect("a fault").starts_with("failed to read x: "), "{found:?}");
    let ended = [request(0), entry(Kind::File, "y"), record(Kind::Bytes, b"part")];
    let found = collect(scratch.path(), &["/out", "/more"], 100, &ended).expect("valid");
    assert_eq!(found[0].error.as_deref(), Some("the guest ended before all of it was collected"));
    assert_eq!(found[1].error, found[0].error);
    let limited = [request(0), entry(Kind::File, "z"), record(Kind::TooLarge, b""), end()];
    let found = collect(scratch.path(), &["/out", "/more"], 100, &limited).expect("valid");
    assert_eq!(found[1].error.as_deref(), Some("more than 100 bytes (--collect-limit)"));
    assert_eq!(fs::read_dir(scratch.path().join("d")).expect("there").count(), 0);
}

#[test]
fn hostile_streams_are_refused() {
    let scratch = tempfile::tempdir().expect("a directory");
    let file = |path: &str| vec![request(0), entry(Kind::File, path)];
    let long = "x".repeat(300);
    let mut streams = vec![
        vec![request(1)],
        vec![request(0), request(0)],
        vec![entry(Kind::File, "x")],
        vec![request(0), record(Kind::Bytes, b"x")],
        vec![request(0), done()],
        vec![end(), end()],
        vec![request(0), end(), request(1)],
        vec![request(0), entry(Kind::File, "x"), entry(Kind::File, "y")],
        vec![request(0), entry(Kind::File, "x"), record(Kind::Bytes, &[0; 101])],
        vec![record(Kind::Bytes, &vec![0; MAX_RECORD + 1])],
        vec![b"?\0\0\0\0".to_vec()],
        vec![request(0), record(Kind::File, &[0xff, 0xff, b'x'])],
    ];
    for path in ["..", "../x", "/x", "a/../../x", "a//b", "./x", "a/", "x\0y", &long] {
        streams.push(file(path));
        streams.push(vec![request(0), entry(Kind::Directory, path)]);
    }
    for stream in streams {
        let refused = collect(scratch.path(), &["/out", "/more"], 100, &stream);
        assert!(refused.is_err(), "{:?}", stream.concat().escape_ascii().to_string());
    }
    // The second file of a name does not replace the first.
    let twice = [file("x"), vec![record(Kind::Bytes, b"1"), done(), entry(Kind::File, "x"), done(), end()]].concat();
    let found = collect(scratch.path(), &["/out"], 100, &twice).expect("valid");
    assert!(found[0].error.as_ref().expect("a fault").contains("another file was collected as"), "{found:?}");
    assert_eq!(fs::read_to_string(scratch.path().join("d/x")).expect("there"), "1");
}

proptest::proptest! {
    #[test]
    fn whatever_a_guest_sends_is_written_below_the_destination(
        records in vec(
            prop_oneof![
                (prop_oneof![Just(Kind::File), Just(Kind::Directory)], "[a./]{0,6}").prop_map(|(kind, path)| entry(kind, &path)),
                vec(any::<u8>(), 0..20).prop_map(|bytes| record(Kind::Bytes, &bytes)),
                Just(done()),
                Just(request(0)),
                vec(any::<u8>(), 0..9),
            ],
            0..20,
        )
    ) {
        let scratch = tempfile::tempdir().expect("a directory");
        let base = scratch.path().join("inner");
        fs::create_dir(&base).expect("made");
        let _ = collect(&base, &["/out"], 1000, &[vec![request(0)], records].concat());
        for directory in [scratch.path(), base.as_path()] {
            let names: Vec<_> = fs::read_dir(directory).expect("there").map(|entry| entry.expect("one").file_name()).collect();
            proptest::prop_assert!(names.iter().all(|name| name == "inner" || name == "d"), "{names:?}");
        }
    }
}
