//! Construction of a plan from facts: resolves symbolic links, merges repeated facts, replaces entries of low priority
//! and adds parent directories.
//!
//! Refuses two different nodes at one path, and symbolic link loops. Copies of one file are not different: their bytes are
//! compared.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::entry::{describe, same, same_bytes};
use super::{Claim, PlanError, entry::Entry};
use crate::format::archive_path::ArchivePath;
use crate::root::fact::{Fact, Node, Why};

/// The kernel's `MAXSYMLINKS` (`include/linux/namei.h`).
pub(super) const MAX_HOPS: usize = 40;

/// Contents of an image: one entry per path, sorted by path bytes, so that a directory precedes its children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub(super) entries: BTreeMap<ArchivePath, Entry>,
}

impl Plan {
    /// Builds a plan.
    ///
    /// A path that leads through a symbolic link of the image is resolved: with a link `/lib -> usr/lib`, `/lib/x`
    /// becomes `/usr/lib/x`. The plan has no entry for the root directory: the kernel creates it.
    pub fn from_facts(facts: impl IntoIterator<Item = Fact>) -> Result<Self, PlanError> {
        let facts: Vec<Fact> = facts.into_iter().collect();
        let mut links = Links::place(&facts)?;
        let mut entries: BTreeMap<ArchivePath, Entry> = BTreeMap::new();
        for fact in facts {
            let path = links.real_place(&fact)?;
            if path.is_root() {
                if !matches!(fact.node, Node::Dir { .. }) {
                    return Err(PlanError::Root(Box::new(claim(&fact.node, &fact.why))));
                }
                continue;
            }
            match entries.get_mut(&path) {
                None => drop(entries.insert(path, Entry { node: fact.node, whys: vec![fact.why] })),
                Some(entry) => merge(entry, &path, fact.node, fact.why)?,
            }
        }
        for entry in entries.values_mut() {
            if entry.whys.len() > 1 {
                let mut seen = HashSet::new();
                entry.whys.retain(|why| seen.insert(why.clone()));
            }
        }
        add_parents(&mut entries);
        Ok(Self { entries })
    }

    /// Returns the plan without the entries for which `is_left_out` returns true.
    #[must_use]
    pub(crate) fn without(&self, is_left_out: impl Fn(&ArchivePath, &Entry) -> bool) -> Self {
        let kept = self.entries.iter().filter(|(path, entry)| !is_left_out(path, entry));
        Self { entries: kept.map(|(path, entry)| (path.clone(), entry.clone())).collect() }
    }

    /// Returns the entries, sorted by path.
    pub(crate) fn entries(&self) -> &BTreeMap<ArchivePath, Entry> {
        &self.entries
    }

    /// Returns the entry at `path` and its resolved path. Follows symbolic links except in the last component.
    pub fn find(&self, path: &ArchivePath) -> Option<(&ArchivePath, &Entry)> {
        let parent = self.follow(&path.parent()?)?;
        self.entries.get_key_value(&parent.join(path.file_name()))
    }

    /// Resolves all symbolic links in `path`. Returns `None` for a loop. The result need not be in the plan.
    pub(crate) fn follow(&self, path: &ArchivePath) -> Option<ArchivePath> {
        follow(path, |place| match &self.entries.get(place)?.node {
            Node::Symlink { target } => Some(target.as_slice()),
            _ => None,
        })
    }
}

/// Resolves `path` component by component, as the kernel does. `link` returns the target of a symbolic link.
fn follow<'a>(path: &ArchivePath, link: impl Fn(&ArchivePath) -> Option<&'a [u8]>) -> Option<ArchivePath> {
    let mut real = ArchivePath::default();
    let mut ahead: Vec<Vec<u8>> = parts(path.as_bytes());
    let mut hops = 0;
    while let Some(name) = ahead.pop() {
        if name == b".." {
            real = real.parent().unwrap_or_default();
            continue;
        }
        let next = real.join(Path::new(std::ffi::OsStr::from_bytes(&name)));
        let Some(target) = link(&next) else {
            real = next;
            continue;
        };
        hops += 1;
        if hops > MAX_HOPS {
            return None;
        }
        if target.starts_with(b"/") {
            real = ArchivePath::default();
        }
        ahead.extend(parts(target));
    }
    Some(real)
}

/// Returns the components in reverse order. Keeps `..`, which is relative to the resolved location of a link.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    names.rev().map(<[u8]>::to_vec).collect()
}

/// A symbolic link of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    target: Vec<u8>,
    gives_way: bool,
}

/// All symbolic links of the image by resolved path, and a cache of resolved directories.
struct Links {
    at: HashMap<ArchivePath, Link>,
    directories: HashMap<ArchivePath, ArchivePath>,
}

impl Links {
    /// Resolves the paths of all links. The path of a link may lead through another link, so this repeats until no path
    /// changes.
    fn place(facts: &[Fact]) -> Result<Self, PlanError> {
        let found: Vec<(&Fact, Link)> = facts
            .iter()
            .filter_map(|fact| match &fact.node {
                Node::Symlink { target } => {
                    Some((fact, Link { target: target.clone(), gives_way: fact.why.gives_way() }))
                }
                _ => None,
            })
            .collect();
        let mut links = Self { at: HashMap::new(), directories: HashMap::new() };
        for (fact, link) in &found {
            links.add(fact.path.clone(), link);
        }
        for _ in 0..MAX_HOPS {
            let mut placed = Self { at: HashMap::new(), directories: HashMap::new() };
            for (fact, link) in &found {
                let place = links.real_parent(fact)?.join(fact.path.file_name());
                placed.add(place, link);
            }
            let settled = placed.at == links.at;
            if settled {
                return Ok(links);
            }
            links = placed;
        }
        let fact = found.first().map(|(fact, _)| *fact);
        let (path, why) =
            fact.map_or((ArchivePath::default(), Why::Base), |fact| (fact.path.clone(), fact.why.clone()));
        Err(PlanError::Loop { path, why: Box::new(why) })
    }

    /// Adds a link. The first link at a path wins, unless it has a low priority and the new one has not.
    fn add(&mut self, place: ArchivePath, link: &Link) {
        let known = self.at.entry(place).or_insert_with(|| link.clone());
        if known.gives_way && !link.gives_way {
            *known = link.clone();
        }
    }

    /// Returns the resolved parent directory of `fact`.
    fn real_parent(&mut self, fact: &Fact) -> Result<ArchivePath, PlanError> {
        let parent = fact.path.parent().unwrap_or_default();
        if let Some(real) = self.directories.get(&parent) {
            return Ok(real.clone());
        }
        let real = follow(&parent, |place| self.at.get(place).map(|link| link.target.as_slice()))
            .ok_or_else(|| PlanError::Loop { path: fact.path.clone(), why: Box::new(fact.why.clone()) })?;
        self.directories.insert(parent, real.clone());
        Ok(real)
    }

    /// Returns the resolved path of `fact`. A directory at the path of a link is resolved to the target of the link.
    fn real_place(&mut self, fact: &Fact) -> Result<ArchivePath, PlanError> {
        let parent = self.real_parent(fact)?;
        if fact.path.is_root() {
            return Ok(parent);
        }
        let place = parent.join(fact.path.file_name());
        let led_on = matches!(fact.node, Node::Dir { .. }) && self.at.get(&place).is_some_and(|link| !link.gives_way);
        if !led_on {
            return Ok(place);
        }
        follow(&place, |place| self.at.get(place).map(|link| link.target.as_slice()))
            .ok_or_else(|| PlanError::Loop { path: fact.path.clone(), why: Box::new(fact.why.clone()) })
    }
}

/// Returns the priority of an entry. In ascending order: busybox applet links, links that make a program available
/// through PATH, defaults that programs expect, parent directories, and entries that are really required.
fn weight(why: &Why) -> u8 {
    match why {
        Why::Applet => 0,
        Why::OnPath { .. } => 1,
        Why::Default => 2,
        Why::Parent { .. } => 3,
        Why::Base
        | Why::Asked(_)
        | Why::Library { .. }
        | Why::Interpreter { .. }
        | Why::Dlopen { .. }
        | Why::LinkTo { .. }
        | Why::Module { .. }
        | Why::Channel
        | Why::Config { .. } => 4,
    }
}

/// Returns the priority of a directory mode: 2 if the user requested it, 1 if it comes from the host, 0 if it is a
/// default.
fn mode_weight(why: &Why) -> u8 {
    if let Why::Asked(_) = why {
        return 2;
    }
    u8::from(!why.gives_way())
}

/// Merges a further fact into an existing entry.
fn merge(entry: &mut Entry, path: &ArchivePath, node: Node, why: Why) -> Result<(), PlanError> {
    if same(&entry.node, &node) {
        if let (Node::File { hardlink, .. }, Node::File { hardlink: also, .. }) = (&mut entry.node, &node) {
            *hardlink = hardlink.or(*also);
        }
        entry.whys.push(why);
        return Ok(());
    }
    if let (Node::Dir { mode }, Node::Dir { mode: also }) = (&mut entry.node, &node) {
        // The first directory of a priority determines the mode, as with `cp -r a/. b/. target`.
        if entry.whys.iter().map(mode_weight).max() < Some(mode_weight(&why)) {
            *mode = *also;
        }
        entry.whys.push(why);
        return Ok(());
    }
    let known = entry.whys.iter().map(weight).max().unwrap_or(0);
    if known < weight(&why) {
        *entry = Entry { node, whys: vec![why] };
        return Ok(());
    }
    if why.gives_way() {
        return Ok(());
    }
    if same_bytes(&entry.node, &node) {
        entry.whys.push(why);
        return Ok(());
    }
    Err(PlanError::Conflict {
        path: path.clone(),
        first: Box::new(claim(&entry.node, &entry.first_why())),
        second: Box::new(claim(&node, &why)),
    })
}

/// Creates one side of a conflict.
fn claim(node: &Node, why: &Why) -> Claim {
    Claim { what: describe(node), why: why.clone() }
}

/// Adds missing parent directories. The kernel does not create them (`init/initramfs.c`).
fn add_parents(entries: &mut BTreeMap<ArchivePath, Entry>) {
    let mut missing: BTreeMap<ArchivePath, Entry> = BTreeMap::new();
    for path in entries.keys() {
        let mut above = path.parent();
        while let Some(parent) = above {
            if parent.is_root() || entries.contains_key(&parent) || missing.contains_key(&parent) {
                break;
            }
            above = parent.parent();
            let why = Why::Parent { of: path.clone() };
            missing.insert(parent, Entry { node: Node::Dir { mode: 0o755 }, whys: vec![why] });
        }
    }
    entries.append(&mut missing);
}

#[cfg(test)]
mod tests {
    use super::{Fact, Node, Plan, PlanError, Why};
    use crate::format::archive_path::ArchivePath;
    use crate::root::fact::Content;
    use expect_test::expect;
    use std::fmt::Write;

    fn dir(path: &str, mode: u16, why: Why) -> Fact {
        Fact { path: ArchivePath::new(path), node: Node::Dir { mode }, why }
    }

    fn file(path: &str, bytes: &'static [u8], why: Why) -> Fact {
        let node = Node::File { mode: 0o644, content: Content::Static(bytes), hardlink: None };
        Fact { path: ArchivePath::new(path), node, why }
    }

    fn link(path: &str, target: &str, why: Why) -> Fact {
        Fact { path: ArchivePath::new(path), node: Node::Symlink { target: target.into() }, why }
    }

    fn asked(option: &str) -> Why {
        Why::Asked(option.into())
    }

    fn text(plan: &Plan) -> String {
        let mut text = String::new();
        for (path, entry) in plan.entries() {
            let whys: Vec<String> = entry.whys.iter().map(ToString::to_string).collect();
            writeln!(text, "{path}: {} [{}]", super::describe(&entry.node), whys.join("; ")).expect("a string");
        }
        text
    }

    #[test]
    fn paths_through_links_are_resolved() {
        let plan = Plan::from_facts([
            file("/lib/deep/x", b"x", asked("x")),
            file("/a/b/c", b"c", asked("c")),
            link("/a/b", "/lib/../opt", Why::Base),
            link("/lib", "usr/lib", Why::Base),
            link("/lib/deep", "deeper", Why::Base),
            dir("/lib", 0o755, asked("--copy /lib")),
        ])
        .expect("a plan");
        expect![[r"
            /a: a directory of mode 0755 [directory of /a/b]
            /a/b: a link to /lib/../opt [included in every image]
            /lib: a link to usr/lib [included in every image]
            /usr: a directory of mode 0755 [directory of /usr/lib]
            /usr/lib: a directory of mode 0755 [requested by --copy /lib]
            /usr/lib/deep: a link to deeper [included in every image]
            /usr/lib/deeper: a directory of mode 0755 [directory of /usr/lib/deeper/x]
            /usr/lib/deeper/x: a file [requested by x]
            /usr/opt: a directory of mode 0755 [directory of /usr/opt/c]
            /usr/opt/c: a file [requested by c]
        "]]
        .assert_eq(&text(&plan).replace("a built-in file (1 bytes, mode 0644)", "a file"));
    }

    #[test]
    fn repeated_facts_are_merged_and_keep_each_reason_once() {
        let plan = Plan::from_facts([
            file("/x", b"x", asked("a")),
            file("/x", b"x", asked("b")),
            file("/x", b"x", asked("a")),
        ])
        .expect("a plan");
        let (_, entry) = plan.find(&ArchivePath::new("/x")).expect("an entry");
        assert_eq!(entry.whys, [asked("a"), asked("b")]);
    }

    #[test]
    fn applets_and_path_links_are_replaced_in_any_order() {
        let applet = link("/bin/ls", "busybox", Why::Applet);
        let on_path = link("/bin/ls", "/opt/ls", Why::OnPath { program: ArchivePath::new("/opt/ls") });
        let real = file("/bin/ls", b"x", asked("ls"));
        for facts in [[applet.clone(), on_path.clone(), real.clone()], [real.clone(), applet.clone(), on_path.clone()]]
        {
            let plan = Plan::from_facts(facts).expect("a plan");
            assert_eq!(plan.find(&ArchivePath::new("/bin/ls")).expect("an entry").1.node, real.node);
        }
        for facts in [[applet.clone(), on_path.clone()], [on_path.clone(), applet.clone()]] {
            let plan = Plan::from_facts(facts).expect("a plan");
            assert_eq!(plan.find(&ArchivePath::new("/bin/ls")).expect("an entry").1.node, on_path.node);
        }
    }

    #[test]
    fn a_conflict_names_the_path_and_both_sides() {
        let error = Plan::from_facts([file("/x", b"x", asked("--copy a=/x")), file("/x", b"yy", asked("--copy b=/x"))]);
        expect!["/x: conflicting entries: a built-in file (1 bytes, mode 0644) (requested by --copy a=/x) and a built-in file (2 bytes, mode 0644) (requested by --copy b=/x)"]
            .assert_eq(&error.expect_err("a conflict").to_string());
        assert!(matches!(
            Plan::from_facts([file("/x", b"x", Why::Base), link("/x", "y", Why::Base)]),
            Err(PlanError::Conflict { .. })
        ));
    }

    #[test]
    fn copies_of_a_file_with_equal_bytes_and_modes_are_no_conflict() {
        let dir = tempfile::tempdir().expect("a directory");
        let host = |name: &str, bytes: &[u8], mode| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).expect("a file");
            let content = Content::Host { path, len: bytes.len() as u64 };
            let why = asked(&format!("--copy {name}=/x"));
            Fact { path: ArchivePath::new("/x"), node: Node::File { mode, content, hardlink: None }, why }
        };
        let large = vec![b'x'; 100_000];
        let plan = Plan::from_facts([host("a", &large, 0o755), host("b", &large, 0o755)]).expect("a plan");
        let (_, entry) = plan.find(&ArchivePath::new("/x")).expect("an entry");
        assert_eq!(entry.whys, [asked("--copy a=/x"), asked("--copy b=/x")]);
        let mut other = large.clone();
        other[99_999] = b'y';
        let conflicts = |facts: [Fact; 2]| matches!(Plan::from_facts(facts), Err(PlanError::Conflict { .. }));
        assert!(conflicts([host("a", &large, 0o755), host("b", &other, 0o755)]));
        assert!(conflicts([host("a", &large, 0o755), host("b", &large, 0o644)]));
        assert!(Plan::from_facts([file("/x", b"x", asked("a")), host("c", b"x", 0o644)]).is_ok());
    }

    #[test]
    fn the_requested_mode_of_a_directory_wins() {
        let facts = [
            dir("/d", 0o755, Why::Base),
            dir("/d", 0o700, asked("first")),
            dir("/d", 0o711, asked("second")),
            dir("/d", 0o750, Why::Base),
        ];
        let plan = Plan::from_facts(facts).expect("a plan");
        assert_eq!(plan.find(&ArchivePath::new("/d")).expect("an entry").1.node, Node::Dir { mode: 0o700 });
    }

    #[test]
    fn a_link_loop_is_refused_if_a_path_leads_through_it() {
        let circle = [link("/a", "b", Why::Base), link("/b", "a", Why::Base)];
        assert!(Plan::from_facts(circle.clone()).is_ok(), "loops that no path leads through are accepted");
        let facts = circle.into_iter().chain([file("/a/x", b"x", asked("x"))]);
        let error = Plan::from_facts(facts).expect_err("a loop");
        assert_eq!(error.to_string(), "/a/x (requested by x): symbolic link loop, or more than 40 links");
    }

    #[test]
    fn thousands_of_entries_through_links_are_planned() {
        let facts = (0..20_000)
            .map(|n| {
                file(&format!("/lib/d{}/f{n}", n % 100), b"", Why::LinkTo { path: ArchivePath::new(format!("/{n}")) })
            })
            .chain(
                (0..20_000).map(|n| link("/lib", "usr/lib", Why::LinkTo { path: ArchivePath::new(format!("/{n}")) })),
            );
        let facts: Vec<Fact> = facts.collect();
        // With a time quadratic in the number of entries, this takes minutes.
        let plan = Plan::from_facts(facts).expect("a plan");
        assert_eq!(plan.entries().len(), 20_000 + 100 + 3);
    }
}
