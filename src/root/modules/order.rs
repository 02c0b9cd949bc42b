//! The order in which modules are loaded: what a module needs before it, once each.
//!
//! As modprobe does it (`libkmod-module.c`, `__kmod_module_get_probe_list`): hard dependencies, `pre` soft ones, the
//! module, `post` soft ones, all of them recursively. One difference: a `pre` dependency that itself needs a module
//! which is still waiting for it comes after that module, since nothing else could be loaded at all.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use super::builtin::Builtin;
use super::error::ModuleError;
use super::index::{Index, Soft};
use crate::format::modules::name;
use crate::root::fact::Why;

/// Real chains are some ten long.
const DEPTH_LIMIT: usize = 500;

/// A module given as a file, and what it says about itself.
#[derive(Debug, Clone)]
pub struct Loose {
    /// The file.
    pub host: PathBuf,
    /// Normal names of what it needs, directly.
    pub depends: Vec<String>,
    /// Its soft dependencies.
    pub soft: Soft,
    /// Its weak ones.
    pub weak: Vec<String>,
}

/// A module's place in the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its normal name.
    pub name: String,
    /// Who wanted it first.
    pub why: Why,
    /// True as long as only optional requests want it.
    pub optional: bool,
}

/// Where a name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// To these modules: one by name, or all that match an alias.
    Modules(Vec<String>),
    /// Into the kernel image.
    Builtin,
    /// Nowhere.
    Nothing,
}

/// The order, growing request by request.
pub struct Order<'a> {
    index: Option<&'a Index>,
    builtin: &'a Builtin,
    /// Modules given as files: before those of the index.
    pub loose: BTreeMap<String, Loose>,
    /// Modules that are being visited, outermost first.
    waiting: Vec<String>,
    done: HashMap<String, usize>,
    /// The order so far.
    pub steps: Vec<Step>,
}

/// What a module needs.
struct Needs {
    depends: Vec<String>,
    soft: Soft,
    weak: Vec<String>,
}

impl<'a> Order<'a> {
    /// Nothing yet.
    pub fn new(index: Option<&'a Index>, builtin: &'a Builtin) -> Self {
        Self { index, builtin, loose: BTreeMap::new(), waiting: Vec::new(), done: HashMap::new(), steps: Vec::new() }
    }

    /// Looks a name up as kmod does: module, alias, built-in module, its alias.
    pub fn find(&self, wanted: &str) -> Result<Found, ModuleError> {
        let wanted = name::normal(wanted);
        if self.loose.contains_key(wanted.as_ref()) || self.index.is_some_and(|index| index.module(&wanted).is_some()) {
            return Ok(Found::Modules(vec![wanted.into_owned()]));
        }
        if let Some(index) = self.index {
            let mut matched = index.by_alias(&wanted)?;
            matched.retain(|name| index.module(name).is_some());
            if !matched.is_empty() {
                return Ok(Found::Modules(matched));
            }
        }
        let builtin = self.builtin.has(&wanted) || !self.builtin.by_alias(&wanted).is_empty();
        Ok(if builtin { Found::Builtin } else { Found::Nothing })
    }

    /// Puts the module of this normal name into the order, after all it needs.
    pub fn add(&mut self, name: &str, why: &Why, optional: bool) -> Result<(), ModuleError> {
        if let Some(place) = self.done.get(name).copied() {
            if !optional {
                self.require(place)?;
            }
            return Ok(());
        }
        if self.waiting.iter().any(|waiting| waiting == name) || self.waiting.len() >= DEPTH_LIMIT {
            let chain = self.waiting.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(" -> ");
            return Err(ModuleError::Circle { chain });
        }
        let needs = self.needs(name)?.ok_or_else(|| self.missing(name, why))?;
        self.waiting.push(name.to_owned());
        let added = self.add_around(name, &needs, why, optional);
        self.waiting.pop();
        added
    }

    fn add_around(&mut self, name: &str, needs: &Needs, why: &Why, optional: bool) -> Result<(), ModuleError> {
        for needed in &needs.depends {
            let why = Why::Module { kind: "depends", by: name.to_owned() };
            match self.find(needed)? {
                Found::Builtin => {}
                // A hard dependency is a module's name, never an alias.
                Found::Modules(_) | Found::Nothing => self.add(needed, &why, optional)?,
            }
        }
        let mut late = Vec::new();
        for soft in &needs.soft.pre {
            late.extend(self.add_soft(soft, "softdep pre", name, optional)?);
        }
        self.done.insert(name.to_owned(), self.steps.len());
        self.steps.push(Step { name: name.to_owned(), why: why.clone(), optional });
        for soft in needs.soft.post.iter().chain(&late) {
            self.add_soft(soft, "softdep post", name, optional)?;
        }
        Ok(())
    }

    /// Adds what a soft dependency names; what cannot be added is left out in silence, as modprobe does.
    /// Gives the modules that have to wait for one that is being visited.
    fn add_soft(
        &mut self,
        wanted: &str,
        kind: &'static str,
        by: &str,
        optional: bool,
    ) -> Result<Vec<String>, ModuleError> {
        let Found::Modules(names) = self.find(wanted)? else { return Ok(Vec::new()) };
        let mut late = Vec::new();
        for found in names {
            if self.waiting.contains(&found) {
                continue;
            }
            if self.needs_waiting(&found)? {
                late.push(found);
                continue;
            }
            let (steps, done) = (self.steps.len(), self.done.clone());
            let why = Why::Module { kind, by: by.to_owned() };
            match self.add(&found, &why, optional) {
                Ok(()) => {}
                Err(ModuleError::Missing { .. } | ModuleError::Circle { .. }) => {
                    self.steps.truncate(steps);
                    self.done = done;
                }
                Err(other) => return Err(other),
            }
        }
        Ok(late)
    }

    /// Whether anything this module strictly needs is waiting, and not yet in the order.
    fn needs_waiting(&self, name: &str) -> Result<bool, ModuleError> {
        let mut seen: HashSet<String> = HashSet::new();
        let mut ahead = vec![name.to_owned()];
        while let Some(next) = ahead.pop() {
            if self.done.contains_key(&next) || !seen.insert(next.clone()) {
                continue;
            }
            if self.waiting.contains(&next) {
                return Ok(true);
            }
            ahead.extend(self.needs(&next)?.map(|needs| needs.depends).unwrap_or_default());
        }
        Ok(false)
    }

    /// Marks a step, and what it needs, as wanted by more than optional requests.
    fn require(&mut self, place: usize) -> Result<(), ModuleError> {
        let mut ahead = vec![place];
        while let Some(place) = ahead.pop() {
            let Some(step) = self.steps.get_mut(place).filter(|step| step.optional) else { continue };
            step.optional = false;
            let name = step.name.clone();
            let needs = self.needs(&name)?.map(|needs| needs.depends).unwrap_or_default();
            ahead.extend(needs.iter().filter_map(|needed| self.done.get(needed).copied()));
        }
        Ok(())
    }

    /// Names in the weak dependencies of everything in the order, with who has them.
    pub fn weak(&self) -> Result<Vec<(String, String)>, ModuleError> {
        let mut all = Vec::new();
        for step in &self.steps {
            if let Some(needs) = self.needs(&step.name)? {
                all.extend(needs.weak.into_iter().map(|weak| (weak, step.name.clone())));
            }
        }
        Ok(all)
    }

    /// What is built into the kernel.
    pub fn builtin(&self) -> &'a Builtin {
        self.builtin
    }

    /// Every name that could be asked for, sorted.
    pub fn names(&self) -> Vec<&str> {
        self.index.map(Index::names).unwrap_or_default()
    }

    /// True where the module of this normal name is in the order.
    pub fn has(&self, name: &str) -> bool {
        self.done.contains_key(name)
    }

    /// What a module needs; `None` where there is no such module.
    fn needs(&self, name: &str) -> Result<Option<Needs>, ModuleError> {
        if let Some(loose) = self.loose.get(name) {
            let (depends, soft, weak) = (loose.depends.clone(), loose.soft.clone(), loose.weak.clone());
            return Ok(Some(Needs { depends, soft, weak }));
        }
        let Some(index) = self.index else { return Ok(None) };
        let Some(listed) = index.module(name) else { return Ok(None) };
        let mut depends = Vec::new();
        for path in listed.depends() {
            let needed = name::of_path(path).ok_or_else(|| ModuleError::BadTable {
                table: "modules.dep",
                why: format!("{} needs {path}, which is no module's path", listed.path),
            })?;
            depends.push(needed.into_owned());
        }
        let soft = index.soft(name).cloned().unwrap_or_default();
        Ok(Some(Needs { depends, soft, weak: index.weak(name).to_vec() }))
    }

    fn missing(&self, wanted: &str, why: &Why) -> ModuleError {
        let near = self.index.map(|index| near(wanted, &index.names())).unwrap_or_default();
        ModuleError::Missing { name: wanted.to_owned(), why: Box::new(why.clone()), place: String::new(), near }
    }
}

/// Names that may have been meant: up to two letters off, or longer by a word.
pub fn near(wanted: &str, names: &[&str]) -> Vec<String> {
    let mut close: Vec<(usize, &str)> = names
        .iter()
        .filter(|name| name.len().abs_diff(wanted.len()) <= 2 || (wanted.len() > 3 && name.contains(wanted)))
        .map(|name| (if name.contains(wanted) { 1 } else { distance(wanted, name) }, *name))
        .filter(|(distance, _)| *distance <= 2.min(wanted.len() / 2))
        .collect();
    close.sort_unstable();
    close.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// Levenshtein's distance.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.bytes().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        for (cell, against) in row.iter_mut().skip(1).zip(other.bytes()) {
            let cost = (diagonal + usize::from(letter != against)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = cost;
            left = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Found, Order, distance, near};
    use crate::format::modules::modinfo::Modinfo;
    use crate::root::fact::Why;
    use crate::root::modules::builtin::Builtin;
    use crate::root::modules::depmod::Tables;
    use crate::root::modules::error::ModuleError;
    use crate::root::modules::index::Index;
    use crate::root::modules::scan::Scanned;
    use proptest::prelude::{ProptestConfig, prop_assert, proptest};
    use std::path::Path;

    fn index(modules: &[(&str, &str)]) -> Index {
        let scanned = modules.iter().map(|(name, section)| Scanned {
            path: format!("kernel/{name}.ko"),
            info: Modinfo::parse(section.replace(';', "\0").as_bytes()),
        });
        Index::of(Path::new("/nowhere"), &Tables::of(&scanned.collect::<Vec<_>>()))
    }

    fn load(modules: &[(&str, &str)], wanted: &[&str]) -> Result<Vec<String>, ModuleError> {
        let (index, builtin) = (index(modules), Builtin::default());
        let mut order = Order::new(Some(&index), &builtin);
        for name in wanted {
            order.add(name, &Why::Base, false)?;
        }
        Ok(order.steps.into_iter().map(|step| step.name).collect())
    }

    #[test]
    fn soft_dependencies_come_around_and_each_module_once() {
        let modules = [
            ("a", "depends=b;softdep=pre: s alias-x gone post: p"),
            ("b", "depends=c;softdep=pre: t"),
            ("c", ""),
            ("s", "depends=c"),
            ("t", ""),
            ("p", "depends=a"),
            ("x", "alias=alias-*"),
        ];
        assert_eq!(load(&modules, &["a"]).expect("ordered"), ["c", "t", "b", "s", "x", "a", "p"]);
        assert_eq!(load(&modules, &["p", "a"]).expect("ordered"), ["c", "t", "b", "s", "x", "a", "p"]);
    }

    #[test]
    fn a_soft_dependency_that_needs_its_own_asker_comes_after_it() {
        let modules = [("a", "softdep=pre: b"), ("b", "depends=a;softdep=pre: a")];
        assert_eq!(load(&modules, &["a"]).expect("ordered"), ["a", "b"]);
        assert_eq!(load(&modules, &["b"]).expect("ordered"), ["a", "b"]);
    }

    #[test]
    fn a_circle_of_hard_dependencies_is_an_error_that_shows_it() {
        let error = load(&[("a", "depends=b"), ("b", "depends=a")], &["a"]).expect_err("refused").to_string();
        assert!(error.contains("a -> b -> a"), "{error}");
    }

    #[test]
    fn a_soft_dependency_that_cannot_be_loaded_is_left_out_whole() {
        let modules = [("a", "softdep=pre: b"), ("b", "depends=c"), ("c", "depends=d"), ("d", "depends=c")];
        assert_eq!(load(&modules, &["a"]).expect("ordered"), ["a"]);
    }

    #[test]
    fn what_only_the_channel_wants_is_optional_until_somebody_asks() {
        let (index, builtin) = (index(&[("a", "depends=b"), ("b", ""), ("c", "")]), Builtin::default());
        let mut order = Order::new(Some(&index), &builtin);
        order.add("c", &Why::Channel, true).expect("added");
        order.add("a", &Why::Channel, true).expect("added");
        assert!(order.steps.iter().all(|step| step.optional));
        order.add("a", &Why::Base, false).expect("added");
        let optional: Vec<&str> =
            order.steps.iter().filter(|step| step.optional).map(|step| step.name.as_str()).collect();
        assert_eq!(optional, ["c"]);
        assert_eq!(order.find("nothing").expect("looked up"), Found::Nothing);
    }

    #[test]
    fn near_names_are_told() {
        let names = ["iTCO_wdt", "i6300esb", "virtio_console", "xfs"];
        assert_eq!(near("iTCO_wdg", &names), ["iTCO_wdt"]);
        assert_eq!(near("console", &names), ["virtio_console"]);
        assert!(near("zzz", &names).is_empty());
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_dependency_precedes_its_user(
            graph in proptest::collection::vec((proptest::collection::vec(0_usize..12, 0..4), 0_usize..12, 0_usize..12), 12)
        ) {
            // Hard dependencies only on larger numbers, so that there is no circle; soft ones anywhere.
            let modules: Vec<(String, String)> = graph.iter().enumerate().map(|(at, (hard, pre, post))| {
                let hard: Vec<String> = hard.iter().filter(|to| **to > at).map(|to| format!("m{to}")).collect();
                (format!("m{at}"), format!("depends={};softdep=pre: m{pre} post: m{post}", hard.join(",")))
            }).collect();
            let modules: Vec<(&str, &str)> = modules.iter().map(|(name, info)| (name.as_str(), info.as_str())).collect();
            let order = load(&modules, &["m0"]).expect("ordered");
            for (place, name) in order.iter().enumerate() {
                prop_assert!(!order[..place].contains(name), "{} twice", name);
                let info = modules.iter().find(|(module, _)| module == name).expect("known").1;
                let depends = info.trim_start_matches("depends=").split(';').next().unwrap_or("");
                for needed in depends.split(',').filter(|needed| !needed.is_empty()) {
                    prop_assert!(order[..place].iter().any(|earlier| earlier == needed), "{} before {}", needed, name);
                }
            }
        }
    }
}
