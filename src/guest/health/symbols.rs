//! Resolves bare addresses in the call traces of kernels without `CONFIG_KALLSYMS`, and of old kernels.
//!
//! Only unambiguous whole words are resolved: the addresses of a trace, and the instruction pointer.

use super::Finding;

/// Maps a link-time address to `function+0x1a/0x90`.
pub(crate) type Lookup<'a> = &'a dyn Fn(u64) -> Option<String>;

/// Kernel text and modules: the upper 2 GiB (`Documentation/arch/x86/x86_64/mm.rst`).
const TEXT: u64 = 0xffff_ffff_8000_0000;

/// Replaces the addresses of traces by symbols. A kernel that was relocated at boot (KASLR) prints its offset when it
/// panics; the offset applies to all findings of one boot.
pub(crate) fn resolve(findings: &mut [Finding], lookup: Lookup<'_>) {
    let offset = findings.iter().flat_map(|finding| &finding.lines).find_map(|line| offset(line)).unwrap_or(0);
    let name = |address: u64| lookup(address.wrapping_sub(offset));
    for finding in findings {
        for line in &mut finding.lines {
            if let Some(better) = resolved(line, &name) {
                *line = better;
            }
        }
        if let Some(better) = resolved(&finding.title, &name) {
            finding.title = better;
        }
    }
}

/// `Kernel Offset: 0x1a000000 from 0xffffffff81000000 (relocation range: ...)`, or `disabled`.
fn offset(line: &str) -> Option<u64> {
    let rest = line.trim_start().strip_prefix("Kernel Offset: 0x")?;
    u64::from_str_radix(rest.split(' ').next()?, 16).ok()
}

/// Returns the line with symbols; `None` if it has no address to resolve.
fn resolved(line: &str, name: &dyn Fn(u64) -> Option<String>) -> Option<String> {
    if let Some((before, word)) = line.split_once("RIP: 0010:") {
        let (word, behind) = word.split_once(' ').unwrap_or((word, ""));
        let named = name(address(word)?)?;
        let space = if behind.is_empty() { "" } else { " " };
        return Some(format!("{before}RIP: 0010:{named}{space}{behind}"));
    }
    // ` [<ffffffff8112f3d0>]`, ` ? 0xffffffff8112f3d0`: no other text on the line.
    let text = line.trim_start();
    let indent = &line[..line.len() - text.len()];
    let (mark, word) = text.strip_prefix("? ").map_or(("", text), |word| ("? ", word));
    if indent.is_empty() && !word.starts_with('[') {
        return None;
    }
    Some(format!("{indent}{mark}{}", name(address(word.trim_end())?)?))
}

/// Parses an address of kernel text: 16 digits, bare, with the prefix `0x`, or in `[<` and `>]`.
fn address(word: &str) -> Option<u64> {
    let word = word.strip_prefix("[<").and_then(|word| word.strip_suffix(">]")).unwrap_or(word);
    let digits = word.strip_prefix("0x").unwrap_or(word);
    let value = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16)?;
    (value >= TEXT).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::resolve;
    use crate::guest::health::{Finding, Kind};

    fn named(lines: &[&str]) -> Vec<String> {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let mut findings = [Finding { kind: Kind::Oops, title: String::new(), lines, at: None }];
        let lookup = |at: u64| (at >> 12 == 0x000f_ffff_fff8_112f).then(|| format!("do_it+{:#x}/0x1000", at & 0xfff));
        resolve(&mut findings, &lookup);
        let [finding] = findings;
        finding.lines
    }

    #[test]
    fn only_bare_addresses_are_replaced_by_symbols() {
        let lines = [
            "RIP: 0010:0xffffffff8112f3d0",
            "RIP: 0010:[<ffffffff8112f3d0>]",
            " [<ffffffff8112f3d0>]",
            " ? 0xffffffff8112f3d0",
            " ffffffff8112f3d0",
            " 0xffffffff00000000",
            "RAX: ffffffff8112f3d0 RBX: 0000000000000000 RCX: 0000000000000000",
            " [<ffffffff8112f3d0>] known+0x1/0x2",
            "Code: 48 8b 05",
            "",
        ];
        let better = named(&lines);
        let name = "do_it+0x3d0/0x1000";
        assert_eq!(better[0], format!("RIP: 0010:{name}"));
        assert_eq!(better[1], format!("RIP: 0010:{name}"));
        assert_eq!(better[2..5], [format!(" {name}"), format!(" ? {name}"), format!(" {name}")]);
        assert_eq!(better[5..], lines[5..]);
    }

    #[test]
    fn the_offset_of_a_relocated_kernel_is_subtracted() {
        let lines = [" 0xffffffff9f12f3d0", "Kernel Offset: 0x1e000000 from 0xffffffff81000000 (relocation range: x)"];
        assert_eq!(named(&lines)[0], " do_it+0x3d0/0x1000");
        assert_eq!(named(&[" 0xffffffff8112f3d0", "Kernel Offset: disabled"])[0], " do_it+0x3d0/0x1000");
    }
}
