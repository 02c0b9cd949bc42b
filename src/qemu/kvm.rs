//! KVM probe: runs guest code to verify that KVM works.
//!
//! That `/dev/kvm` exists, opens and creates machines is not sufficient: on some cloud machines the guest then runs
//! very slowly in an emulator, or stops at its first vector instruction. The probe therefore runs one page of code in
//! long mode: two SSE instructions, then a counted loop that must finish at hardware speed.
//!
//! Ioctls: `Documentation/virt/kvm/api.rst`. Only x86-64 hosts are probed.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_segment};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use memmap2::MmapMut;

use crate::sys;

/// Loop steps per round.
const STEPS: u32 = 2000;
/// Limit for one round. Hardware takes microseconds, nested KVM under TCG some hundred, an in-kernel emulator 8 ms.
const FAST: Duration = Duration::from_millis(1);
/// Rounds before the probe fails: at least this number, and at least this total time, because a busy host may slow some
/// down.
const ROUNDS: (u32, Duration) = (4, Duration::from_millis(100));
/// Timeout for the vCPU. It is long because a nested host under TCG with other load needs a considerable part of a
/// second for its first machine. If KVM works, or is absent, the probe returns much earlier.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// Timeout if there is no fallback: a long wait is better than a wrong failure.
pub const LONG_PATIENCE: Duration = Duration::from_secs(10);

const CODE_AT: u64 = 0x1000;
const PML4_AT: u64 = 0x2000;
const PDPT_AT: u64 = 0x3000;
const PD_AT: u64 = 0x4000;
const MEMORY: usize = 0x8000;
const PORT: u8 = 0x10;

/// Reason why KVM is unusable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoKvm(String);

impl fmt::Display for NoKvm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns `Ok` if KVM ran guest code at hardware speed. `patience` (`PATIENCE`, `LONG_PATIENCE`) is the timeout.
pub fn probe(patience: Duration) -> Result<(), NoKvm> {
    let kvm = Kvm::new().map_err(|error| NoKvm(explain_open(error.errno())))?;
    let version = kvm.get_api_version();
    if version != 12 {
        return Err(NoKvm(format!("unsupported /dev/kvm API version: expected 12, found {version}")));
    }
    run_with_patience(kvm, patience)
}

/// Describes an errno from opening `/dev/kvm`.
fn explain_open(errno: i32) -> String {
    match errno {
        libc::ENOENT => "/dev/kvm does not exist".to_owned(),
        libc::EACCES => "no permission to open /dev/kvm (is this user in the group kvm?)".to_owned(),
        libc::EPERM => "opening /dev/kvm is not permitted (possibly by a container's device rules)".to_owned(),
        libc::ENODEV | libc::ENXIO => {
            "/dev/kvm exists, but no KVM driver handles it (is virtualization enabled?)".to_owned()
        }
        libc::EBUSY => "another hypervisor uses the processor's virtualization".to_owned(),
        other => format!("failed to open /dev/kvm: {}", io::Error::from_raw_os_error(other)),
    }
}

/// Runs the probe in a thread, so that a vCPU that never returns cannot hang bootling.
fn run_with_patience(kvm: Kvm, patience: Duration) -> Result<(), NoKvm> {
    let (tell, answer) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        // The receiver may have timed out.
        drop(tell.send(run(&kvm)));
    });
    match answer.recv_timeout(patience) {
        Ok(result) => result,
        Err(RecvTimeoutError::Disconnected) => Err(NoKvm("the probe itself failed".to_owned())),
        Err(RecvTimeoutError::Timeout) => {
            // The signal only has to interrupt the ioctl; the flag that its handler sets is not read. The handler is
            // installed only here, because signals belong to the application if bootling is used as a library. If this
            // fails too, the thread ends with the process.
            let kick = rustix::process::Signal::USR1.as_raw();
            let caught = signal_hook::flag::register(kick, Arc::new(AtomicBool::new(false)));
            drop(caught.and_then(|_| sys::interrupt_thread(&thread, kick)));
            Err(NoKvm(format!("KVM creates machines, but guest code did not finish within {patience:?}")))
        }
    }
}

/// Runs one machine with one vCPU for up to [`ROUNDS`].
fn run(kvm: &Kvm) -> Result<(), NoKvm> {
    let failed = |what: &str, error: kvm_ioctls::Error| NoKvm(format!("KVM failed to {what}: {error}"));
    let mut memory =
        MmapMut::map_anon(MEMORY).map_err(|error| NoKvm(format!("failed to map guest memory: {error}")))?;
    fill(&mut memory);
    let machine = kvm.create_vm().map_err(|error| failed("create a machine", error))?;
    sys::give_memory(&machine, &mut memory)
        .map_err(|error| NoKvm(format!("KVM failed to register guest memory: {error}")))?;
    let mut vcpu = machine.create_vcpu(0).map_err(|error| failed("create a virtual CPU", error))?;
    let cpuid =
        kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(|error| failed("read the supported CPUID", error))?;
    vcpu.set_cpuid2(&cpuid).map_err(|error| failed("set CPUID", error))?;
    enter_long_mode(&vcpu).map_err(|error| failed("enter long mode", error))?;
    let (mut best, mut rounds, begun) = (Duration::MAX, 0, Instant::now());
    while rounds < ROUNDS.0 || begun.elapsed() < ROUNDS.1 {
        rounds += 1;
        let start = Instant::now();
        match vcpu.run() {
            Ok(VcpuExit::IoOut(port, _)) if port == u16::from(PORT) => {}
            Ok(VcpuExit::InternalError) => {
                return Err(NoKvm("KVM creates machines, but cannot run SSE instructions in them".to_owned()));
            }
            Ok(exit) => return Err(NoKvm(format!("KVM creates machines, but guest code stopped with {exit:?}"))),
            Err(error) => return Err(failed("run guest code", error)),
        }
        best = best.min(start.elapsed());
        if best <= FAST {
            return Ok(());
        }
    }
    Err(NoKvm(format!("KVM creates machines, but runs guest code too slowly ({STEPS} loop steps took {best:?})")))
}

/// Writes the guest code, and page tables that identity-map the first 2 MiB.
fn fill(memory: &mut [u8]) {
    let [a, b, c, d] = STEPS.to_le_bytes();
    #[rustfmt::skip]
    let code = [
        0x0f, 0x57, 0xc0,       //       xorps xmm0, xmm0
        0x0f, 0x58, 0xc0,       //       addps xmm0, xmm0
        0xb9, a, b, c, d,       // round: mov ecx, STEPS
        0xff, 0xc9,             // step: dec ecx
        0x75, 0xfc,             //       jnz step
        0xe6, PORT,             //       out PORT, al
        0xeb, 0xf3,             //       jmp round
    ];
    put(memory, CODE_AT, &code);
    let present_writable = 0b11;
    put(memory, PML4_AT, &(PDPT_AT | present_writable).to_le_bytes());
    put(memory, PDPT_AT, &(PD_AT | present_writable).to_le_bytes());
    let large_page = 1 << 7;
    put(memory, PD_AT, &(large_page | present_writable).to_le_bytes());
}

fn put(memory: &mut [u8], at: u64, bytes: &[u8]) {
    let at = at as usize;
    memory[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Sets up long mode with SSE and paging, at [`CODE_AT`] (Intel SDM volume 3, 10.8.5; AMD APM volume 2, 14.6).
fn enter_long_mode(vcpu: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
    const CR0_PE_MP_ET_NE_WP_PG: u64 = 1 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 31;
    const CR4_PAE_OSFXSR_OSXMMEXCPT: u64 = 1 << 5 | 1 << 9 | 1 << 10;
    const EFER_LME_LMA: u64 = 1 << 8 | 1 << 10;
    let mut sregs = vcpu.get_sregs()?;
    let flat = kvm_segment { base: 0, limit: u32::MAX, present: 1, s: 1, g: 1, ..kvm_segment::default() };
    sregs.cs = kvm_segment { selector: 8, type_: 11, l: 1, ..flat };
    let data = kvm_segment { selector: 16, type_: 3, db: 1, ..flat };
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.cr0 = CR0_PE_MP_ET_NE_WP_PG;
    sregs.cr3 = PML4_AT;
    sregs.cr4 = CR4_PAE_OSFXSR_OSXMMEXCPT;
    sregs.efer = EFER_LME_LMA;
    vcpu.set_sregs(&sregs)?;
    let mut regs = vcpu.get_regs()?;
    regs.rip = CODE_AT;
    regs.rflags = 2;
    vcpu.set_regs(&regs)
}

#[cfg(test)]
mod tests {
    use super::{PATIENCE, explain_open, probe};

    #[test]
    fn the_probe_returns_in_every_case() {
        // The result depends on the machine. A hang, or a failure without a reason, is a bug.
        if let Err(reason) = probe(PATIENCE) {
            assert!(!reason.to_string().is_empty());
        }
    }

    #[test]
    fn every_errno_has_a_distinct_description() {
        let descriptions: std::collections::BTreeSet<String> =
            [libc::ENOENT, libc::EACCES, libc::EPERM, libc::ENODEV, libc::EBUSY, libc::EIO].map(explain_open).into();
        assert_eq!(descriptions.len(), 6);
    }
}
