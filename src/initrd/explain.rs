//! Printed form of a plan: the list of its entries (`--dry-run`) and the reasons for an entry (`--why`).

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::io::Write;

use super::entry::type_and_permissions;
use super::{PlanError, build::Plan, check::CheckedPlan, entry::Entry};
use crate::format::archive_path::ArchivePath;
use crate::root::fact::{Content, Node, Why};

/// Escaped form of a name. Escapes all bytes that are not printable text, so that a name can neither control the
/// terminal nor be mistaken for another name.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\\' => f.write_str("\\\\")?,
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    control if control.is_control() => write!(f, "\\u{{{:x}}}", u32::from(control))?,
                    printable => f.write_char(printable)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Lists the entries: type and mode, size or device numbers, path, source; then the totals.
pub fn list(plan: &CheckedPlan, out: &mut dyn Write) -> Result<(), PlanError> {
    let mut bytes: u64 = 0;
    let mut count: u64 = 0;
    for member in plan.members() {
        let size = match &member.entry.node {
            Node::Char { major, minor, .. } | Node::Block { major, minor, .. } => format!("{major},{minor}"),
            Node::Dir { .. } | Node::Fifo { .. } | Node::Socket { .. } => "-".to_owned(),
            Node::File { .. } | Node::Symlink { .. } => member.entry.size().to_string(),
        };
        let mode = type_and_permissions(member.entry.st_mode());
        let path = Printable(member.path.as_bytes());
        writeln!(out, "{mode} {size:>10}  /{path}{}", origin(member.path, member.entry))?;
        count += 1;
        if member.carries_data {
            bytes = bytes.saturating_add(member.entry.size());
        }
    }
    writeln!(out, "total: {count} entries, {bytes} bytes of content")?;
    Ok(())
}

/// Returns the end of a line: the target of a link, or the source of a file.
fn origin(path: &ArchivePath, entry: &Entry) -> String {
    match &entry.node {
        Node::Symlink { target } => format!(" -> {}", Printable(target)),
        Node::File { content: Content::Host { path: source, .. }, .. } if path.to_absolute() == *source => {
            "  (as on the host)".to_owned()
        }
        Node::File { content: Content::Host { path: source, .. }, .. } => {
            format!("  (from {})", Printable(source.as_os_str().as_encoded_bytes()))
        }
        Node::File { content: Content::Bytes(_), .. } => "  (generated)".to_owned(),
        Node::File { content: Content::Static(_), .. } => "  (built in)".to_owned(),
        Node::Dir { .. } | Node::Char { .. } | Node::Block { .. } | Node::Fifo { .. } | Node::Socket { .. } => {
            String::new()
        }
    }
}

/// Explains the entry at `path`: prints all reasons for it and, recursively, the reasons for the entries that require
/// it. Explains each entry once.
pub fn why(plan: &Plan, path: &ArchivePath, out: &mut dyn Write) -> Result<(), PlanError> {
    let Some((place, entry)) = plan.find(path) else {
        return Err(PlanError::NotThere { path: path.clone(), near: nearest_entry(plan, path) });
    };
    writeln!(out, "/{}", Printable(place.as_bytes()))?;
    let mut explained = HashSet::from([place.clone()]);
    // A stack instead of recursion: the host's modules and libraries determine the length of a chain.
    let mut ahead: Vec<(usize, &Why)> = entry.whys.iter().rev().map(|why| (1, why)).collect();
    while let Some((depth, why)) = ahead.pop() {
        let referring_entry = referring_entry(plan, why);
        let again = referring_entry.is_some_and(|(place, _)| !explained.insert(place.clone()));
        let note = if again { " (see above)" } else { "" };
        writeln!(out, "{:indent$}{}{note}", "", Printable(why.to_string().as_bytes()), indent = depth * 2)?;
        if let (Some((_, entry)), false) = (referring_entry, again) {
            ahead.extend(entry.whys.iter().rev().map(|why| (depth + 1, why)));
        }
    }
    Ok(())
}

/// Returns the entry that a reason refers to.
fn referring_entry<'a>(plan: &'a Plan, why: &Why) -> Option<(&'a ArchivePath, &'a Entry)> {
    match why {
        Why::Base | Why::Default | Why::Asked(_) | Why::Applet | Why::Channel => None,
        Why::OnPath { program: path }
        | Why::Library { by: path, .. }
        | Why::Interpreter { of: path }
        | Why::Dlopen { by: path, .. }
        | Why::LinkTo { path }
        | Why::Config { by: path }
        | Why::Parent { of: path } => plan.find(path),
        Why::Module { by, .. } => {
            plan.entries().iter().find(|(path, _)| module_name(path).is_some_and(|name| name == by.replace('-', "_")))
        }
    }
}

/// Returns the kernel's name of a module file: dashes become underscores.
fn module_name(path: &ArchivePath) -> Option<String> {
    Some(path.file_name().to_str()?.split_once(".ko")?.0.replace('-', "_"))
}

/// Returns the entry that the user may have meant: one with the same file name, or else the nearest existing parent.
fn nearest_entry(plan: &Plan, path: &ArchivePath) -> Option<ArchivePath> {
    let name = path.file_name();
    let lower = name.to_ascii_lowercase();
    let same = |test: &dyn Fn(&ArchivePath) -> bool| plan.entries().keys().find(|path| test(path)).cloned();
    same(&|path| path.file_name() == name)
        .or_else(|| same(&|path| path.file_name().to_ascii_lowercase() == lower))
        .or_else(|| {
            let start = lower.as_encoded_bytes();
            let alike =
                |path: &ArchivePath| path.file_name().to_ascii_lowercase().as_encoded_bytes().starts_with(start);
            (!start.is_empty()).then(|| same(&alike)).flatten()
        })
        .or_else(|| {
            let mut above = path.parent()?;
            while !above.is_root() {
                if let Some((place, _)) = plan.find(&above) {
                    return Some(place.clone());
                }
                above = above.parent()?;
            }
            None
        })
}

#[cfg(test)]
mod tests {
    use super::{Printable, list, why};
    use crate::format::archive_path::ArchivePath;
    use crate::initrd::{build::Plan, check::Purpose};
    use crate::root::fact::{Content, Fact, Node, Why};
    use expect_test::expect;

    fn plan() -> Plan {
        let file = |path: &str, why| Fact {
            path: ArchivePath::new(path),
            node: Node::File {
                mode: 0o755,
                content: Content::Host { path: format!("/host{path}").into(), len: 1000 },
                hardlink: None,
            },
            why,
        };
        let path = |path: &str| ArchivePath::new(path);
        let needs = |name: &str, by: &str| Why::Library { name: name.into(), by: path(by) };
        Plan::from_facts([
            file("/usr/bin/lstopo", Why::Asked("lstopo".into())),
            file("/usr/lib/libhwloc.so.15", needs("libhwloc.so.15", "/usr/bin/lstopo")),
            file("/usr/lib/libc.so.6", needs("libc.so.6", "/usr/bin/lstopo")),
            file("/usr/lib/libc.so.6", needs("libc.so.6", "/lib/libhwloc.so.15")),
            Fact {
                path: path("/lib"),
                node: Node::Symlink { target: b"usr/lib".to_vec() },
                why: Why::LinkTo { path: path("/usr/lib/libc.so.6") },
            },
            Fact { path: path("/dev/console"), node: Node::Char { mode: 0o600, major: 5, minor: 1 }, why: Why::Base },
            file("/lib/modules/a-b.ko", Why::Module { kind: "depends", by: "c_d".into() }),
            file("/lib/modules/c-d.ko", Why::Asked("--kmod c_d".into())),
        ])
        .expect("a plan")
    }

    fn explain(path: &str) -> String {
        let mut text = Vec::new();
        match why(&plan(), &ArchivePath::new(path), &mut text) {
            Ok(()) => String::from_utf8(text).expect("text"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn why_follows_the_chain_to_the_original_request() {
        expect![[r"
            /usr/lib/libc.so.6
              library libc.so.6, needed by /usr/bin/lstopo
                requested by lstopo
              library libc.so.6, needed by /lib/libhwloc.so.15
                library libhwloc.so.15, needed by /usr/bin/lstopo (see above)
        "]]
        .assert_eq(&explain("/lib/libc.so.6"));
        expect![[r"
            /usr/lib/modules/a-b.ko
              depends of module c_d
                requested by --kmod c_d
        "]]
        .assert_eq(&explain("/usr/lib/modules/a-b.ko"));
    }

    #[test]
    fn the_error_for_a_missing_path_names_the_nearest_entry() {
        expect!["/bin/lstopo: no such entry in the image (nearest: /usr/bin/lstopo)"]
            .assert_eq(&explain("/bin/lstopo"));
        expect!["/lib/libc: no such entry in the image (nearest: /usr/lib/libc.so.6)"].assert_eq(&explain("/lib/libc"));
        expect!["/x/y: no such entry in the image"].assert_eq(&explain("/x/y"));
    }

    #[test]
    fn the_list_shows_type_mode_size_path_and_source() {
        let checked = plan().check(Purpose::Overlay).expect("sound");
        let mut text = Vec::new();
        list(&checked, &mut text).expect("a list");
        expect![[r"
            drwxr-xr-x          -  /dev
            crw-------        5,1  /dev/console
            lrwxrwxrwx          7  /lib -> usr/lib
            drwxr-xr-x          -  /usr
            drwxr-xr-x          -  /usr/bin
            -rwxr-xr-x       1000  /usr/bin/lstopo  (from /host/usr/bin/lstopo)
            drwxr-xr-x          -  /usr/lib
            -rwxr-xr-x       1000  /usr/lib/libc.so.6  (from /host/usr/lib/libc.so.6)
            -rwxr-xr-x       1000  /usr/lib/libhwloc.so.15  (from /host/usr/lib/libhwloc.so.15)
            drwxr-xr-x          -  /usr/lib/modules
            -rwxr-xr-x       1000  /usr/lib/modules/a-b.ko  (from /host/lib/modules/a-b.ko)
            -rwxr-xr-x       1000  /usr/lib/modules/c-d.ko  (from /host/lib/modules/c-d.ko)
            total: 12 entries, 5007 bytes of content
        "]]
        .assert_eq(&String::from_utf8(text).expect("text"));
    }

    #[test]
    fn control_characters_in_names_are_escaped() {
        assert_eq!(Printable(b"a\x1b[2J\\\n\xff\xc3\xa4").to_string(), "a\\u{1b}[2J\\\\\\n\\xff\u{e4}");
    }
}
