//! Tests of the ELF reader, and builders of small ELF files.

pub(crate) mod builder;

use std::path::Path;

use proptest::prelude::{any, proptest};

use self::builder::ElfBuilder;
use super::dlopen_note::Priority;
use super::{Abi, ElfError, ElfFacts, ElfKind};
use crate::arch::Arch;
use crate::format::read_at::PagedReader;

fn read(bytes: &[u8]) -> Result<ElfFacts, ElfError> {
    ElfFacts::read(PagedReader::new(bytes))
}

fn rich(arch: Arch) -> ElfBuilder {
    let note = r#"[{"soname":["libz.so.1"],"priority":"required"}]"#;
    let elf = ElfBuilder::library(arch).interpreter("/lib/ld.so").needed("liba.so.1").needed("libb.so.2");
    elf.soname("libx.so").rpath("/r").no_default_lib().dlopen_note(note).string("pthread_exit")
}

#[test]
fn every_class_and_byte_order_is_parsed() {
    for arch in Arch::ALL {
        let facts = read(&rich(arch).build()).expect("a good file");
        assert_eq!(facts.abi, Abi::of(arch));
        assert_eq!(facts.kind, ElfKind::Shared);
        assert_eq!(facts.interpreter.as_deref(), Some(Path::new("/lib/ld.so")), "{arch}");
        assert_eq!(facts.needed, ["liba.so.1", "libb.so.2"]);
        assert_eq!(facts.soname.as_deref(), Some("libx.so".as_ref()));
        assert_eq!(facts.rpath.as_deref(), Some("/r".as_ref()));
        assert!(facts.no_default_lib && !facts.pie);
        assert_eq!(facts.dlopen[0].priority, Priority::Required, "{arch}");
    }
}

#[test]
fn a_runpath_disables_the_rpath() {
    let facts = read(&rich(Arch::X86_64).runpath("/s").build()).expect("a good file");
    assert_eq!((facts.rpath, facts.runpath.as_deref()), (None, Some("/s".as_ref())));
}

#[test]
fn functions_are_found_by_name() {
    let bytes = rich(Arch::X86_64).build();
    let facts = read(&bytes).expect("a good file");
    let has = |name: &str| facts.string_table_contains(&bytes, &[name.as_bytes()]).expect("readable");
    assert!(has("pthread_exit"));
    assert!(!has("pthread_cancel") && !has("thread_exit_"));
    let mut far = ElfBuilder::library(Arch::X86_64);
    for index in 0..30_000 {
        far = far.string(&format!("symbol{index}"));
    }
    let bytes = far.string("pthread_cancel").build();
    // More entries than the dynamic section may have: only the string table matters here.
    let strings = (64 + 2 * 56, 500_000);
    let facts = ElfFacts { strings: Some(strings), ..facts };
    assert!(facts.string_table_contains(&bytes, &[b"pthread_cancel"]).expect("readable"));
    assert!(facts.string_table_contains(&bytes, &[b"symbol29999"]).expect("readable"));
    assert!(!facts.string_table_contains(&bytes, &[b"symbol30001"]).expect("readable"));
}

#[test]
fn a_truncated_file_is_an_error_with_an_offset() {
    let whole = rich(Arch::X86_64).build();
    for end in 0..whole.len() {
        let error = read(&whole[..end]).expect_err("a truncated file");
        assert!(error.to_string().contains("at offset 0x"), "{error}");
    }
}

#[test]
fn an_unterminated_interpreter_and_a_string_table_outside_all_segments_are_refused() {
    let mut bytes = rich(Arch::X86_64).build();
    let at = bytes.windows(11).position(|window| window == b"/lib/ld.so\0").expect("the interpreter") + 10;
    bytes[at] = b'x';
    assert!(read(&bytes).expect_err("no NUL").to_string().contains("PT_INTERP"));
    let mut bytes = rich(Arch::X86_64).build();
    // p_vaddr of the only PT_LOAD, right after the ELF header.
    bytes[64 + 16] = 1;
    bytes[64 + 23] = 1;
    assert!(read(&bytes).expect_err("no segment").to_string().contains("DT_STRTAB"));
}

proptest! {
    #[test]
    fn damaged_files_never_panic(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..8), arch in 0..8usize) {
        let mut bytes = rich(Arch::ALL[arch]).build();
        let length = bytes.len();
        for (at, value) in changes {
            bytes[usize::from(at) % length] = value;
        }
        if let Ok(facts) = read(&bytes) {
            facts.string_table_contains(&bytes, &[b"pthread_exit"]).expect("a slice is readable");
        }
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.extend(noise);
        drop(read(&bytes));
    }
}
