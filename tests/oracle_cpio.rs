//! Oracles for archives: GNU cpio and bsdcpio extract them, the cpio crate reads and writes them, and all attributes
//! are compared with the source.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bootling::format::archive_path::ArchivePath;
use bootling::format::compression::Compression;
use bootling::format::newc::{Member, walk};
use bootling::initrd::archive::{self as newc, Options, image};
use bootling::initrd::{CheckedPlan, Plan, Purpose};
use bootling::output::file::Output;
use bootling::root::fact::{Content, Fact, Node, Why};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::test_runner::Config;

/// All properties of a path that an archive should preserve.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    mode: u32,
    content: Vec<u8>,
    device: u64,
    /// First path (in sorted order) with the same inode.
    same_as: Vec<u8>,
}

fn look(root: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut seen = BTreeMap::new();
    let mut first: BTreeMap<(u64, u64), Vec<u8>> = BTreeMap::new();
    let mut paths = Vec::new();
    collect(root, &mut paths);
    paths.sort();
    for path in paths {
        let metadata = fs::symlink_metadata(&path).expect("a file");
        let name = path.strip_prefix(root).expect("below the root").as_os_str().as_bytes().to_vec();
        let content = if metadata.is_symlink() {
            fs::read_link(&path).expect("a link").into_os_string().as_bytes().to_vec()
        } else if metadata.is_file() {
            fs::read(&path).expect("a file")
        } else {
            Vec::new()
        };
        let same_as = first.entry((metadata.dev(), metadata.ino())).or_insert_with(|| name.clone()).clone();
        seen.insert(name, Seen { mode: metadata.mode(), content, device: metadata.rdev(), same_as });
    }
    seen
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if fs::symlink_metadata(&path).expect("a file").is_dir() {
            collect(&path, paths);
        }
        paths.push(path);
    }
}

/// Returns facts about a tree of the host, as resolution would.
fn facts(root: &Path) -> Vec<Fact> {
    let mut paths = Vec::new();
    collect(root, &mut paths);
    paths.into_iter().map(|path| fact(root, &path)).collect()
}

fn fact(root: &Path, path: &Path) -> Fact {
    let metadata = fs::symlink_metadata(path).expect("a file");
    let mode = (metadata.mode() & 0o7777) as u16;
    let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    let kind = metadata.file_type();
    let node = if kind.is_dir() {
        Node::Dir { mode }
    } else if kind.is_symlink() {
        let target = fs::read_link(path).expect("a link").into_os_string().as_bytes().to_vec();
        Node::Symlink { target }
    } else if kind.is_char_device() {
        Node::Char { mode, major, minor }
    } else if kind.is_block_device() {
        Node::Block { mode, major, minor }
    } else if kind.is_fifo() {
        Node::Fifo { mode }
    } else if kind.is_socket() {
        Node::Socket { mode }
    } else {
        let hardlink = (metadata.nlink() > 1).then(|| (metadata.dev(), metadata.ino()));
        Node::File { mode, content: Content::Host { path: path.to_owned(), len: metadata.len() }, hardlink }
    };
    let path = ArchivePath::new(path.strip_prefix(root).expect("below the root"));
    Fact { path, node, why: Why::Base }
}

fn plan(facts: Vec<Fact>) -> CheckedPlan {
    Plan::from_facts(facts).expect("a plan").check(Purpose::Overlay).expect("sound")
}

fn archive(plan: &CheckedPlan, align: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = newc::write(plan, &mut bytes, &Options { align, mtime: 0 }).expect("written");
    assert_eq!(written, bytes.len() as u64);
    bytes
}

/// Creates a file of every type, with critical sizes and names.
fn fixture(root: &Path) {
    let file = |name: &[u8], len: usize, mode: u32| {
        let path = root.join(OsStr::from_bytes(name));
        let content: Vec<u8> = (0..len).map(|at| (at * 7 % 251) as u8).collect();
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    for name in ["dir", "dir/deeper", "empty", "modes"] {
        fs::create_dir(root.join(name)).expect("a directory");
    }
    for len in [0, 1, 2, 3, 4, 5, 511, 512, 513, 4095, 4096, 4097, 8191, 8192, 8193, 131_071, 131_072, 131_073, 700_001]
    {
        file(format!("dir/size-{len}").as_bytes(), len, 0o644);
    }
    for len in 1..9 {
        file(&[b"dir/".as_slice(), &b"abcdefgh"[..len]].concat(), 5000, 0o600);
    }
    file(b"modes/suid", 10, 0o4755);
    file(b"modes/none", 10, 0o000);
    file(b"modes/all", 10, 0o7777);
    file(b"\xff\xfe not text", 4097, 0o644);
    file("sm\u{f8}rrebr\u{f8}d".as_bytes(), 1, 0o644);
    file(b"-rf", 1, 0o644);
    file(b".hidden", 1, 0o644);
    fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o1777)).expect("a mode");
    symlink("../nowhere/at all", root.join("dir/dangling")).expect("a link");
    symlink(OsStr::from_bytes(b"\xff\xfe not text"), root.join("link")).expect("a link");
    for (from, to) in [("dir/size-8193", "another"), ("dir/size-8193", "zz"), ("dir/size-0", "zero")] {
        fs::hard_link(root.join(from), root.join(to)).expect("a hard link");
    }
    let node = |name: &str, kind, mode, device| {
        let mode = rustix::fs::Mode::from_raw_mode(mode);
        rustix::fs::mknodat(rustix::fs::CWD, root.join(name), kind, mode, device)
    };
    node("fifo", rustix::fs::FileType::Fifo, 0o600, 0).expect("a fifo");
    if rustix::process::geteuid().is_root() {
        // Containers may forbid device nodes even for root; in that case they are not tested.
        let console = node("console", rustix::fs::FileType::CharacterDevice, 0o600, rustix::fs::makedev(5, 1));
        let disk = node("disk", rustix::fs::FileType::BlockDevice, 0o660, rustix::fs::makedev(259, 70_000));
        assert_eq!(console.is_ok(), disk.is_ok());
    }
}

fn extract(program: &str, arguments: &[&str], archive: &[u8]) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a directory");
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(to.path())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the oracle is installed");
    child.stdin.take().expect("a pipe").write_all(archive).expect("open pipe");
    let output = child.wait_with_output().expect("child process");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    to
}

#[test]
fn gnu_cpio_and_bsdcpio_extract_the_same_tree() {
    let source = tempfile::tempdir().expect("a directory");
    fixture(source.path());
    let before = look(source.path());
    assert!(before.len() > 40);
    let plan = plan(facts(source.path()));
    for align in [false, true] {
        let bytes = archive(&plan, align);
        for (program, arguments) in [
            ("cpio", ["-idm", "--no-absolute-filenames", "--quiet"].as_slice()),
            ("bsdcpio", ["-idm", "--quiet"].as_slice()),
        ] {
            let to = extract(program, arguments, &bytes);
            let after = look(to.path());
            for (name, seen) in &before {
                assert_eq!(after.get(name), Some(seen), "{program}, align {align}: {}", name.escape_ascii());
            }
            assert_eq!(before.len(), after.len());
        }
    }
}

#[test]
fn gnu_cpio_lists_the_members_in_the_order_of_the_plan() {
    let source = tempfile::tempdir().expect("a directory");
    fixture(source.path());
    let plan = plan(facts(source.path()));
    let list = tempfile::NamedTempFile::new().expect("a file");
    fs::write(list.path(), archive(&plan, true)).expect("written");
    let output =
        Command::new("cpio").args(["-t", "--quiet", "-F"]).arg(list.path()).output().expect("cpio is installed");
    let listed: Vec<&[u8]> = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let planned: Vec<&[u8]> = plan.members().map(|member| member.path.as_bytes()).collect();
    assert_eq!(listed, planned);
    assert!(planned.is_sorted());
}

#[test]
fn the_cpio_crate_reads_our_archives() {
    let source = tempfile::tempdir().expect("a directory");
    fixture(source.path());
    // The crate's reader fails on names that are not UTF-8, which is the reason for bootling's own reader.
    let textual = facts(source.path()).into_iter().filter(|fact| std::str::from_utf8(fact.path.as_bytes()).is_ok());
    let plan = plan(textual.collect());
    let bytes = archive(&plan, true);
    let mut rest: &[u8] = &bytes;
    for member in plan.members() {
        let mut reader = cpio::newc::Reader::new(rest).expect("a member");
        let entry = reader.entry().clone();
        assert_eq!(entry.name().trim_end_matches('\0').as_bytes(), member.path.as_bytes());
        assert_eq!((entry.mode(), entry.ino(), entry.nlink()), (member.entry.st_mode(), member.ino, member.nlink));
        assert_eq!((entry.uid(), entry.gid(), entry.mtime()), (0, 0, 0));
        let mut data = Vec::new();
        reader.read_to_end(&mut data).expect("its data");
        let wanted = if member.carries_data { member.entry.size() } else { 0 };
        assert_eq!(data.len() as u64, wanted);
        if let (true, Node::File { content: Content::Host { path, .. }, .. }) =
            (member.carries_data, &member.entry.node)
        {
            assert!(data == fs::read(path).expect("a file"));
        }
        rest = reader.finish().expect("padding");
    }
    assert!(cpio::newc::Reader::new(rest).expect("a trailer").entry().is_trailer());
}

fn read(bytes: &[u8]) -> Vec<(Member, Vec<u8>)> {
    let mut members = Vec::new();
    walk(bytes, &mut |member, data| {
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes)?;
        members.push((member.clone(), bytes));
        Ok(ControlFlow::Continue(()))
    })
    .expect("sound");
    members
}

#[test]
fn archives_of_the_cpio_crate_and_gnu_cpio_are_read() {
    let mut bytes = Vec::new();
    for (name, data) in [("a", b"one".as_slice()), ("b/c", &[9; 5000])] {
        let builder = cpio::newc::Builder::new(name).mode(0o100_640).uid(1000).mtime(77);
        let mut writer = builder.write(bytes, data.len() as u32);
        writer.write_all(data).expect("written");
        bytes = writer.finish().expect("padded");
    }
    let bytes = cpio::newc::trailer(bytes).expect("a trailer");
    let members = read(&bytes);
    assert_eq!(members.len(), 2);
    assert_eq!((members[1].0.name.as_slice(), members[1].1.as_slice()), (b"b/c".as_slice(), [9; 5000].as_slice()));
    assert_eq!((members[0].0.header.uid, members[0].0.header.mtime), (1000, 77));

    let source = tempfile::tempdir().expect("a directory");
    fixture(source.path());
    for format in ["newc", "crc"] {
        let script = format!("find . -mindepth 1 -print0 | cpio -0 -o --quiet -H {format}");
        let output = Command::new("sh").args(["-c", &script]).current_dir(source.path()).output().expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let members = read(&output.stdout);
        let before = look(source.path());
        assert_eq!(members.len(), before.len());
        for (member, data) in members {
            let seen = before.get(&member.name).expect("the same name");
            assert_eq!(member.header.mode, seen.mode);
            let content = member.target.unwrap_or(data);
            assert!(content == seen.content || (content.is_empty() && member.header.nlink > 1), "{format}");
        }
    }
}

#[test]
fn the_same_tree_gives_the_same_bytes_in_any_order_and_at_any_time() {
    let (one, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    fixture(one.path());
    fixture(other.path());
    let touched =
        Command::new("find").arg(other.path()).args(["-exec", "touch", "-h", "-d", "@77", "{}", "+"]).status();
    assert!(touched.expect("find runs").success());
    let mut reversed = facts(other.path());
    reversed.reverse();
    let (first, second) = (plan(facts(one.path())), plan(reversed));
    assert!(archive(&first, true) == archive(&second, true));
    for compression in Compression::writable() {
        let build = |plan: &CheckedPlan, name: &str| {
            let path = one.path().with_extension(name);
            image(plan, Output::create(&path).expect("an output"), compression, 1_700_000_000).expect("written");
            let bytes = fs::read(&path).expect("an image");
            fs::remove_file(&path).expect("removed");
            bytes
        };
        let bytes = build(&first, "a");
        assert!(bytes == build(&second, "b"), "{}", compression.name());
        assert!(read(&bytes).iter().all(|(member, _)| member.header.mtime == 1_700_000_000));
    }
}

#[test]
fn compressed_images_are_unpacked_by_common_programs() {
    let source = tempfile::tempdir().expect("a directory");
    fixture(source.path());
    let plan = plan(facts(source.path()));
    let straight = archive(&plan, false);
    for (compression, program) in
        [(Compression::Gzip, "gzip"), (Compression::Zstd, "zstd"), (Compression::Xz, "xz"), (Compression::Lz4, "lz4")]
    {
        let path = source.path().with_extension(program);
        image(&plan, Output::create(&path).expect("an output"), compression, 0).expect("written");
        let unpacked = Command::new(program).arg("-dc").stdin(File::open(&path).expect("an image")).output();
        fs::remove_file(&path).expect("removed");
        match unpacked {
            Ok(unpacked) => assert!(unpacked.status.success() && unpacked.stdout == straight, "{program}"),
            Err(error) => {
                writeln!(std::io::stderr(), "skipped {program}: {error}").expect("standard error is open");
                assert!(std::env::var_os("REQUIRE_ORACLES").is_none(), "{program} is not installed");
            }
        }
    }
}

/// Trees of any shape: names of any bytes, some too long for alignment, some hard links.
fn trees() -> impl Strategy<Value = Vec<(Vec<u8>, Node)>> {
    let name = proptest::collection::vec((1_u8..=255).prop_filter("a name", |byte| *byte != b'/'), 1..30);
    let path = proptest::collection::vec(name, 1..5).prop_map(|parts| parts.join(&b'/'));
    let content =
        prop_oneof![proptest::collection::vec(any::<u8>(), 0..20), (4000..9000_usize).prop_map(|len| vec![b'x'; len]),];
    let node = prop_oneof![
        (0..0o10000_u16).prop_map(|mode| Node::Dir { mode }),
        (0..0o10000_u16, content, proptest::option::of(Just((1, 1)))).prop_map(|(mode, content, hardlink)| {
            // Hard links have the same mode and bytes.
            let (mode, content) = if hardlink.is_some() { (0o644, b"linked".to_vec()) } else { (mode, content) };
            Node::File { mode, content: Content::Bytes(content.into()), hardlink }
        }),
        (0..0o10000_u16, any::<u32>(), any::<u32>()).prop_map(|(mode, major, minor)| Node::Char { mode, major, minor }),
        (0..0o10000_u16, any::<u32>(), any::<u32>()).prop_map(|(mode, major, minor)| Node::Block {
            mode,
            major,
            minor
        }),
        (0..0o10000_u16).prop_map(|mode| Node::Fifo { mode }),
        (0..0o10000_u16).prop_map(|mode| Node::Socket { mode }),
        Just(Node::Symlink { target: b"\xfe/../nowhere".to_vec() }),
    ];
    proptest::collection::vec((path, node), 0..40)
}

proptest! {
    #![proptest_config(Config { cases: 200, ..Config::default() })]
    #[test]
    fn written_archives_are_read_back(tree in trees(), align in any::<bool>(), mtime in any::<u32>()) {
        let facts = tree.into_iter().map(|(path, node)| Fact {
            path: ArchivePath::new(OsStr::from_bytes(&path)),
            node,
            why: Why::Base,
        });
        // Contradictory random trees are refused and skipped.
        let Some(plan) = Plan::from_facts(facts).ok().and_then(|plan| plan.check(Purpose::Overlay).ok()) else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        let options = Options { align, mtime };
        newc::write(&plan, &mut bytes, &options).expect("written");
        assert_eq!(bytes.len() as u64, newc::len(&plan, &options));
        assert!(bytes.len().is_multiple_of(512));
        let members = read(&bytes);
        assert_eq!(members.len(), plan.members().count());
        for (planned, (member, data)) in plan.members().zip(members) {
            assert_eq!(planned.path.as_bytes(), member.name);
            assert_eq!(planned.entry.st_mode(), member.header.mode);
            assert_eq!((planned.ino, planned.nlink), (member.header.ino, member.header.nlink));
            assert_eq!(member.header.mtime, mtime);
            match &planned.entry.node {
                Node::File { content: Content::Bytes(content), .. } if planned.carries_data => {
                    assert!(**content == *data);
                    if align && data.len() > 4096 {
                        let header_end = member.offset + 110;
                        let plain = header_end + member.name.len() as u64 + 1;
                        let room = plain.next_multiple_of(4096) - header_end <= 4096;
                        let start = header_end + u64::from(member.header.name_size);
                        assert!(start.is_multiple_of(4096) || !room);
                    }
                }
                Node::Symlink { target } => assert_eq!(Some(target), member.target.as_ref()),
                Node::Char { major, minor, .. } | Node::Block { major, minor, .. } => {
                    assert_eq!((*major, *minor), member.header.rdevice);
                }
                _ => assert!(data.is_empty()),
            }
        }
    }
}
