//! Taint flags: `Documentation/admin-guide/tainted-kernels.rst`.

use super::{Finding, Kind};

/// A taint flag: letter, meaning, true if it indicates a problem, and the kinds of finding that set it.
struct Flag(char, &'static str, bool, &'static [Kind]);

/// Taint flags by bit number. Flags that the user caused (modules, a live patch, in-kernel tests) indicate no problem.
const FLAGS: [Flag; 20] = [
    Flag('P', "proprietary module was loaded", false, &[]),
    Flag('F', "module was force loaded", false, &[]),
    Flag('S', "kernel running on an out of specification system", true, &[]),
    Flag('R', "module was force unloaded", false, &[]),
    Flag('M', "processor reported a Machine Check Exception (MCE)", true, &[]),
    Flag('B', "bad page referenced or some unexpected page flags", true, &MEMORY),
    Flag('U', "taint requested by userspace application", true, &[]),
    Flag('D', "kernel died recently, i.e. there was an OOPS or BUG", true, &[Kind::Panic, Kind::Oops, Kind::Bug]),
    Flag('A', "ACPI table overridden by user", false, &[]),
    Flag('W', "kernel issued warning", true, &WARNINGS),
    Flag('C', "staging driver was loaded", false, &[]),
    Flag('I', "workaround for bug in platform firmware applied", false, &[]),
    Flag('O', "externally-built (\"out-of-tree\") module was loaded", false, &[]),
    Flag('E', "unsigned module was loaded", false, &[]),
    Flag('L', "soft lockup occurred", true, &[Kind::SoftLockup, Kind::HardLockup]),
    Flag('K', "kernel has been live patched", false, &[]),
    Flag('X', "auxiliary taint, defined for and used by distros", false, &[]),
    Flag('T', "kernel was built with the struct randomization plugin", false, &[]),
    Flag('N', "an in-kernel test has been run", false, &[]),
    Flag('J', "userspace used a mutating debug operation in fwctl", false, &[]),
];

const MEMORY: [Kind; 4] = [Kind::Kasan, Kind::Kmsan, Kind::Kfence, Kind::OtherBug];
const WARNINGS: [Kind; 5] = [Kind::Warning, Kind::OtherBug, Kind::Lockdep, Kind::Ubsan, Kind::Oops];

/// Returns a finding for the gained flags that indicate a problem and that no other finding explains.
pub(super) fn gained(before: u64, after: u64, found: &[Finding]) -> Option<Finding> {
    let gained = after & !before;
    let told = |flag: &Flag| found.iter().any(|finding| flag.3.contains(&finding.kind));
    let flags: Vec<&Flag> = (0..)
        .zip(&FLAGS)
        .filter(|(bit, flag)| gained >> bit & 1 == 1 && flag.2 && !told(flag))
        .map(|(_, flag)| flag)
        .collect();
    // Flags of newer kernels are reported.
    let unknown = gained >> FLAGS.len();
    let mut lines: Vec<String> = flags.iter().map(|Flag(letter, what, ..)| format!("{letter} ({what})")).collect();
    if unknown != 0 {
        lines.push(format!("{:#x} (unknown to bootling)", unknown << FLAGS.len()));
    }
    let title = lines.join(", ");
    (!lines.is_empty()).then_some(Finding { kind: Kind::Taint, title, lines, at: None })
}

#[cfg(test)]
mod tests {
    use super::gained;
    use crate::guest::health::{Finding, Kind};

    #[test]
    fn harmless_flags_and_flags_explained_by_findings_are_not_reported() {
        let warned = [Finding { kind: Kind::Warning, title: String::new(), lines: Vec::new(), at: None }];
        assert_eq!(gained(0, 1 | 1 << 12 | 1 << 13, &[]), None, "an unsigned out-of-tree module");
        let warning = gained(0, 1 << 9, &[]).expect("a finding");
        assert_eq!((warning.kind, warning.title.as_str()), (Kind::Taint, "W (kernel issued warning)"));
        assert_eq!(gained(0, 1 << 9, &warned), None);
        assert_eq!(gained(1 << 9, 1 << 9, &[]), None, "set before the command");
        let both = gained(0, 1 << 5 | 1 << 9, &warned).expect("a finding");
        assert_eq!(both.title, "B (bad page referenced or some unexpected page flags)");
        assert_eq!(gained(0, 1 << 40, &[]).expect("a finding").title, "0x10000000000 (unknown to bootling)");
    }
}
