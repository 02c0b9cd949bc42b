//! Oracles for unified kernel images: objdump and objcopy read them, sbverify and osslsigncode verify their signatures,
//! openssl makes keys of every kind. The stub is systemd's; another EFI program serves as the kernel.
//!
//! A test without its tools prints a note on standard error and passes; with `REQUIRE_VM=1`, as in CI, it fails.

#[path = "support/skip.rs"]
mod skip;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bootling::arch::Arch;
use bootling::disk::signing::Signer;
use bootling::disk::signing::authenticode;
use bootling::disk::signing::sign;
use bootling::disk::uki::UkiParts;
use bootling::disk::uki::image::Uki;
use bootling::disk::uki::resolve;
use bootling::format::measure::measure;
use bootling::output::Source;
use bootling::output::extents::Extents;
use bootling::root::directory::Root;
use bootling::root::kernel::ImageKind;
use bootling::root::kernel::Kernel;

/// Both files are in Debian's package systemd-boot-efi.
const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
const KERNEL: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";

/// Returns true if the test's tools and files are installed; otherwise skips the test.
fn have(test: &str, needed: &[&str]) -> bool {
    skip::tools(test, &[needed, &[STUB, KERNEL]].concat())
}

/// Runs a tool; returns its output, and true if it succeeded.
fn tool(dir: &Path, words: &[&str]) -> (String, bool) {
    let output =
        Command::new(words[0]).args(&words[1..]).current_dir(dir).output().expect("`have` checked for the tool");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.success())
}

/// Runs a tool that must succeed; returns its output.
fn must_run(dir: &Path, words: &[&str]) -> String {
    let (text, success) = tool(dir, words);
    assert!(success, "{words:?}: {text}");
    text
}

fn parts(dir: &Path) -> UkiParts {
    let kernel = Kernel {
        image: KERNEL.into(),
        kind: ImageKind::BzImage,
        arch: Arch::X86_64,
        release: Some("6.1.0-test".to_owned()),
        modules: None,
        config: None,
        origin: KERNEL.to_owned(),
    };
    let root = Root::new(dir).expect("a root");
    resolve(&root, &kernel, Some(Path::new(STUB))).expect("all parts")
}

fn uki(dir: &Path) -> Extents {
    let mut initrd = Extents::new(70_001);
    initrd.add(0, 70_001, Source::Bytes(Arc::from(vec![0x5a; 70_001])), 0);
    Uki::new(parts(dir), "console=ttyS0 quiet", initrd).expect("room").extents()
}

fn write(file: &Extents, path: &Path) {
    let mut bytes = Vec::new();
    file.write_to(&mut bytes).expect("written");
    fs::write(path, bytes).expect("written");
}

/// Creates a key and its certificate with openssl: `NAME.key`, `NAME.crt`.
fn pair(dir: &Path, name: &str, kind: &[&str]) -> (PathBuf, PathBuf) {
    let (key, cert, subject) = (format!("{name}.key"), format!("{name}.crt"), format!("/CN=bootling test {name}"));
    let mut words =
        vec!["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", &subject, "-keyout", &key, "-out", &cert];
    words.extend(kind);
    must_run(dir, &words);
    (dir.join(key), dir.join(cert))
}

const RSA: &[&str] = &["-newkey", "rsa:2048"];

#[test]
fn objdump_lists_the_sections_and_objcopy_extracts_them() {
    if !have("objdump_lists_the_sections_and_objcopy_extracts_them", &["objdump", "objcopy"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    write(&uki(dir.path()), &dir.path().join("uki.efi"));
    let headers = must_run(dir.path(), &["objdump", "-x", "uki.efi"]);
    // Columns: number, name, size, VMA, LMA, file offset, alignment; the flags follow on the next line.
    let listed: Vec<(String, u64, u64, u64)> = headers
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.len() == 7 && words[1].starts_with('.') && words[0].parse::<u8>().is_ok())
        .map(|words| {
            let hex = |word: &str| u64::from_str_radix(word, 16).expect("a number");
            (words[1].to_owned(), hex(words[2]), hex(words[3]), hex(words[5]))
        })
        .collect();
    let names: Vec<_> = listed.iter().map(|section| section.0.as_str()).collect();
    assert!(names.ends_with(&[".osrel", ".cmdline", ".uname", ".initrd", ".linux"]), "{names:?}");
    assert!(headers.contains("SizeOfHeaders\t\t00000400\nCheckSum\t\t00000000"), "{headers}");
    for pair in listed.windows(2) {
        assert!(pair[0].2 + pair[0].1 <= pair[1].2, "addresses overlap: {pair:x?}");
        assert!(pair[0].3 < pair[1].3, "file offsets overlap: {pair:x?}");
    }
    assert!(listed[8..].iter().all(|section| section.2 % 4096 == 0 && section.3 % 512 == 0), "{listed:x?}");
    let (kernel, initrd) = (fs::read(KERNEL).expect("a kernel"), vec![0x5a; 70_001]);
    for (name, expected) in [
        (".linux", kernel.as_slice()),
        (".initrd", initrd.as_slice()),
        (".cmdline", b"console=ttyS0 quiet"),
        (".uname", b"6.1.0-test"),
        (".osrel", b"ID=linux\nNAME=Linux\nPRETTY_NAME=\"Linux 6.1.0-test\"\nVERSION_ID=6.1.0-test\n"),
    ] {
        must_run(dir.path(), &["objcopy", "-O", "binary", "--only-section", name, "uki.efi", "section"]);
        assert!(fs::read(dir.path().join("section")).expect("taken out") == expected, "{name}");
    }
    // The stub's contents are unchanged and at the same offsets.
    let (stub, file) = (fs::read(STUB).expect("a stub"), fs::read(dir.path().join("uki.efi")).expect("an image"));
    let end = listed[7].3 as usize + 0x200;
    assert!(stub[0x400..end] == file[0x400..end]);
}

#[test]
fn sbverify_and_osslsigncode_verify_only_valid_signatures() {
    let tools = ["openssl", "sbverify", "sbattach", "osslsigncode"];
    if !have("sbverify_and_osslsigncode_verify_only_valid_signatures", &tools) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (key, cert) = pair(dir.path(), "us", RSA);
    pair(dir.path(), "them", RSA);
    let us = Signer::read(&key, &cert).expect("a signer");
    let signed = sign(&uki(dir.path()), &us).expect("signed");
    write(&signed, &dir.path().join("signed.efi"));
    let verify = |file: &str, cert: &str| tool(dir.path(), &["sbverify", "--cert", cert, file]);
    assert_eq!(verify("signed.efi", "us.crt"), ("Signature verification OK\n".to_owned(), true));
    assert!(!verify("signed.efi", "them.crt").1);
    let said = must_run(dir.path(), &["osslsigncode", "verify", "-CAfile", "us.crt", "signed.efi"]);
    let digest: Vec<String> =
        authenticode(&signed).expect("a digest").iter().map(|byte| format!("{byte:02X}")).collect();
    let digest = digest.concat();
    assert!(said.contains(&format!("Calculated message digest : {digest}")), "{said}");
    assert!(said.contains("Number of verified signatures: 1\nSucceeded"), "{said}");
    // A changed bit outside of the signature invalidates it.
    let mut changed = fs::read(dir.path().join("signed.efi")).expect("an image");
    changed[0x20000] ^= 1;
    fs::write(dir.path().join("changed.efi"), changed).expect("written");
    assert!(!verify("changed.efi", "us.crt").1);
    // A second signature by another key: both verify.
    let second = Signer::read(&dir.path().join("them.key"), &dir.path().join("them.crt")).expect("a signer");
    write(&sign(&signed, &second).expect("signed"), &dir.path().join("twice.efi"));
    assert!(verify("twice.efi", "us.crt").1 && verify("twice.efi", "them.crt").1);
    // Signing is reproducible.
    write(&sign(&uki(dir.path()), &us).expect("signed"), &dir.path().join("again.efi"));
    assert!(
        fs::read(dir.path().join("again.efi")).expect("one") == fs::read(dir.path().join("signed.efi")).expect("other")
    );
}

#[test]
fn digest_equals_sbsigns_and_its_signature_can_be_attached() {
    if !have("digest_equals_sbsigns_and_its_signature_can_be_attached", &["openssl", "sbsign", "sbattach", "sbverify"])
    {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    pair(dir.path(), "us", RSA);
    write(&uki(dir.path()), &dir.path().join("uki.efi"));
    // The stub has a symbol table, and its length is not a multiple of 8.
    fs::copy(STUB, dir.path().join("stub.efi")).expect("copied");
    let bootling = env!("CARGO_BIN_EXE_bootling");
    for file in ["uki.efi", "stub.efi"] {
        must_run(dir.path(), &["sbsign", "--key", "us.key", "--cert", "us.crt", "--detached", "--output", "sig", file]);
        let printed = must_run(dir.path(), &[bootling, "digest", file]);
        let digest = printed.strip_suffix(&format!("  {file}\n")).expect("as sha256sum prints it");
        let signature = must_run(dir.path(), &["openssl", "asn1parse", "-inform", "DER", "-in", "sig"]);
        assert!(signature.contains(&digest.to_ascii_uppercase()), "{digest} is not in {signature}");
        assert_eq!(must_run(dir.path(), &[bootling, "digest", "--attach", "sig", "-o", "signed.efi", file]), "");
        assert!(must_run(dir.path(), &["sbverify", "--cert", "us.crt", "signed.efi"]).contains("OK"));
        assert_eq!(must_run(dir.path(), &[bootling, "digest", "signed.efi"]), printed.replace(file, "signed.efi"));
        let report = must_run(dir.path(), &[bootling, "digest", "--json", "signed.efi"]);
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        assert_eq!(report["sha256"], digest);
        assert_eq!(report["signatures"], serde_json::json!([true]));
        assert!(report["stub"].as_str().is_some_and(|stub| stub.starts_with("systemd-stub ")));
    }
    let (said, success) = tool(dir.path(), &[bootling, "digest", "--attach", "sig", "-o", "none.efi", "uki.efi"]);
    assert!(
        !success && said.contains("failed to attach sig to uki.efi: the signature belongs to another file"),
        "{said}"
    );
    assert!(!dir.path().join("none.efi").exists());
    let (said, success) = tool(dir.path(), &[bootling, "digest", "us.crt"]);
    assert!(!success, "{said}");
    assert!(
        said.starts_with(
            "error: failed to compute the digest of us.crt: not a PE file: no \"MZ\" signature at offset 0x0\nadvice: "
        ),
        "{said}"
    );
}

/// Converts the pairs `us` and `ec` to all usual file formats.
fn in_other_forms(dir: &Path) {
    let openssl = |words: &[&str]| must_run(dir, &[&["openssl"], words].concat());
    openssl(&["pkey", "-in", "us.key", "-outform", "DER", "-out", "pkcs8.der"]);
    openssl(&["rsa", "-in", "us.key", "-traditional", "-out", "pkcs1.pem"]);
    openssl(&["rsa", "-in", "us.key", "-traditional", "-outform", "DER", "-out", "pkcs1.der"]);
    openssl(&["pkey", "-in", "us.key", "-aes256", "-passout", "pass:x", "-out", "encrypted.pem"]);
    openssl(&["rsa", "-in", "us.key", "-traditional", "-aes256", "-passout", "pass:x", "-out", "encrypted-old.pem"]);
    openssl(&["ec", "-in", "ec.key", "-out", "ec-old.pem"]);
    openssl(&["pkey", "-in", "us.key", "-pubout", "-out", "public.pem"]);
    openssl(&["x509", "-in", "us.crt", "-outform", "DER", "-out", "cert.der"]);
    openssl(&["x509", "-in", "us.crt", "-text", "-out", "text.crt"]);
}

#[test]
fn every_kind_of_key_is_read_or_refused_with_the_reason() {
    if !have("every_kind_of_key_is_read_or_refused_with_the_reason", &["openssl"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (key, cert) = pair(dir.path(), "us", RSA);
    let (_, other) = pair(dir.path(), "them", RSA);
    let (ec_key, ec_cert) = pair(dir.path(), "ec", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    pair(dir.path(), "weak", &["-newkey", "rsa:1024"]);
    in_other_forms(dir.path());
    let both = [fs::read(&cert).expect("a certificate"), fs::read(&key).expect("a key")].concat();
    fs::write(dir.path().join("both.pem"), both).expect("written");
    let chain = [fs::read(&cert).expect("a certificate"), fs::read(&other).expect("another")].concat();
    fs::write(dir.path().join("chain.crt"), chain).expect("written");
    let read = |key: &str, cert: &str| Signer::read(&dir.path().join(key), &dir.path().join(cert));
    let mut signatures = Vec::new();
    for (key, cert) in [
        ("us.key", "us.crt"),
        ("pkcs8.der", "cert.der"),
        ("pkcs1.pem", "text.crt"),
        ("pkcs1.der", "us.crt"),
        ("both.pem", "both.pem"),
    ] {
        let signer = read(key, cert).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(signer.subject, "CN=bootling test us");
        signatures.push(signer.sign(&[7; 32]).expect("signed"));
    }
    assert!(signatures.windows(2).all(|pair| pair[0] == pair[1]), "signatures depend on the file format");
    assert!(read("us.key", "chain.crt").expect("a signer").sign(&[7; 32]).expect("signed").len() > signatures[0].len());
    for (key, cert, why) in [
        ("encrypted.pem", "us.crt", "the key is encrypted"),
        ("encrypted-old.pem", "us.crt", "the key is encrypted"),
        ("ec.key", "ec.crt", "the certified key is not RSA, but firmware verifies only RSA signatures"),
        ("ec.key", "us.crt", "not an RSA key, but firmware verifies only RSA signatures"),
        ("ec-old.pem", "us.crt", "not an RSA key, but firmware verifies only RSA signatures"),
        ("weak.key", "weak.crt", "fewer than 2048 bits"),
        ("public.pem", "us.crt", "expected a private key, found a public key"),
        ("us.crt", "us.crt", "expected a private key, found a certificate"),
        ("cert.der", "us.crt", "no private key found (PEM or DER)"),
        ("us.key", "us.key", "no X.509 certificate found (PEM or DER)"),
        ("us.key", "them.crt", " do not match"),
        ("none.key", "us.crt", "No such file or directory (os error 2)"),
    ] {
        let error = read(key, cert).expect_err("refused");
        let source = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
        assert!(format!("{error}{source}").ends_with(why), "{key}: {error}: {source}");
    }
    assert!(ec_key.exists() && ec_cert.exists());
    let signer = read("us.key", "us.crt").expect("a signer");
    assert_eq!(signer.validity_note(std::time::SystemTime::now()), None);
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3 * 86_400);
    let note = signer.validity_note(later).expect("expired");
    assert_eq!(note, "the certificate of CN=bootling test us has expired; firmware ignores this");
}

#[test]
fn systemd_measure_predicts_the_same_values() {
    const MEASURE: &str = "/usr/lib/systemd/systemd-measure";
    if !have("systemd_measure_predicts_the_same_values", &["objcopy", MEASURE]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let file = uki(dir.path());
    write(&file, &dir.path().join("uki.efi"));
    let measured = measure(&file).expect("measured");
    let mut words = vec![MEASURE.to_owned(), "calculate".to_owned(), "--json=short".to_owned()];
    words.extend(["sha256", "sha384", "sha512"].map(|bank| format!("--bank={bank}")));
    for section in &measured.sections {
        let bare = section.name.trim_start_matches('.');
        must_run(dir.path(), &["objcopy", "-O", "binary", "--only-section", section.name, "uki.efi", bare]);
        words.push(format!("--{bare}={bare}"));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let theirs: serde_json::Value = serde_json::from_str(&must_run(dir.path(), &words)).expect("JSON");
    let ours = serde_json::to_value(&measured.pcrs).expect("JSON");
    let mut compared = 0;
    for register in ours.as_array().expect("a list").iter().filter(|register| register["pcr"] == 11) {
        let bank = theirs[register["bank"].as_str().expect("a name")].as_array().expect("a bank");
        // systemd-measure has no value before the first phase.
        if register["phase"] != "" {
            let same = bank.iter().find(|other| other["phase"] == register["phase"]).expect("the same phase");
            assert_eq!(same["hash"], register["hash"], "{register}");
            compared += 1;
        }
    }
    assert_eq!(compared, 3 * 4);
}
