//! The whole tree of a volume, with all that is wrong in it. Each cluster is followed once, so that hostile volumes
//! take no more time than honest ones of their size.

use super::chain::Chain;
use super::directory::{Entry, Oddity};
use super::volume::{Fault, Volume};
use crate::disk::Medium;

/// How many entries are looked at.
pub const MOST_ENTRIES: usize = 100_000;
/// How deep directories go. Paths of more than 260 characters open nowhere.
const DEEPEST: usize = 64;

/// A file or directory in its place.
#[derive(Debug)]
pub struct Node {
    /// The directory it is in, by its index; `None` in the root.
    pub parent: Option<usize>,
    /// How many directories are above it.
    pub depth: usize,
    /// Itself.
    pub entry: Entry,
    /// Clusters of its chain that nothing before it had.
    pub clusters: u64,
    /// Its pieces: how many runs of neighbouring clusters its chain has.
    pub runs: usize,
}

/// All of a volume, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Tree {
    /// Files and directories; a directory stands before what is in it.
    pub nodes: Vec<Node>,
    /// What cannot be read, and whose it is: a node's index, `None` for the root directory.
    pub faults: Vec<(Option<usize>, Fault)>,
    /// Nodes that have clusters of something before them.
    pub crossed: Vec<(Option<usize>, u32)>,
    /// Nodes whose chains are longer than their sizes.
    pub long: Vec<usize>,
    /// What is odd, and in which directory.
    pub odd: Vec<(Option<usize>, Oddity)>,
    /// Clusters that files and directories have.
    pub used: u64,
    /// Whether there is more than was looked at.
    pub cut: bool,
}

impl Tree {
    /// The path of a node, with `/` between names; the root is `/`.
    pub fn path(&self, node: Option<usize>) -> String {
        let mut names = Vec::new();
        let mut at = node;
        while let Some(node) = at.and_then(|index| self.nodes.get(index)) {
            names.push(node.entry.name.as_str());
            at = node.parent;
        }
        if names.is_empty() {
            return "/".to_owned();
        }
        names.reverse();
        names.join("/")
    }
}

/// One bit a cluster; grows with the highest that was seen, which stands in the table and so takes room there, too.
#[derive(Default)]
struct Claims {
    words: Vec<u64>,
    crossed: Option<u32>,
    fresh: u64,
}

impl Claims {
    /// Takes a cluster; `false` where somebody has it.
    fn take(&mut self, cluster: u32) -> bool {
        let (word, bit) = (cluster as usize / 64, 1 << (cluster % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let Some(word) = self.words.get_mut(word) else { return false };
        if *word & bit != 0 {
            self.crossed = Some(cluster);
            return false;
        }
        *word |= bit;
        self.fresh += 1;
        true
    }

    /// What the chain since the last call ran into, and how many clusters it took.
    fn settle(&mut self) -> (Option<u32>, u64) {
        (self.crossed.take(), std::mem::take(&mut self.fresh))
    }
}

impl<M: Medium> Volume<M> {
    /// Walks everything.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        let mut claims = Claims::default();
        let mut waiting: Vec<(Option<usize>, usize)> = vec![(None, 0)];
        while let Some((directory, depth)) = waiting.pop() {
            let Some(entries) = self.open_directory(directory, &mut tree, &mut claims) else { continue };
            if depth > DEEPEST || tree.nodes.len() + entries.len() > MOST_ENTRIES {
                tree.cut = true;
                continue;
            }
            let first = tree.nodes.len();
            for entry in entries {
                tree.nodes.push(Node { parent: directory, depth, entry, clusters: 0, runs: 0 });
            }
            for index in (first..tree.nodes.len()).rev() {
                if tree.nodes[index].entry.directory {
                    waiting.push((Some(index), depth + 1));
                } else {
                    self.claim_file(index, &mut tree, &mut claims);
                }
            }
        }
        tree
    }

    fn open_directory(&self, index: Option<usize>, tree: &mut Tree, claims: &mut Claims) -> Option<Vec<Entry>> {
        let first = index.and_then(|index| tree.nodes.get(index)).map(|node| node.entry.cluster);
        let above = index.and_then(|index| tree.nodes.get(index)?.parent).and_then(|above| tree.nodes.get(above));
        let parent = above.map_or(0, |node| node.entry.cluster);
        let read = self.directory(first, parent, &mut |cluster| claims.take(cluster));
        let (crossed, fresh) = claims.settle();
        tree.used += fresh;
        if let Some(node) = index.and_then(|index| tree.nodes.get_mut(index)) {
            node.clusters = fresh;
        }
        if let Some(cluster) = crossed {
            // What stands there is somebody else's, a directory above it perhaps: its entries would never end.
            tree.crossed.push((index, cluster));
            return None;
        }
        match read {
            Ok((entries, odd)) => {
                tree.odd.extend(odd.into_iter().map(|oddity| (index, oddity)));
                Some(entries)
            }
            Err(fault) => {
                tree.faults.push((index, fault));
                None
            }
        }
    }

    fn claim_file(&self, index: usize, tree: &mut Tree, claims: &mut Claims) {
        let Some(node) = tree.nodes.get_mut(index) else { return };
        let chain = self.chain(&node.entry, &mut |cluster| claims.take(cluster));
        let (crossed, fresh) = claims.settle();
        node.clusters = fresh;
        tree.used += fresh;
        if let Some(cluster) = crossed {
            tree.crossed.push((Some(index), cluster));
            return;
        }
        let content = chain.and_then(|chain: Chain| {
            node.runs = chain.runs.len();
            self.content_of(&node.entry, &chain).map(|_| chain.clusters)
        });
        match content {
            Ok(clusters) if clusters > u64::from(node.entry.size).div_ceil(self.geometry().cluster) => {
                tree.long.push(index);
            }
            Ok(_) => {}
            Err(fault) => tree.faults.push((Some(index), fault)),
        }
    }
}
