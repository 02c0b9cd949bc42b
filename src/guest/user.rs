//! `--user`: the user of the command, from the users and groups of the image.

use std::ffi::OsString;
use std::fs;

use super::VmError;
use crate::format::archive_path::ArchivePath;
use crate::initrd::job::{Credentials, Job};
use crate::root::fact::{Content, Fact, Node};

/// Size limit of `/etc/passwd` and `/etc/group`, bytes.
const LIMIT: u64 = 16 << 20;
/// Maximum number of groups of a process (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65_536;

/// A line of `/etc/passwd`.
struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Sets the user of a job's command, and the variables HOME, USER and LOGNAME.
pub(super) fn apply(job: &mut Job, facts: &[Fact], typed: &str) -> Result<(), VmError> {
    let (passwd, group) = (text(facts, "/etc/passwd")?, text(facts, "/etc/group")?);
    let users: Vec<Entry<'_>> = passwd.lines().filter_map(entry).collect();
    let (user, groups) = match typed.split_once(':') {
        Some((user, groups)) => (user, Some(groups)),
        None => (typed, None),
    };
    let invalid = |why: String| VmError::User { typed: typed.to_owned(), why };
    let number = user.parse::<u32>().ok();
    let found = users
        .iter()
        .find(|entry| entry.name == user)
        .or_else(|| number.and_then(|uid| users.iter().find(|entry| entry.uid == uid)));
    let uid = found.map(|entry| entry.uid).or(number).ok_or_else(|| {
        let names: Vec<&str> = users.iter().map(|entry| entry.name).take(20).collect();
        let known = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
        invalid(format!(
            "no user {user:?} in the image's /etc/passwd ({known}); use a number, or add users with --copy /etc/passwd (not with --initrd)"
        ))
    })?;
    let resolve = |name: &str| {
        let number = name.parse().ok();
        let found = group.lines().filter_map(group_entry).find(|(known, ..)| *known == name).map(|(_, gid, _)| gid);
        found.or(number).ok_or_else(|| {
            invalid(format!("no group {name:?} in the image's /etc/group; use a number, or --copy /etc/group"))
        })
    };
    let groups: Vec<u32> = if let Some(groups) = groups {
        groups.split([':', ',']).map(resolve).collect::<Result<_, _>>()?
    } else {
        // A user without an entry has a group of the same number.
        let own = found.map_or(uid, |entry| entry.gid);
        let is_member = |members: &str| found.is_some_and(|entry| members.split(',').any(|name| name == entry.name));
        let more = group.lines().filter_map(group_entry).filter(|(_, gid, members)| *gid != own && is_member(members));
        std::iter::once(own).chain(more.map(|(_, gid, _)| gid)).collect()
    };
    if groups.len() > MAX_GROUPS || uid == u32::MAX || groups.contains(&u32::MAX) {
        return Err(invalid("number out of range".to_owned()));
    }
    let name = found.map_or(user, |entry| entry.name);
    let home = found.map(|entry| entry.home).filter(|home| !home.is_empty()).unwrap_or("/");
    let variables = [("HOME", home), ("USER", name), ("LOGNAME", name)];
    job.set_variables(variables.map(|(name, value)| (name.into(), OsString::from(value))));
    job.user = Some(Credentials { uid, groups });
    Ok(())
}

/// Returns the text of a file of the image; empty if the image has no such file.
fn text(facts: &[Fact], path: &str) -> Result<String, VmError> {
    let path = ArchivePath::new(path);
    let Some(Node::File { content, .. }) = facts.iter().rev().find(|fact| fact.path == path).map(|fact| &fact.node)
    else {
        return Ok(String::new());
    };
    let bytes = match content {
        Content::Static(bytes) => bytes.to_vec(),
        Content::Bytes(bytes) => bytes.to_vec(),
        Content::Host { path, len } if *len <= LIMIT => {
            fs::read(path).map_err(VmError::io("read", path.display().to_string()))?
        }
        Content::Host { .. } => Vec::new(),
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Parses `NAME:PASSWORD:UID:GID:GECOS:HOME:SHELL`.
fn entry(line: &str) -> Option<Entry<'_>> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Entry { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
}

/// Parses `NAME:PASSWORD:GID:MEMBERS`.
fn group_entry(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let gid = fields.nth(1)?.parse().ok()?;
    Some((name, gid, fields.next().unwrap_or_default()))
}

/// Checks a host name: letters, digits, `-` and `.`, as in DNS, of which the kernel keeps 64.
pub(super) fn check_hostname(name: &str) -> Result<(), VmError> {
    let is_valid = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    if is_valid { Ok(()) } else { Err(VmError::Hostname(name.to_owned())) }
}

/// Puts the host name into `/etc/hosts` of the image, unless the user brought another file.
pub(super) fn set_hosts(facts: &mut [Fact], old: &str, new: &str) {
    let path = ArchivePath::new("/etc/hosts");
    for fact in facts.iter_mut().filter(|fact| fact.path == path && fact.why == crate::root::fact::Why::Default) {
        if let Node::File { content, .. } = &mut fact.node
            && let Content::Static(text) = content
        {
            let text = String::from_utf8_lossy(text).replace(old, new);
            *content = Content::Bytes(text.into_bytes().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{apply, check_hostname};
    use crate::format::archive_path::ArchivePath;
    use crate::initrd::job::Job;
    use crate::root::fact::{Content, Fact, Node, Why};

    fn facts() -> [Fact; 2] {
        let fact = |path, text: &'static [u8]| {
            let node = Node::File { mode: 0o644, content: Content::Static(text), hardlink: None };
            Fact { path: ArchivePath::new(path), node, why: Why::Default }
        };
        [
            fact("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nbad\nann:x:1000:100:A:/home/ann:/bin/sh\n"),
            fact("/etc/group", b"root:x:0:\nusers:x:100:\nkvm:x:36:bob,ann\n"),
        ]
    }

    fn applied(typed: &str) -> Result<(u32, Vec<u32>, String), String> {
        let mut job = Job::default();
        apply(&mut job, &facts(), typed).map_err(|error| error.to_string())?;
        let variables: Vec<String> =
            job.env.iter().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect();
        let user = job.user.expect("set");
        Ok((user.uid, user.groups, variables.join(" ")))
    }

    #[test]
    fn names_and_numbers_are_resolved_with_their_groups() {
        let ann = "HOME=/home/ann USER=ann LOGNAME=ann".to_owned();
        assert_eq!(applied("ann"), Ok((1000, vec![100, 36], ann.clone())));
        assert_eq!(applied("1000:kvm,7"), Ok((1000, vec![36, 7], ann.clone())));
        assert_eq!(applied("ann:0:5"), Ok((1000, vec![0, 5], ann)));
        assert_eq!(applied("77"), Ok((77, vec![77], "HOME=/ USER=77 LOGNAME=77".to_owned())));
    }

    #[test]
    fn unknown_names_are_errors_with_a_suggestion() {
        let error = applied("bob").expect_err("unknown");
        assert!(error.starts_with("invalid --user bob: no user \"bob\""), "{error}");
        assert!(error.contains("it has root, ann"), "{error}");
        assert!(applied("ann:nosuch").expect_err("unknown").contains("no group \"nosuch\""));
        assert!(applied("ann:").is_err() && applied("").is_err() && applied("4294967295").is_err());
    }

    #[test]
    fn host_names_are_checked() {
        assert!(check_hostname("node-1.example").is_ok());
        for name in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert!(check_hostname(name).is_err(), "{name}");
        }
    }
}
