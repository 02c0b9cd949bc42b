//! Walks the complete tree of a volume and collects all faults. Follows each cluster only once, so that a hostile
//! volume takes no more time than a valid one of its size.

use super::chain::Chain;
use super::directory::{Entry, Irregularity};
use super::volume::{Fault, Volume};
use crate::format::Medium;

/// Maximum entries read per volume.
pub const MAX_ENTRIES: usize = 100_000;
/// Maximum depth of directories. No system opens paths of more than 260 characters.
const MAX_DEPTH: usize = 64;

/// File or directory in the tree.
#[derive(Debug)]
pub struct Node {
    /// Index of the parent directory; `None` for the root.
    pub(crate) parent: Option<usize>,
    /// Directory entry.
    pub entry: Entry,
    /// Clusters of the chain that no earlier node uses.
    pub(crate) clusters: u64,
    /// Number of fragments (runs of adjacent clusters).
    pub(crate) runs: usize,
}

/// Complete tree of a volume, and its faults.
#[derive(Debug, Default)]
pub struct Tree {
    /// Files and directories; a directory precedes its entries.
    pub nodes: Vec<Node>,
    /// Faults with the index of the affected node; `None` for the root directory.
    pub faults: Vec<(Option<usize>, Fault)>,
    /// Nodes that share a cluster with an earlier node, and that cluster.
    pub(crate) shared: Vec<(Option<usize>, u32)>,
    /// Nodes whose chain is longer than their size requires.
    pub(crate) oversized: Vec<usize>,
    /// Irregularities, with the index of the directory.
    pub(crate) irregular: Vec<(Option<usize>, Irregularity)>,
    /// Number of clusters in use by files and directories.
    pub used: u64,
    /// True if a limit was reached and the tree is incomplete.
    pub truncated: bool,
}

impl Tree {
    /// Returns the path of a node, separated by `/`; the root is `/`.
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

/// Bitmap of the clusters in use. Grows with the highest cluster number, so it is smaller than the allocation table.
#[derive(Default)]
struct ClusterMap {
    words: Vec<u64>,
    shared: Option<u32>,
    fresh: u64,
}

impl ClusterMap {
    /// Marks a cluster as used; returns false if it already is.
    fn take(&mut self, cluster: u32) -> bool {
        let (word, bit) = (cluster as usize / 64, 1 << (cluster % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let Some(word) = self.words.get_mut(word) else { return false };
        if *word & bit != 0 {
            self.shared = Some(cluster);
            return false;
        }
        *word |= bit;
        self.fresh += 1;
        true
    }

    /// Returns the shared cluster, if any, and the number of newly marked clusters since the last call.
    fn take_counts(&mut self) -> (Option<u32>, u64) {
        (self.shared.take(), std::mem::take(&mut self.fresh))
    }
}

impl<M: Medium> Volume<M> {
    /// Walks the complete tree.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        let mut map = ClusterMap::default();
        let mut waiting: Vec<(Option<usize>, usize)> = vec![(None, 0)];
        while let Some((directory, depth)) = waiting.pop() {
            let Some(entries) = self.open_directory(directory, &mut tree, &mut map) else { continue };
            if depth > MAX_DEPTH || tree.nodes.len() + entries.len() > MAX_ENTRIES {
                tree.truncated = true;
                continue;
            }
            let first = tree.nodes.len();
            for entry in entries {
                tree.nodes.push(Node { parent: directory, entry, clusters: 0, runs: 0 });
            }
            for index in (first..tree.nodes.len()).rev() {
                if tree.nodes[index].entry.directory {
                    waiting.push((Some(index), depth + 1));
                } else {
                    self.map_file(index, &mut tree, &mut map);
                }
            }
        }
        tree
    }

    fn open_directory(&self, index: Option<usize>, tree: &mut Tree, map: &mut ClusterMap) -> Option<Vec<Entry>> {
        let first = index.and_then(|index| tree.nodes.get(index)).map(|node| node.entry.cluster);
        let above = index.and_then(|index| tree.nodes.get(index)?.parent).and_then(|above| tree.nodes.get(above));
        let parent = above.map_or(0, |node| node.entry.cluster);
        let read = self.directory(first, parent, &mut |cluster| map.take(cluster));
        let (shared, fresh) = map.take_counts();
        tree.used += fresh;
        if let Some(node) = index.and_then(|index| tree.nodes.get_mut(index)) {
            node.clusters = fresh;
        }
        if let Some(cluster) = shared {
            // The cluster belongs to another node, maybe a parent directory: reading the entries could loop.
            tree.shared.push((index, cluster));
            return None;
        }
        match read {
            Ok((entries, odd)) => {
                tree.irregular.extend(odd.into_iter().map(|oddity| (index, oddity)));
                Some(entries)
            }
            Err(fault) => {
                tree.faults.push((index, fault));
                None
            }
        }
    }

    fn map_file(&self, index: usize, tree: &mut Tree, map: &mut ClusterMap) {
        let Some(node) = tree.nodes.get_mut(index) else { return };
        let chain = self.chain(&node.entry, &mut |cluster| map.take(cluster));
        let (shared, fresh) = map.take_counts();
        node.clusters = fresh;
        tree.used += fresh;
        if let Some(cluster) = shared {
            tree.shared.push((Some(index), cluster));
            return;
        }
        let content = chain.and_then(|chain: Chain| {
            node.runs = chain.runs.len();
            self.content_of(&node.entry, &chain).map(|_| chain.clusters)
        });
        match content {
            Ok(clusters) if clusters > u64::from(node.entry.size).div_ceil(self.geometry().cluster) => {
                tree.oversized.push(index);
            }
            Ok(_) => {}
            Err(fault) => tree.faults.push((Some(index), fault)),
        }
    }
}
