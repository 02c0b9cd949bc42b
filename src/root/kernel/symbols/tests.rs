//! Tests with generated tables in all layouts, truncated and modified.

use std::fs;

use super::{Source, Symbols, kallsyms};
use proptest::prelude::{Just, ProptestConfig, any, prop_assert_eq, prop_oneof, proptest};

/// Layout of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Before Linux 6.2.
    Old,
    /// Linux 6.2 and 6.3: with `kallsyms_seqs_of_names`.
    Sequenced,
    /// Since Linux 6.4.
    New,
}

const ORDERS: [Order; 3] = [Order::Old, Order::Sequenced, Order::New];

/// Builds tables in the format of `scripts/kallsyms.c`, preceded by other bytes. Each character is one token.
fn tables(symbols: &[(u64, String)], order: Order, is_percpu: bool) -> Vec<u8> {
    const BASE: u64 = 0xffff_ffff_8100_0000;
    let pad = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(8), 0);
    let mut tokens = Vec::new();
    let mut index = Vec::new();
    for token in 0..=255_u8 {
        index.extend((tokens.len() as u16).to_le_bytes());
        // Codes that are not used in a name are tokens for longer strings.
        tokens.extend(if token.is_ascii_graphic() { vec![token] } else { format!("t{token}_").into_bytes() });
        tokens.push(0);
    }
    let (mut names, mut marks) = (Vec::new(), Vec::new());
    for (number, (_, name)) in symbols.iter().enumerate() {
        if number % 256 == 0 {
            marks.extend((names.len() as u32).to_le_bytes());
        }
        match name.len() {
            len @ 0..0x80 => names.push(len as u8),
            len => names.extend([(len & 0x7f) as u8 | 0x80, (len >> 7) as u8]),
        }
        names.extend(name.as_bytes());
    }
    let mut addresses = Vec::new();
    for (address, _) in symbols {
        let offset = match (is_percpu, address.checked_sub(BASE)) {
            (true, None) => *address as i32,
            (true, Some(offset)) => -1 - offset as i32,
            (false, offset) => offset.expect("all addresses are above the base") as i32,
        };
        addresses.extend(offset.to_le_bytes());
    }
    pad(&mut addresses);
    addresses.extend(BASE.to_le_bytes());
    let mut image = vec![0xcc; 64];
    image.extend([0; 64]);
    if order != Order::New {
        image.extend(&addresses);
    }
    image.extend((symbols.len() as u64).to_le_bytes());
    let numbers = (0..symbols.len() as u32).rev().flat_map(|number| number.to_be_bytes().into_iter().skip(1));
    let sequence = if order == Order::Sequenced { numbers.collect() } else { Vec::new() };
    for part in [names, marks, sequence, tokens, index] {
        image.extend(part);
        pad(&mut image);
    }
    if order == Order::New {
        image.extend(&addresses);
    }
    image.extend([0x90; 64]);
    image
}

/// Returns the symbols of a kernel with `count` functions of 16 bytes each.
fn kernel(count: usize, is_percpu: bool) -> Vec<(u64, String)> {
    let percpu = is_percpu.then(|| (0x1000, "Afixed_percpu_data".to_owned()));
    let at = |number: usize| 0xffff_ffff_8100_0000 + 16 * number as u64;
    let long = "x".repeat(200);
    let functions =
        (1..count).map(|number| (at(number), format!("t{}_{number}", if number == 7 { &long } else { "f" })));
    let edges = [(at(0), "T_stext".to_owned()), (at(count), "T_etext".to_owned())];
    percpu.into_iter().chain([edges[0].clone()]).chain(functions).chain([edges[1].clone()]).collect()
}

#[test]
fn tables_of_every_layout_are_read() {
    for (order, is_percpu) in ORDERS.into_iter().zip([true, true, true]).chain([(Order::New, false)]) {
        let symbols = kernel(1000, is_percpu);
        let read = Symbols::of_image(&tables(&symbols, order, is_percpu)).expect("symbols");
        let all: Vec<_> = read.iter().map(|(address, kind, name)| (address, format!("{kind}{name}"))).collect();
        assert_eq!(all, symbols);
        let place = |address| read.function(address).map(|place| place.to_string());
        assert_eq!(place(0xffff_ffff_8100_0025).as_deref(), Some("f_2+0x5/0x10"));
        assert_eq!((place(0x1000), place(0xffff_ffff_8100_3e80), place(0)), (None, None, None));
    }
}

#[test]
fn addresses_of_a_relocated_kernel_are_translated() {
    let mut read = Symbols::of_image(&tables(&kernel(1000, true), Order::New, true)).expect("symbols");
    assert!(!read.slide_by("f_2", 0xffff_ffff_8100_0021), "an offset of one byte is implausible");
    assert!(!read.slide_by("nothing", 0xffff_ffff_9200_0020));
    assert!(read.slide_by("f_2", 0xffff_ffff_9200_0020));
    assert_eq!(read.function(0xffff_ffff_9200_0025).map(|place| place.name), Some("f_2"));
    assert_eq!(read.address("f_3"), Some(0xffff_ffff_9200_0030));
}

#[test]
fn the_map_of_a_build_tree_is_read_and_that_of_a_debian_package_is_ignored() {
    let text = b"0000000000000000 A fixed\nffffffff81000000 T _stext\nffffffff81000040 t b\nffffffff81000010 t a\nffffffff81000100 T _etext\n";
    let map = Symbols::of_map(text).expect("a map");
    let place = |address| map.function(address).map(|place| place.to_string());
    assert_eq!(place(0xffff_ffff_8100_0020).as_deref(), Some("a+0x10/0x30"));
    assert_eq!(place(0xffff_ffff_8100_0050).as_deref(), Some("b+0x10/0xc0"));
    assert!(
        Symbols::of_map(b"ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n")
            .is_none()
    );
}

/// Returns the processor time of this thread, in seconds: unlike elapsed time, it does not include other load.
fn processor_time() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec
}

#[test]
fn the_search_of_a_malicious_image_is_bounded() {
    // Megabytes of words that look like markers, before each of many token tables.
    let table = tables(&kernel(1000, false), Order::Old, false);
    let digits = table.windows(6).position(|bytes| bytes == b"0\x001\x002\x00").expect("digits");
    let tokens = &table[digits - 1000..];
    let marks: Vec<u8> = (1..800_000_u32).flat_map(u32::to_le_bytes).collect();
    let image: Vec<u8> = (0..40).flat_map(|_| [&marks[..], &[0; 8], tokens].concat()).collect();
    // Without a bound, the search takes minutes of processor time.
    let start = processor_time();
    assert_eq!(kallsyms::entries(&image), []);
    let spent = processor_time() - start;
    assert!(spent < 30, "{spent} s");
}

#[test]
fn a_kernel_without_a_table_uses_the_map_of_its_build_tree() {
    let dir = tempfile::tempdir().expect("a directory");
    let (cached, tree) = (dir.path().join("cache/vmlinux"), dir.path().join("tree"));
    let image = tree.join("arch/x86/boot/bzImage");
    for file in [&cached, &image] {
        fs::create_dir_all(file.parent().expect("a parent")).expect("made");
        fs::write(file, b"\x7fELF without any table").expect("written");
    }
    fs::write(tree.join("System.map"), "ffffffff81000000 T _stext\nffffffff81000100 T _etext\n").expect("written");
    let finds = |origin: &std::path::Path| Source::new(&cached, origin).load().expect("read").is_some();
    assert!(finds(&image) && finds(&tree.join("vmlinux")));
    // The map in a directory above may belong to another kernel.
    assert!(!finds(&cached) && !finds(&tree.join("kept/old/vmlinuz")) && !finds(&tree.join("a/b/boot/bzImage")));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn tables_of_any_size_are_read(count in 300_usize..1500, order in 0..3_usize, is_percpu in any::<bool>()) {
        let symbols = kernel(count, is_percpu);
        let image = tables(&symbols, ORDERS[order], is_percpu);
        prop_assert_eq!(kallsyms::entries(&image).len(), symbols.len());
    }

    #[test]
    fn truncated_or_modified_tables_are_read_or_refused(
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..12),
        cut in prop_oneof![Just(usize::MAX), 0_usize..20_000],
        order in 0..3_usize,
    ) {
        let mut image = tables(&kernel(600, true), ORDERS[order], true);
        for (at, byte) in changes {
            let at = at % image.len();
            image[at] = byte;
        }
        image.truncate(cut);
        if let Some(symbols) = Symbols::of_image(&image) {
            let _ = symbols.iter().count();
            let _ = symbols.function(0xffff_ffff_8100_0025);
        }
    }
}
