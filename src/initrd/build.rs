//! Facts into a map: links followed, repeats merged, weak entries giving way, parents added.
//!
//! Refuses two different things in one place, and links that lead in a circle.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::entry::{describe, same};
use super::{Claim, PlanError, entry::Entry};
use crate::format::archive_path::ArchivePath;
use crate::root::fact::{Fact, Node, Why};

/// The kernel's `MAXSYMLINKS` (`include/linux/namei.h`).
pub(super) const MAX_HOPS: usize = 40;

/// What an image holds: one entry a path, sorted by the paths' bytes, so that a directory stands before its children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub(super) entries: BTreeMap<ArchivePath, Entry>,
}

impl Plan {
    /// Builds the map.
    ///
    /// A path that leads through a link of the image is rewritten to where it leads: `/lib/x` with a link
    /// `/lib -> usr/lib` becomes `/usr/lib/x`. The root directory itself is left to the kernel.
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

    /// The same without some of its entries.
    #[must_use]
    pub fn without(&self, is_left_out: impl Fn(&ArchivePath, &Entry) -> bool) -> Self {
        let kept = self.entries.iter().filter(|(path, entry)| !is_left_out(path, entry));
        Self { entries: kept.map(|(path, entry)| (path.clone(), entry.clone())).collect() }
    }

    /// The entries, sorted.
    pub fn entries(&self) -> &BTreeMap<ArchivePath, Entry> {
        &self.entries
    }

    /// The entry at `path`, links of the plan followed up to its last component.
    pub fn find(&self, path: &ArchivePath) -> Option<(&ArchivePath, &Entry)> {
        let parent = self.follow(&path.parent()?)?;
        self.entries.get_key_value(&parent.join(path.file_name()))
    }

    /// Where `path` leads when all links of the plan are followed; `None` for a loop. Need not be in the plan.
    pub fn follow(&self, path: &ArchivePath) -> Option<ArchivePath> {
        follow(path, |place| match &self.entries.get(place)?.node {
            Node::Symlink { target } => Some(target.as_slice()),
            _ => None,
        })
    }
}

/// Walks `path` from the root as the kernel does, asking `link` about each place.
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

/// Components, last first, `..` kept: it is relative to where a link really stands.
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

/// All links of the image, each where it really stands, and the directories followed so far.
struct Links {
    at: HashMap<ArchivePath, Link>,
    directories: HashMap<ArchivePath, ArchivePath>,
}

impl Links {
    /// Finds out where the links stand: a link's own path may lead through another one, so this goes on until nothing moves.
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

    /// The first link of a place stands, unless it gives way and the other does not.
    fn add(&mut self, place: ArchivePath, link: &Link) {
        let known = self.at.entry(place).or_insert_with(|| link.clone());
        if known.gives_way && !link.gives_way {
            *known = link.clone();
        }
    }

    /// The directory that `fact` really stands in.
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

    /// Where `fact` really stands. A directory that is wanted where a link leads to one is that one.
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

/// How much an entry weighs against another one in its place: an applet's link is the weakest, then a program's link
/// for PATH, what programs expect, a directory that only holds something, and whatever somebody really wants.
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

/// How much a directory's mode weighs: asked for by the user, known from the host, or made up here.
fn mode_weight(why: &Why) -> u8 {
    if let Why::Asked(_) = why {
        return 2;
    }
    u8::from(!why.gives_way())
}

/// Adds a second fact to a place.
fn merge(entry: &mut Entry, path: &ArchivePath, node: Node, why: Why) -> Result<(), PlanError> {
    if same(&entry.node, &node) {
        if let (Node::File { hardlink, .. }, Node::File { hardlink: also, .. }) = (&mut entry.node, &node) {
            *hardlink = hardlink.or(*also);
        }
        entry.whys.push(why);
        return Ok(());
    }
    if let (Node::Dir { mode }, Node::Dir { mode: also }) = (&mut entry.node, &node) {
        // As with `cp -r a/. b/. there`: the first directory of a rank gives the mode.
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
    Err(PlanError::Conflict {
        path: path.clone(),
        first: Box::new(claim(&entry.node, &entry.first_why())),
        second: Box::new(claim(&node, &why)),
    })
}

/// One side of a conflict.
fn claim(node: &Node, why: &Why) -> Claim {
    Claim { what: describe(node), why: why.clone() }
}

/// Adds the directories that entries stand in: the kernel makes none by itself (`init/initramfs.c`).
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
    fn paths_through_links_go_where_the_links_lead() {
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
    fn repeats_are_merged_and_keep_every_reason_once() {
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
    fn applets_and_path_links_give_way_whatever_the_order() {
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
    fn a_conflict_names_the_place_and_both_sides() {
        let error = Plan::from_facts([file("/x", b"x", asked("--copy a=/x")), file("/x", b"yy", asked("--copy b=/x"))]);
        expect!["planning /x: wanted both as a built-in file (1 bytes, mode 0644) (requested by --copy a=/x) and as a built-in file (2 bytes, mode 0644) (requested by --copy b=/x)"]
            .assert_eq(&error.expect_err("a conflict").to_string());
        assert!(matches!(
            Plan::from_facts([file("/x", b"x", Why::Base), link("/x", "y", Why::Base)]),
            Err(PlanError::Conflict { .. })
        ));
    }

    #[test]
    fn the_mode_of_a_directory_is_the_asked_one() {
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
    fn links_in_a_circle_are_refused_where_a_path_leads_through_them() {
        let circle = [link("/a", "b", Why::Base), link("/b", "a", Why::Base)];
        assert!(Plan::from_facts(circle.clone()).is_ok(), "dangling links are the user's own business");
        let facts = circle.into_iter().chain([file("/a/x", b"x", asked("x"))]);
        let error = Plan::from_facts(facts).expect_err("a loop");
        assert_eq!(error.to_string(), "planning /a/x: more than 40 symbolic links, or a loop (requested by x)");
    }

    #[test]
    fn thousands_of_entries_through_links_take_no_time() {
        let facts = (0..20_000)
            .map(|n| {
                file(&format!("/lib/d{}/f{n}", n % 100), b"", Why::LinkTo { path: ArchivePath::new(format!("/{n}")) })
            })
            .chain(
                (0..20_000).map(|n| link("/lib", "usr/lib", Why::LinkTo { path: ArchivePath::new(format!("/{n}")) })),
            );
        let facts: Vec<Fact> = facts.collect();
        let start = std::time::Instant::now();
        let plan = Plan::from_facts(facts).expect("a plan");
        assert_eq!(plan.entries().len(), 20_000 + 100 + 3);
        assert!(start.elapsed().as_millis() < 2_000, "{:?}", start.elapsed());
    }
}
