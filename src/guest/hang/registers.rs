//! Parser of `info registers -a` (QEMU, `target/i386/cpu-dump.c` and `target/arm/cpu.c`).

/// The interrupt flag in RFLAGS.
const IF: u64 = 1 << 9;
/// The mask of interrupts, and the exception level with its stack pointer, in PSTATE.
const PSTATE_I: u64 = 1 << 7;
const PSTATE_M: u64 = 0b1111;

/// Registers of a processor at one point in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// vCPU index.
    pub(crate) index: u64,
    /// Address of the next instruction: RIP, or PC of an Arm processor.
    pub(crate) rip: u64,
    /// Stack pointer.
    pub(crate) rsp: u64,
    /// Privilege level: 0 in the kernel, 3 in user space (exception level 0 of an Arm processor).
    pub(crate) cpl: u8,
    /// True if it is halted until the next interrupt.
    pub(crate) halted: bool,
    /// True if interrupts are enabled.
    pub(crate) interrupts: bool,
    /// Base address of the interrupt descriptor table.
    pub(crate) idt: u64,
    /// True if it is a 64-bit processor.
    pub(crate) long: bool,
}

impl Cpu {
    /// Returns true if the processor executes a program, or waits for an interrupt. A kernel that has panicked or halted
    /// the machine does neither.
    pub(crate) fn is_alive(&self) -> bool {
        self.cpl == 3 || self.halted && self.interrupts
    }
}

/// Parses all processors. Unknown fields are ignored.
pub(crate) fn read(text: &str) -> Vec<Cpu> {
    let mut cpus: Vec<Cpu> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(number) = line.strip_prefix("CPU#") {
            cpus.push(Cpu { index: number.trim().parse().unwrap_or(0), ..Cpu::default() });
        }
        // Without `-a`, and in older versions of QEMU, there is a single processor without an index.
        if cpus.is_empty() && ["RAX=", "EAX=", "PC="].iter().any(|first| line.starts_with(first)) {
            cpus.push(Cpu::default());
        }
        let Some(cpu) = cpus.last_mut() else { continue };
        for (name, value) in fields(line) {
            let number = u64::from_str_radix(value, 16);
            match (name, number) {
                ("RIP" | "PC", Ok(rip)) => (cpu.rip, cpu.long) = (rip, true),
                ("EIP", Ok(eip)) => cpu.rip = eip,
                ("RSP" | "ESP" | "SP", Ok(rsp)) => cpu.rsp = rsp,
                ("RFL" | "EFL", Ok(flags)) => cpu.interrupts = flags & IF != 0,
                ("CPL", Ok(level)) => cpu.cpl = level as u8,
                // QEMU does not print whether an Arm processor is halted.
                ("PSTATE", Ok(state)) => {
                    cpu.interrupts = state & PSTATE_I == 0;
                    cpu.cpl = if state & PSTATE_M == 0 { 3 } else { 0 };
                }
                ("HLT", Ok(halted)) => cpu.halted = halted != 0,
                _ => {}
            }
        }
        if let Some(idt) = line.strip_prefix("IDT=") {
            cpu.idt = idt.split_whitespace().next().and_then(|base| u64::from_str_radix(base, 16).ok()).unwrap_or(0);
        }
    }
    cpus
}

/// `NAME=value` fields of a line.
fn fields(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split_whitespace().filter_map(|word| word.split_once('='))
}

#[cfg(test)]
mod tests {
    use super::{Cpu, read};

    const SAID: &str = "\r
CPU#0\r
RAX=0000000000000000 RBX=0000000000000000 RCX=0000000000000000 RDX=0000000000000000\r
RSI=0000000021566908 RDI=00007ffe02dcd350 RBP=0000000000000001 RSP=00007ffe02dcd350\r
RIP=000000000042edf1 RFL=00000246 [---Z-P-] CPL=3 II=0 A20=1 SMM=0 HLT=0\r
IDT=     fffffe0000000000 00000fff\r
\r
CPU#1\r
RSI=0 RDI=0 RBP=0 RSP=ffffc90000013ed8\r
RIP=ffffffff81c2ab9b RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\r
IDT=     fffffe0000000000 00000fff\r
";

    #[test]
    fn a_processor_in_a_program_or_waiting_for_an_interrupt_is_alive() {
        let cpu = |cpl, halted, interrupts| Cpu { cpl, halted, interrupts, ..Cpu::default() };
        for alive in [cpu(3, false, true), cpu(0, true, true)] {
            assert!(alive.is_alive(), "{alive:?}");
        }
        // The loop of a panic, and a processor that was stopped.
        for dead in [cpu(0, false, true), cpu(0, true, false)] {
            assert!(!dead.is_alive(), "{dead:?}");
        }
    }

    #[test]
    fn arm_processors_are_parsed() {
        let said = "\r
CPU#0\r
 PC=ffffd9a9b3c1c2f0 X00=00000000000000e0 X01=ffff00003fb5d480\r
X29=ffffd9a9b4f63d80 X30=ffffd9a9b3c1c2e8  SP=ffffd9a9b4f63d80\r
PSTATE=600000c5 -ZC- EL1h     FPU disabled\r
\r
CPU#1\r
 PC=0000ffff9f3e1a2c X00=0000000000000000  SP=0000ffffe0a12340\r
PSTATE=80000000 N--- EL0t     FPU disabled\r
";
        let cpu = |index, rip, rsp, cpl| Cpu { index, rip, rsp, cpl, long: true, ..Cpu::default() };
        let kernel = cpu(0, 0xffff_d9a9_b3c1_c2f0, 0xffff_d9a9_b4f6_3d80, 0);
        let user = Cpu { interrupts: true, ..cpu(1, 0xffff_9f3e_1a2c, 0xffff_e0a1_2340, 3) };
        assert_eq!(read(said), [kernel, user]);
        assert!(user.is_alive());
    }

    #[test]
    fn each_processor_is_parsed() {
        let idt = 0xffff_fe00_0000_0000;
        let user = Cpu {
            index: 0,
            rip: 0x0042_edf1,
            rsp: 0x7ffe_02dc_d350,
            cpl: 3,
            halted: false,
            interrupts: true,
            idt,
            long: true,
        };
        let halted = Cpu {
            index: 1,
            rip: 0xffff_ffff_81c2_ab9b,
            rsp: 0xffff_c900_0001_3ed8,
            cpl: 0,
            halted: true,
            interrupts: false,
            idt,
            long: true,
        };
        assert_eq!(read(SAID), [user, halted]);
        assert_eq!(read("EAX=0\nEIP=0000fff0 EFL=00000002 CPL=0 HLT=0\n").len(), 1);
        assert_eq!(read("no registers\nRIP=zz"), []);
    }
}
