//! Load order of modules: each module once, after its dependencies.
//!
//! Same order as modprobe (`libkmod-module.c`, `__kmod_module_get_probe_list`): hard dependencies, `pre` soft
//! dependencies, the module, `post` soft dependencies, recursively. One difference: a `pre` dependency that itself
//! depends on the module is loaded after it, since no other order is possible.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use super::builtin::Builtin;
use super::error::ModuleError;
use super::index::{Index, Soft};
use crate::format::modules::name;
use crate::root::fact::Why;

/// Limit of the depth of a dependency chain. Real chains have a depth of about 10.
const DEPTH_LIMIT: usize = 500;

/// A module passed as a file, with its dependencies.
#[derive(Debug, Clone)]
pub(crate) struct Loose {
    /// Path on the host.
    pub(crate) host: PathBuf,
    /// Normalized names of its direct dependencies.
    pub(crate) depends: Vec<String>,
    /// Soft dependencies.
    pub(crate) soft: Soft,
    /// Weak dependencies.
    pub(crate) weak: Vec<String>,
}

/// Importance of a module in a load order, ascending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A driver of the channel, or a dependency of one. The guest may have another channel.
    Channel,
    /// A soft dependency, or a dependency of one. As in modprobe, the load order continues without it.
    Soft,
    /// One of several modules with a requested alias.
    Alternative,
    /// The last of these: one of them must be loaded.
    LastAlternative,
    /// A requested module, or a dependency of one.
    Required,
}

impl Need {
    /// Returns the need for the hard dependencies of a module.
    const fn of_dependency(self) -> Self {
        match self {
            Self::Channel => Self::Channel,
            Self::Soft | Self::Alternative | Self::LastAlternative => Self::Soft,
            Self::Required => Self::Required,
        }
    }

    /// Returns the need for the soft dependencies of a module.
    const fn of_soft_dependency(self) -> Self {
        match self {
            Self::Channel => Self::Channel,
            Self::Soft | Self::Alternative | Self::LastAlternative | Self::Required => Self::Soft,
        }
    }
}

/// A module in the load order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Normalized name.
    pub name: String,
    /// First requester.
    pub(crate) why: Why,
    /// The strongest need for the module.
    pub(crate) need: Need,
}

/// Result of a name lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Loadable modules: one by name, or all with a matching alias.
    Modules(Vec<String>),
    /// Built into the kernel image.
    Builtin,
    /// Not found.
    Nothing,
}

/// Builder of the load order.
pub struct Order<'a> {
    index: Option<&'a Index>,
    builtin: &'a Builtin,
    /// Modules passed as files, by name. They take precedence over those in the index.
    pub(crate) loose: BTreeMap<String, Loose>,
    /// Modules being visited, outermost first.
    waiting: Vec<String>,
    /// Maps the name of each module in the order to its position in `steps`.
    done: HashMap<String, usize>,
    /// Soft dependencies, each with the module that names it, that must be added after a module being visited.
    late: Vec<(String, String)>,
    /// Load order so far.
    pub steps: Vec<Step>,
}

/// Dependencies of a module.
struct Needs {
    depends: Vec<String>,
    soft: Soft,
    weak: Vec<String>,
}

impl<'a> Order<'a> {
    /// Creates an empty order.
    pub fn new(index: Option<&'a Index>, builtin: &'a Builtin) -> Self {
        Self {
            index,
            builtin,
            loose: BTreeMap::new(),
            waiting: Vec::new(),
            done: HashMap::new(),
            late: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Looks a name up in the order of kmod: module, alias, built-in module, alias of a built-in module.
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

    /// Adds the module with this normalized name to the order, after its dependencies.
    pub fn add(&mut self, name: &str, why: &Why, need: Need) -> Result<(), ModuleError> {
        if let Some(place) = self.done.get(name).copied() {
            return if need == Need::Required { self.require(place) } else { Ok(()) };
        }
        if self.waiting.iter().any(|waiting| waiting == name) || self.waiting.len() >= DEPTH_LIMIT {
            let chain = self.waiting.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(" -> ");
            return Err(ModuleError::Circle { chain });
        }
        let needs = self.needs(name)?.ok_or_else(|| self.missing(name, why))?;
        self.waiting.push(name.to_owned());
        let added = self.add_around(name, &needs, why, need);
        self.waiting.pop();
        added
    }

    fn add_around(&mut self, name: &str, needs: &Needs, why: &Why, need: Need) -> Result<(), ModuleError> {
        for needed in &needs.depends {
            let why = Why::Module { kind: "depends", by: name.to_owned() };
            match self.find(needed)? {
                Found::Builtin => {}
                // A hard dependency is always a module name, not an alias.
                Found::Modules(_) | Found::Nothing => self.add(needed, &why, need.of_dependency())?,
            }
        }
        for soft in &needs.soft.pre {
            self.add_soft(soft, "softdep pre", name, need)?;
        }
        self.done.insert(name.to_owned(), self.steps.len());
        self.steps.push(Step { name: name.to_owned(), why: why.clone(), need });
        for soft in &needs.soft.post {
            self.add_soft(soft, "softdep post", name, need)?;
        }
        for (soft, by) in std::mem::take(&mut self.late) {
            self.add_soft(&soft, "softdep post", &by, need)?;
        }
        Ok(())
    }

    /// Requires one of the modules with a requested alias, which were added as soft ones from the step `first` on. Does
    /// nothing if one of them was added earlier, or is required more strongly, for another request.
    pub(crate) fn require_one_of(&mut self, names: &[String], first: usize) {
        let mut places: Vec<usize> = names.iter().filter_map(|name| self.done.get(name).copied()).collect();
        places.sort_unstable();
        let is_own =
            |place: &usize| *place >= first && self.steps.get(*place).is_some_and(|step| step.need == Need::Soft);
        if !places.iter().all(is_own) {
            return;
        }
        let last = places.last().copied();
        for place in places {
            if let Some(step) = self.steps.get_mut(place) {
                step.need = if Some(place) == last { Need::LastAlternative } else { Need::Alternative };
            }
        }
    }

    /// Adds the modules that a soft dependency names. Ignores modules that cannot be added, without a note, as modprobe
    /// does.
    fn add_soft(&mut self, wanted: &str, kind: &'static str, by: &str, need: Need) -> Result<(), ModuleError> {
        let Found::Modules(names) = self.find(wanted)? else { return Ok(()) };
        for found in names {
            if self.waiting.contains(&found) {
                continue;
            }
            if self.needs_waiting(&found)? {
                self.late.push((found, by.to_owned()));
                continue;
            }
            let (steps, done, late) = (self.steps.len(), self.done.clone(), self.late.clone());
            let why = Why::Module { kind, by: by.to_owned() };
            match self.add(&found, &why, need.of_soft_dependency()) {
                Ok(()) => {}
                Err(ModuleError::Missing { .. } | ModuleError::Circle { .. }) => {
                    self.steps.truncate(steps);
                    (self.done, self.late) = (done, late);
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// Returns true if a hard dependency of this module is being visited and not yet in the order.
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

    /// Marks a step and its dependencies as required.
    fn require(&mut self, place: usize) -> Result<(), ModuleError> {
        let mut ahead = vec![place];
        while let Some(place) = ahead.pop() {
            let Some(step) = self.steps.get_mut(place).filter(|step| step.need != Need::Required) else { continue };
            step.need = Need::Required;
            let name = step.name.clone();
            let needs = self.needs(&name)?.map(|needs| needs.depends).unwrap_or_default();
            ahead.extend(needs.iter().filter_map(|needed| self.done.get(needed).copied()));
        }
        Ok(())
    }

    /// Returns all weak dependencies of the modules in the order, each with the name of the dependent module.
    pub(crate) fn weak(&self) -> Result<Vec<(String, String)>, ModuleError> {
        let mut all = Vec::new();
        for step in &self.steps {
            if let Some(needs) = self.needs(&step.name)? {
                all.extend(needs.weak.into_iter().map(|weak| (weak, step.name.clone())));
            }
        }
        Ok(all)
    }

    /// Returns the built-in modules.
    pub(crate) fn builtin(&self) -> &'a Builtin {
        self.builtin
    }

    /// Returns the names of all modules in the index, sorted.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.index.map(Index::names).unwrap_or_default()
    }

    /// Returns true if the module with this normalized name is in the order.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.done.contains_key(name)
    }

    /// Returns the dependencies of a module; `None` if the module does not exist.
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
                why: format!("{} depends on {path}, which is not the path of a module", listed.path),
            })?;
            depends.push(needed.into_owned());
        }
        let soft = index.soft(name).cloned().unwrap_or_default();
        Ok(Some(Needs { depends, soft, weak: index.weak(name).to_vec() }))
    }

    fn missing(&self, wanted: &str, why: &Why) -> ModuleError {
        let near = self.index.map(|index| similar_names(wanted, &index.names())).unwrap_or_default();
        ModuleError::Missing { name: wanted.to_owned(), why: Box::new(why.clone()), place: String::new(), near }
    }
}

/// Returns similar names: with an edit distance of up to 2, or containing the wanted name. Limit: 3 names.
pub(crate) fn similar_names(wanted: &str, names: &[&str]) -> Vec<String> {
    let mut close: Vec<(usize, &str)> = names
        .iter()
        .filter(|name| name.len().abs_diff(wanted.len()) <= 2 || (wanted.len() > 3 && name.contains(wanted)))
        .map(|name| (if name.contains(wanted) { 1 } else { distance(wanted, name) }, *name))
        .filter(|(distance, _)| *distance <= 2.min(wanted.len() / 2))
        .collect();
    close.sort_unstable();
    close.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// Levenshtein distance, in bytes.
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
    use super::{Found, Need, Order, distance, similar_names};
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
            order.add(name, &Why::Base, Need::Required)?;
        }
        Ok(order.steps.into_iter().map(|step| step.name).collect())
    }

    #[test]
    fn soft_dependencies_surround_the_module_and_each_module_occurs_once() {
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
    fn a_soft_dependency_that_depends_on_the_module_follows_it() {
        let modules = [("a", "softdep=pre: b"), ("b", "depends=a;softdep=pre: a")];
        assert_eq!(load(&modules, &["a"]).expect("ordered"), ["a", "b"]);
        assert_eq!(load(&modules, &["b"]).expect("ordered"), ["a", "b"]);
    }

    #[test]
    fn a_soft_dependency_of_a_dependency_that_depends_on_the_module_follows_the_module() {
        let modules = [("a", "depends=b"), ("b", "softdep=pre: s"), ("s", "depends=a")];
        assert_eq!(load(&modules, &["a"]).expect("ordered"), ["b", "a", "s"]);
    }

    #[test]
    fn a_cycle_of_hard_dependencies_is_reported_with_its_chain() {
        let error = load(&[("a", "depends=b"), ("b", "depends=a")], &["a"]).expect_err("refused").to_string();
        assert!(error.contains("a -> b -> a"), "{error}");
    }

    #[test]
    fn a_soft_dependency_that_cannot_be_loaded_is_ignored_with_its_dependencies() {
        let modules = [("a", "softdep=pre: b"), ("b", "depends=c"), ("c", "depends=d"), ("d", "depends=c")];
        assert_eq!(load(&modules, &["a"]).expect("ordered"), ["a"]);
    }

    fn needs<'a>(order: &'a Order<'_>) -> Vec<(&'a str, Need)> {
        order.steps.iter().map(|step| (step.name.as_str(), step.need)).collect()
    }

    #[test]
    fn channel_modules_are_optional_until_another_request_requires_them() {
        let (index, builtin) = (index(&[("a", "depends=b"), ("b", ""), ("c", "")]), Builtin::default());
        let mut order = Order::new(Some(&index), &builtin);
        order.add("c", &Why::Channel, Need::Channel).expect("added");
        order.add("a", &Why::Channel, Need::Channel).expect("added");
        assert!(order.steps.iter().all(|step| step.need == Need::Channel));
        order.add("a", &Why::Base, Need::Required).expect("added");
        assert_eq!(needs(&order), [("c", Need::Channel), ("b", Need::Required), ("a", Need::Required)]);
        assert_eq!(order.find("nothing").expect("looked up"), Found::Nothing);
    }

    #[test]
    fn soft_dependencies_and_their_dependencies_are_not_required() {
        let modules =
            [("a", "depends=b;softdep=pre: s post: p"), ("b", ""), ("s", "depends=t"), ("t", ""), ("p", "depends=b")];
        let (index, builtin) = (index(&modules), Builtin::default());
        let mut order = Order::new(Some(&index), &builtin);
        order.add("a", &Why::Base, Need::Required).expect("added");
        let expected =
            [("b", Need::Required), ("t", Need::Soft), ("s", Need::Soft), ("a", Need::Required), ("p", Need::Soft)];
        assert_eq!(needs(&order), expected);
        order.add("s", &Why::Base, Need::Required).expect("added");
        assert!(needs(&order).iter().all(|(name, need)| *name == "p" || *need == Need::Required), "{:?}", order.steps);
    }

    #[test]
    fn one_of_several_modules_with_an_alias_must_load_unless_another_request_shares_one() {
        let modules = [("a", "depends=c"), ("b", ""), ("c", ""), ("d", "softdep=pre: a")];
        let (index, builtin) = (index(&modules), Builtin::default());
        let names = ["a", "b"].map(str::to_owned);
        for (before, expected) in [(None, [Need::Alternative, Need::LastAlternative]), (Some("d"), [Need::Soft; 2])] {
            let mut order = Order::new(Some(&index), &builtin);
            before.map(|name| order.add(name, &Why::Base, Need::Required)).transpose().expect("added");
            let first = order.steps.len();
            names.iter().try_for_each(|name| order.add(name, &Why::Base, Need::Soft)).expect("added");
            order.require_one_of(&names, first);
            let found: Vec<Need> =
                needs(&order).iter().filter(|(name, _)| ["a", "b"].contains(name)).map(|(_, need)| *need).collect();
            assert_eq!(found, expected, "{before:?}");
            assert!(needs(&order).contains(&("c", Need::Soft)));
        }
    }

    #[test]
    fn similar_names_are_found() {
        let names = ["iTCO_wdt", "i6300esb", "virtio_console", "xfs"];
        assert_eq!(similar_names("iTCO_wdg", &names), ["iTCO_wdt"]);
        assert_eq!(similar_names("console", &names), ["virtio_console"]);
        assert!(similar_names("zzz", &names).is_empty());
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_dependency_precedes_its_dependents(
            graph in proptest::collection::vec((proptest::collection::vec(0_usize..12, 0..4), 0_usize..12, 0_usize..12), 12)
        ) {
            // Hard dependencies only on larger numbers, so that there is no cycle; soft dependencies on any module.
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
