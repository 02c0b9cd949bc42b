//! Activity of processors, from several register samples.

use std::collections::BTreeMap;

use super::registers::Cpu;
use crate::root::kernel::symbols::Symbols;

/// Address range of modules in Linux for x86-64 (`Documentation/arch/x86/x86_64/mm.rst`).
const MODULES: std::ops::Range<u64> = 0xffff_ffff_a000_0000..0xffff_ffff_ff00_0000;
/// Start of kernel addresses.
const UPPER_HALF: u64 = 1 << 63;
/// Functions in which an idle processor waits.
const IDLE: [&str; 12] = [
    "default_idle",
    "default_idle_call",
    "native_safe_halt",
    "pv_native_safe_halt",
    "acpi_safe_halt",
    "acpi_idle_enter",
    "mwait_idle",
    "intel_idle",
    "cpu_idle_poll",
    "cpuidle_enter_state",
    "do_idle",
    "arch_cpu_idle",
];

/// Activity of a processor at one point in time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doing {
    /// Halted until the next interrupt.
    Idle,
    /// In user space.
    User,
    /// In this kernel function.
    Kernel(String),
    /// At a kernel address without a symbol.
    Unnamed(u64),
    /// In a kernel module, whose functions are not in the symbol table.
    Module(u64),
    /// In firmware, a boot loader or early kernel code: not 64-bit code in the upper half.
    Early(u64),
}

/// Samples of one processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CpuSamples {
    /// vCPU index.
    pub(crate) index: u64,
    /// Samples in order.
    pub(crate) samples: Vec<(Cpu, Doing)>,
}

/// Groups samples by processor.
pub(crate) fn cpu_samples(samples: &[Vec<Cpu>], symbols: Option<&Symbols>) -> Vec<CpuSamples> {
    let mut cpu_samples: BTreeMap<u64, CpuSamples> = BTreeMap::new();
    for cpu in samples.iter().flatten() {
        let samples =
            cpu_samples.entry(cpu.index).or_insert_with(|| CpuSamples { index: cpu.index, samples: Vec::new() });
        samples.samples.push((*cpu, doing(cpu, symbols)));
    }
    cpu_samples.into_values().collect()
}

/// Formats a kernel address: `name+0x12/0x90`, or the address with a module mark.
pub(crate) fn named(address: u64, symbols: Option<&Symbols>) -> String {
    match symbols.and_then(|symbols| symbols.function(address)) {
        Some(place) => place.to_string(),
        None if MODULES.contains(&address) => format!("{address:#x} (a module)"),
        None => format!("{address:#x}"),
    }
}

/// Determines the activity of a processor.
fn doing(cpu: &Cpu, symbols: Option<&Symbols>) -> Doing {
    let place = symbols.and_then(|symbols| symbols.function(cpu.rip));
    match place {
        _ if cpu.halted => Doing::Idle,
        _ if cpu.cpl == 3 => Doing::User,
        Some(place) if IDLE.contains(&place.name) => Doing::Idle,
        Some(place) => Doing::Kernel(place.name.to_owned()),
        None if cpu.rip < UPPER_HALF => Doing::Early(cpu.rip),
        None if MODULES.contains(&cpu.rip) && symbols.is_some() => Doing::Module(cpu.rip),
        None => Doing::Unnamed(cpu.rip),
    }
}

impl CpuSamples {
    /// Returns true if it was idle in two thirds of the samples: an idle processor has timer ticks.
    pub(crate) fn is_idle(&self) -> bool {
        let idle = self.samples.iter().filter(|(_, doing)| *doing == Doing::Idle).count();
        idle > 0 && 3 * idle >= 2 * self.samples.len()
    }

    /// Returns true if it was in the kernel in most samples.
    pub(crate) fn is_in_kernel(&self) -> bool {
        2 * self.samples.iter().filter(|(_, doing)| doing.is_kernel()).count() > self.samples.len()
    }

    /// Returns true if interrupts were disabled in all samples.
    pub(crate) fn has_interrupts_off(&self) -> bool {
        self.samples.iter().all(|(cpu, _)| !cpu.interrupts)
    }

    /// Describes the samples in a sentence. `by_name` is the current function as printed by the kernel, if it is not in
    /// the symbol table.
    pub(crate) fn sentence(&self, by_name: Option<&str>) -> String {
        let all = self.samples.len();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (_, doing) in &self.samples {
            *counts.entry(doing.phrase(by_name)).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let shown = counts.iter().take(3).map(|(phrase, count)| format!("{phrase} in {count} of {all} samples"));
        let shown: Vec<String> = shown.collect();
        let off = if self.has_interrupts_off() { ", interrupts off" } else { "" };
        let lost = if self.is_idle() && self.has_interrupts_off() { ": only an NMI would wake it" } else { "" };
        format!("cpu {} is {}{off}{lost}", self.index, shown.join(", "))
    }
}

impl Doing {
    const fn is_kernel(&self) -> bool {
        match self {
            Self::Idle | Self::User | Self::Early(_) => false,
            Self::Kernel(_) | Self::Unnamed(_) | Self::Module(_) => true,
        }
    }

    /// Names the kind of activity. The address is printed beside it.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::User => "user space",
            Self::Kernel(_) | Self::Unnamed(_) => "kernel",
            Self::Module(_) => "kernel module",
            Self::Early(_) => "firmware or early code",
        }
    }

    fn phrase(&self, by_name: Option<&str>) -> String {
        match (self, by_name) {
            (Self::Idle, _) => "idle (waiting for an interrupt)".to_owned(),
            (Self::User, _) => "in user space (CPL 3)".to_owned(),
            (Self::Kernel(name), _) => format!("in the kernel, in {name}()"),
            (Self::Module(_), Some(name)) => format!("in the kernel, in {name}"),
            (Self::Module(address), None) => format!("in the kernel, in a module ({address:#x})"),
            (Self::Unnamed(address), _) => format!("in the kernel, at {address:#x}"),
            (Self::Early(address), _) => {
                format!("in firmware, a boot loader or early kernel code ({address:#x})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cpu, cpu_samples};
    use crate::root::kernel::symbols::Symbols;

    const MAP: &[u8] = b"ffffffff81000000 T _stext\nffffffff81000040 t misbehave\nffffffff81000100 T default_idle\n\
        ffffffff81000140 T _etext\n";

    fn cpu(index: u64, rip: u64) -> Cpu {
        Cpu { index, rip, cpl: if rip >> 63 == 0 { 3 } else { 0 }, interrupts: rip >> 63 == 0, ..Cpu::default() }
    }

    #[test]
    fn samples_are_described_in_one_sentence_per_processor() {
        let symbols = Symbols::of_map(MAP).expect("a map");
        let busy = 0xffff_ffff_8100_0052;
        let samples = [
            vec![cpu(0, busy), cpu(1, 0x40_0000), cpu(2, 0xffff_ffff_8100_0110), cpu(3, 0xffff_ffff_c001_0010)],
            vec![cpu(0, busy + 1), cpu(1, busy), Cpu { halted: true, ..cpu(2, 0x10) }, cpu(3, 0xffff_ffff_c001_0010)],
        ];
        let cpu_samples = cpu_samples(&samples, Some(&symbols));
        let said: Vec<_> = cpu_samples.iter().map(|samples| samples.sentence(None)).collect();
        assert_eq!(
            said,
            [
                "cpu 0 is in the kernel, in misbehave() in 2 of 2 samples, interrupts off",
                "cpu 1 is in the kernel, in misbehave() in 1 of 2 samples, in user space (CPL 3) in 1 of 2 samples",
                "cpu 2 is idle (waiting for an interrupt) in 2 of 2 samples",
                "cpu 3 is in the kernel, in a module (0xffffffffc0010010) in 2 of 2 samples, interrupts off",
            ]
        );
        assert!(
            cpu_samples[2].is_idle()
                && !cpu_samples[0].is_idle()
                && cpu_samples[0].is_in_kernel()
                && cpu_samples[0].has_interrupts_off()
        );
        let by_name = cpu_samples[3].sentence(Some("spin+0x10/0x20 [misbehave]"));
        assert_eq!(by_name, "cpu 3 is in the kernel, in spin+0x10/0x20 [misbehave] in 2 of 2 samples, interrupts off");
    }
}
