//! Short forms of reports: the lines that a reader needs first.

use super::line::Line;

/// First words of lines that an excerpt omits: registers, code bytes, lists, and marks of the call trace.
const REGISTERS: [&str; 15] = [
    "RSP:",
    "RAX:",
    "RDX:",
    "RBP:",
    "R10:",
    "R13:",
    "FS:",
    "CS:",
    "CR2:",
    "DR0:",
    "DR3:",
    "PKRU:",
    "ORIG_RAX:",
    "EFLAGS:",
    "GS:",
];
const DETAILS: [&str; 9] = [
    "Code: ",
    "Hardware name: ",
    "Modules linked in:",
    "Unloaded tainted modules:",
    "RIP: 0033:",
    "#PF: ",
    "PGD ",
    "<TASK>",
    "</TASK>",
];

/// Returns true if a line of a report, or of a console, is a detail of a fault: register contents, code bytes, the list of
/// modules, an unreliable entry of a call trace.
pub fn is_detail(line: &str) -> bool {
    let line = Line::of_console(line.as_bytes());
    let text = line.text.trim_start();
    let register = REGISTERS.iter().find_map(|words| text.strip_prefix(words));
    // A program may print `FS: ext4`.
    let is_register =
        register.is_some_and(|value| value.trim_start().bytes().take_while(u8::is_ascii_hexdigit).count() >= 4);
    let is_unreliable = text.starts_with("? ") && text.contains("+0x");
    is_register || is_unreliable || DETAILS.iter().any(|words| text.starts_with(words))
}

/// Returns at most `limit` lines of a report: its first line, the place of the fault and the call trace, without details. A
/// fault repeats its registers after its last line.
pub fn excerpt(lines: &[String], limit: usize) -> Vec<&str> {
    let end = lines.iter().position(|line| line.starts_with("---[ end ")).unwrap_or(lines.len());
    let is_kept = |line: &&str| !line.trim().is_empty() && !is_detail(line) && !line.contains("[ cut here ]");
    lines[..end].iter().map(String::as_str).filter(is_kept).take(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::{excerpt, is_detail};
    use crate::guest::health::tests::by_records;

    #[test]
    fn an_excerpt_has_the_first_line_the_place_and_the_call_trace() {
        let found = by_records(include_bytes!("../../../tests/fixtures/health/bug.kmsg"));
        let lines = excerpt(&found[0].lines, 12);
        assert!(lines[0].starts_with("kernel BUG at ") && lines.len() == 12, "{lines:#?}");
        for words in ["invalid opcode", "CPU: 0 PID: ", "RIP: 0010:set_how", "Call Trace:", " kernfs_fop_write_iter"] {
            assert!(lines.iter().any(|line| line.starts_with(words)), "{words} {lines:#?}");
        }
        assert!(found[0].killed_a_process());
        let warning = by_records(include_bytes!("../../../tests/fixtures/health/warn.kmsg"));
        assert!(!warning[0].killed_a_process());
    }

    #[test]
    fn registers_are_details_and_similar_output_of_programs_is_not() {
        for line in [
            "[    3.782446] RSP: 0018:ffffb6ee404b7e20 EFLAGS: 00010246",
            "FS:  00000000004d5c78(0000) GS:ffff9d81bdc00000(0000) knlGS:0000000000000000",
            "[    3.100000] PKRU: 55555554",
            "[    3.123456][   T81] Code: c0 0f 85 9d",
            "[    3.782446]  ? _copy_from_iter+0xb7/0x5a0",
        ] {
            assert!(is_detail(line), "{line}");
        }
        for line in ["FS: ext4", "CS: on", "[    3.782446] RIP: 0010:set_how+0x1/0x2", " set_how+0x1/0x2", "? what"] {
            assert!(!is_detail(line), "{line}");
        }
    }
}
