//! The path tries of all host tables, in one arena, and the backtracking walk over them.

use std::borrow::Cow;
use std::collections::HashMap;

use smallvec::SmallVec;

use super::params::Spans;
use super::pattern::Segment;
use crate::normalize::canonical_chars;

/// Most trie nodes of one host that a lookup may visit.
pub const MAX_VISITS: u32 = 1024;

/// From this many literal children on a hash lookup beats comparing.
const FEW: usize = 8;

pub(super) type NodeId = u32;
pub(super) type LeafId = u32;

/// All tries of a router.
#[derive(Debug, Default)]
pub(super) struct Tries {
    nodes: Vec<Node>,
    leaves: Vec<Leaf>,
}

/// A path prefix.
#[derive(Debug, Default)]
struct Node {
    literals: Literals,
    param: Option<NodeId>,
    /// The routes whose greedy parameter starts here.
    greedy: Option<LeafId>,
    /// The routes that end here.
    leaf: Option<LeafId>,
}

#[derive(Debug)]
enum Literals {
    Few(Vec<(Box<str>, NodeId)>),
    Many(HashMap<Box<str>, NodeId>),
}

/// The routes of one path shape under one host.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    /// In order of precedence; "any method" last.
    pub(super) entries: SmallVec<[Entry; 2]>,
}

/// One route under one method.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) method: MethodId,
    /// Whether the route has header conditions, so that most need not be looked at.
    pub(super) conditional: bool,
    pub(super) route: u32,
}

/// A method as a number, see [`super::Router`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct MethodId(pub(super) u16);

impl Default for Literals {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Literals {
    fn get(&self, segment: &str) -> Option<NodeId> {
        match self {
            Self::Few(children) => children
                .iter()
                .find(|(literal, _)| **literal == *segment)
                .map(|(_, node)| *node),
            Self::Many(children) => children.get(segment).copied(),
        }
    }

    fn insert(&mut self, segment: &str, node: NodeId) {
        if let Self::Few(children) = self {
            if children.len() < FEW {
                children.push((segment.into(), node));
                return;
            }
            *self = Self::Many(std::mem::take(children).into_iter().collect());
        }
        if let Self::Many(children) = self {
            children.insert(segment.into(), node);
        }
    }

    fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let (few, many) = match self {
            Self::Few(children) => (Some(children.iter().map(|(_, node)| *node)), None),
            Self::Many(children) => (None, Some(children.values().copied())),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten())
    }
}

impl Tries {
    /// A new, empty trie.
    pub(super) fn root(&mut self) -> NodeId {
        self.nodes.push(Node::default());
        // The router limits the number of routes so that this fits.
        (self.nodes.len() - 1) as NodeId
    }

    /// The leaf of a path shape below `root`, made if it is missing.
    pub(super) fn leaf_of(&mut self, root: NodeId, segments: &[Segment]) -> LeafId {
        let mut node = root;
        for segment in segments {
            node = match segment {
                Segment::Literal(literal) => match self.node(node).literals.get(literal) {
                    Some(child) => child,
                    None => {
                        let child = self.root();
                        self.nodes[node as usize].literals.insert(literal, child);
                        child
                    }
                },
                Segment::Param(_) => match self.node(node).param {
                    Some(child) => child,
                    None => {
                        let child = self.root();
                        self.nodes[node as usize].param = Some(child);
                        child
                    }
                },
                Segment::Greedy(_) => {
                    return *self.nodes[node as usize]
                        .greedy
                        .get_or_insert_with(|| push_leaf(&mut self.leaves));
                }
            };
        }
        *self.nodes[node as usize]
            .leaf
            .get_or_insert_with(|| push_leaf(&mut self.leaves))
    }

    pub(super) fn leaf(&self, leaf: LeafId) -> &Leaf {
        &self.leaves[leaf as usize]
    }

    pub(super) fn leaf_mut(&mut self, leaf: LeafId) -> &mut Leaf {
        &mut self.leaves[leaf as usize]
    }

    pub(super) fn leaves_mut(&mut self) -> impl Iterator<Item = &mut Leaf> {
        self.leaves.iter_mut()
    }

    /// For every node, how many nodes a walk that starts there visits at most: a path follows one
    /// literal child, the worst one, and the parameter beside it.
    pub(super) fn worst_visits(&self) -> Vec<u32> {
        let mut worst = vec![0_u32; self.nodes.len()];
        // Children were added after their parents.
        for (id, node) in self.nodes.iter().enumerate().rev() {
            let literal = node
                .literals
                .nodes()
                .map(|child| worst[child as usize])
                .max()
                .unwrap_or(0);
            let param = node.param.map_or(0, |child| worst[child as usize]);
            worst[id] = literal.saturating_add(param).saturating_add(1);
        }
        worst
    }

    fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node as usize]
    }
}

fn push_leaf(leaves: &mut Vec<Leaf>) -> LeafId {
    leaves.push(Leaf::default());
    (leaves.len() - 1) as LeafId
}

/// A request path on its way through the tries.
pub(super) struct Walk<'a> {
    tries: &'a Tries,
    path: &'a str,
    /// End of the path without one trailing slash. Segments are left as long as the position is
    /// not behind it.
    end: usize,
    /// Whether literals have to be compared in normal form.
    encoded: bool,
    /// The parameters captured on the way to the present node.
    pub(super) spans: Spans,
}

impl<'a> Walk<'a> {
    /// `None` for what is not an absolute path of less than 4 GiB.
    pub(super) fn new(tries: &'a Tries, path: &'a str) -> Option<Self> {
        let bytes = path.as_bytes();
        if bytes.first() != Some(&b'/') || u32::try_from(bytes.len()).is_err() {
            return None;
        }
        let end = if bytes.last() == Some(&b'/') {
            bytes.len() - 1
        } else {
            bytes.len()
        };
        Some(Self {
            tries,
            path,
            end,
            encoded: bytes.contains(&b'%'),
            spans: Spans::new(),
        })
    }

    /// Calls `visit` with the leaves below `root` that match the path, best first, until it returns
    /// something. Then [`Walk::spans`] are the parameters of that leaf, otherwise they are empty.
    pub(super) fn run<T>(&mut self, root: NodeId, visit: &mut impl FnMut(LeafId) -> Option<T>) -> Option<T> {
        self.step(root, 1, visit)
    }

    /// `at` is where the next segment starts.
    fn step<T>(&mut self, node: NodeId, at: usize, visit: &mut impl FnMut(LeafId) -> Option<T>) -> Option<T> {
        let node = self.tries.node(node);
        if at > self.end {
            return node.leaf.and_then(visit);
        }
        let rest = &self.path[at..self.end];
        let length = rest.bytes().position(|byte| byte == b'/').unwrap_or(rest.len());
        let segment = &rest[..length];
        let next = at + length + 1;
        if let Some(child) = self.literal(&node.literals, segment)
            && let Some(found) = self.step(child, next, visit)
        {
            return Some(found);
        }
        if let Some(child) = node.param
            && !segment.is_empty()
        {
            self.push_span(at, at + length);
            if let Some(found) = self.step(child, next, visit) {
                return Some(found);
            }
            self.spans.pop();
        }
        if let Some(leaf) = node.greedy
            && !rest.is_empty()
        {
            self.push_span(at, self.end);
            if let Some(found) = visit(leaf) {
                return Some(found);
            }
            self.spans.pop();
        }
        None
    }

    fn literal(&self, literals: &Literals, segment: &str) -> Option<NodeId> {
        if self.encoded && segment.contains('%') {
            // What cannot be normalised is no literal of any pattern.
            let segment: Cow<'_, str> = canonical_chars(segment).ok()?;
            return literals.get(&segment);
        }
        literals.get(segment)
    }

    fn push_span(&mut self, start: usize, end: usize) {
        // `new` has made sure that offsets fit.
        self.spans.push((start as u32, end as u32));
    }
}
