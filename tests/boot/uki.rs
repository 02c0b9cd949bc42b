//! Unified kernel images booted by firmware: Secure Boot starts only signed images, and the TPM's registers have the
//! values that `--measure` predicts.
//!
//! The firmware is OVMF; the variables with an enrolled key ("snakeoil") and the key are Debian's. The TPM is swtpm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::program::scratch;
use crate::support::qemu::spawn_reader;
use crate::support::{Kernel, Program};

/// Firmware, its variable store, and whether Secure Boot is on.
struct Firmware {
    code: &'static str,
    variables: &'static str,
    secure: bool,
}

const PLAIN: Firmware =
    Firmware { code: "/usr/share/OVMF/OVMF_CODE_4M.fd", variables: "/usr/share/OVMF/OVMF_VARS_4M.fd", secure: false };

const SECURE: Firmware = Firmware {
    code: "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
    variables: "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd",
    secure: true,
};

const KEY: &str = "/usr/share/ovmf/PkKek-1-snakeoil.key";
const CERTIFICATE: &str = "/usr/share/ovmf/PkKek-1-snakeoil.pem";

/// Shell line for the guest; prints the TPM's registers.
const REGISTERS: &str = "for pcr in 4 11; do echo PCR $pcr is $(cat /sys/class/tpm/tpm0/pcr-sha256/$pcr); done";

/// A child process that is killed on drop.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // The process may have exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Builds a disk image; prints the reason and returns `None` if no guest can be booted.
fn image(test: &str, folder: &Path, more: &[&str]) -> Option<PathBuf> {
    // The cloud kernel has its TPM driver built in.
    let kernel = Kernel::Cloud612.or_skip(test)?;
    let image = folder.join("disk.img");
    let program = Program::new().args(["disk", "--esp", "tiny", "--run", REGISTERS, "--measure", "-o"]).arg(&image);
    program.arg("--kernel").arg(kernel).args(more).done().exits(0);
    Some(image)
}

/// Decrypts Debian's key; its passphrase is "snakeoil".
fn key(folder: &Path) -> String {
    let plain = folder.join("snakeoil.key");
    let mut openssl = Command::new("openssl");
    openssl.args(["pkey", "-in", KEY, "-passin", "pass:snakeoil", "-out"]).arg(&plain);
    let output = openssl.output().expect("openssl runs (tools/setup test)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    plain.to_str().expect("text").to_owned()
}

/// Starts a TPM for one machine; returns the process and its socket.
fn tpm(folder: &Path) -> (Owned, PathBuf) {
    let state = folder.join("tpm");
    let socket = state.join("socket");
    fs::create_dir(&state).expect("writable directory");
    let child = Command::new("swtpm")
        .args(["socket", "--tpm2", "--terminate", "--tpmstate"])
        .arg(format!("dir={}", state.display()))
        .arg("--ctrl")
        .arg(format!("type=unixio,path={}", socket.display()))
        .stdin(Stdio::null())
        .spawn()
        .expect("swtpm runs (tools/setup test)");
    let child = Owned(child);
    let end = Instant::now() + Duration::from_secs(120);
    while !socket.exists() {
        assert!(Instant::now() < end, "swtpm does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    (child, socket)
}

/// Boots the image until the console contains `last`; returns the console output.
fn boot(firmware: &Firmware, folder: &Path, image: &Path, last: &str) -> String {
    let (_tpm, socket) = tpm(folder);
    let variables = folder.join("variables.fd");
    fs::copy(firmware.variables, &variables).expect("OVMF is installed (tools/setup run)");
    let mut qemu = Command::new("qemu-system-x86_64");
    // Secure Boot variables are writable only in system management mode.
    qemu.args(["-machine", "q35,smm=on", "-accel", "tcg", "-cpu", "max", "-m", "1024", "-nodefaults"]);
    if firmware.secure {
        qemu.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
    }
    qemu.args(["-display", "none", "-no-reboot", "-serial", "stdio", "-drive"])
        .arg(format!("if=pflash,unit=0,format=raw,readonly=on,file={}", firmware.code))
        .arg("-drive")
        .arg(format!("if=pflash,unit=1,format=raw,file={}", variables.display()))
        .arg("-drive")
        .arg(format!("file={},format=raw,if=virtio,snapshot=on", image.display()))
        .arg("-chardev")
        .arg(format!("socket,id=tpm,path={}", socket.display()))
        .args(["-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut qemu = Owned(qemu.spawn().expect("or_skip checked for QEMU"));
    let stdout = qemu.0.stdout.take().expect("piped");
    let receive = spawn_reader(stdout);
    let end = Instant::now() + Duration::from_secs(600);
    let mut console = String::new();
    while !console.contains(last) {
        match receive.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(bytes) => console.push_str(&String::from_utf8_lossy(&bytes)),
            Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => {
                panic!("no {last:?} on the console: {console}")
            }
        }
    }
    console
}

/// Compares the registers printed by the guest with the predicted values.
fn compare(console: &str, image: &Path, secure: bool) {
    let predicted = fs::read(image.with_file_name("disk.img.pcrs.json")).expect("--measure wrote it");
    let predicted: serde_json::Value = serde_json::from_slice(&predicted).expect("JSON");
    let registers = predicted["pcrs"].as_array().expect("a list");
    let found = |pcr: u8, key: &str, value: serde_json::Value| {
        let register = registers.iter().find(|one| one["pcr"] == pcr && one["bank"] == "sha256" && one[key] == value);
        register.expect("predicted")["hash"].as_str().expect("text").to_ascii_uppercase()
    };
    for (pcr, hash) in [(4, found(4, "secure_boot", secure.into())), (11, found(11, "phase", "".into()))] {
        assert!(console.contains(&format!("PCR {pcr} is {hash}")), "{hash} is not in {console}");
    }
}

#[test]
fn secure_boot_starts_a_signed_uki_and_measures_it_as_predicted() {
    let scratch = scratch();
    let key = key(scratch.path());
    let signing = ["--sign-key", &key, "--sign-cert", CERTIFICATE];
    let test = "secure_boot_starts_a_signed_uki_and_measures_it_as_predicted";
    let Some(image) = image(test, scratch.path(), &signing) else { return };
    let console = boot(&SECURE, scratch.path(), &image, "bootling: exited with status 0");
    assert!(console.contains("UEFI Secure Boot is enabled."), "{console}");
    compare(&console, &image, true);
}

#[test]
fn secure_boot_refuses_an_unsigned_uki() {
    let scratch = scratch();
    let Some(image) = image("secure_boot_refuses_an_unsigned_uki", scratch.path(), &[]) else { return };
    boot(&SECURE, scratch.path(), &image, "Access Denied");
}

#[test]
fn without_secure_boot_the_kernel_is_measured_too() {
    let scratch = scratch();
    let Some(image) = image("without_secure_boot_the_kernel_is_measured_too", scratch.path(), &[]) else { return };
    let console = boot(&PLAIN, scratch.path(), &image, "bootling: exited with status 0");
    compare(&console, &image, false);
}
