//! The tensors and storages that a pickle's graph describes, and the tensors' names. `rebuild` reads how
//! a tensor is rebuilt; the container's own module reads how records are stored.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::dtype::{self, TorchDtype};
use super::pickle::{Id, Node, Pickle};
use super::rebuild::rebuilt;
use crate::problems::Quote;

/// Levels of state dicts in state dicts; deeper ones are not read.
const DEPTH: usize = 64;
/// The most objects that are visited. A shared subtree is visited once for each place where it is.
const VISITS: usize = 4_000_000;
/// The most items of containers that are read, in all visits together.
const ITEMS: usize = 64_000_000;
/// The most bytes of names and shapes: those of a shared tensor are copied for each place where it is.
const COPIED: usize = 256 << 20;
/// Bytes of a storage's key. Writers count: `"0"`, `"1"`, or a memory address in old files.
const KEY: usize = 256;
/// Bytes of a storage's class; the longest of torch's own has 20.
const CLASS: usize = 64;
/// The most problems that are listed.
const PROBLEMS: usize = 20;

/// A storage that the pickle refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The class, such as `FloatStorage`.
    pub class: Box<str>,
    /// How many elements of the class's dtype it has.
    pub numel: u64,
    /// Its bytes; `None` for a class that this version does not know.
    pub bytes: Option<u64>,
}

/// A tensor in a state dict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateTensor {
    /// Its key; dots join the keys of nested dicts.
    pub name: Box<str>,
    /// Its dtype, if it is known.
    pub dtype: Option<TorchDtype>,
    /// Its shape.
    pub shape: Box<[u64]>,
    /// The storage's key; `None` for tensors without one (meta).
    pub storage: Option<Box<str>>,
    /// The first byte in the storage, and one past the last that it can reach; `None` on overflow.
    pub reach: Option<(u64, u64)>,
}

/// The tensors and storages of a pickle.
#[derive(Debug, Default)]
pub struct StateDict {
    /// The tensors, in the pickle's order.
    pub tensors: Vec<StateTensor>,
    /// The tensors that some of those are made of (a sparse tensor's values, a quantised one's scales).
    /// They have the same names, and are not parameters of their own.
    pub parts: Vec<StateTensor>,
    /// The storages by their keys.
    pub storages: BTreeMap<Box<str>, Storage>,
    /// Contradictions in the pickle, as sentences.
    pub problems: Vec<String>,
}

/// Reads the tensors of a graph.
pub fn read(pickle: &Pickle) -> StateDict {
    let mut state = StateDict::default();
    for node in &pickle.nodes {
        if let Node::Persistent(id) = node {
            add_storage(pickle, *id, &mut state);
        }
    }
    walk(pickle, state, None)
}

/// Reads the same if references out of the pickle are tensors, which `known` has by their keys.
pub(super) fn named(pickle: &Pickle, known: &HashMap<Box<str>, StateTensor>) -> StateDict {
    walk(pickle, StateDict::default(), Some(known))
}

fn walk(pickle: &Pickle, state: StateDict, known: Option<&HashMap<Box<str>, StateTensor>>) -> StateDict {
    let mut walk = StateWalk {
        pickle,
        known,
        state,
        visits: 0,
        items: 0,
        copied: 0,
        path: HashSet::new(),
        barren: HashSet::new(),
        cut: 0,
    };
    walk.visit(pickle.root, "", 0);
    if walk.spent() {
        walk.state.problem(|| "it nests more than this reader follows".into());
    }
    walk.state
}

impl StateDict {
    /// Notes a problem, unless there are many already.
    fn problem(&mut self, text: impl FnOnce() -> String) {
        if self.problems.len() < PROBLEMS {
            self.problems.push(text());
        }
    }
}

/// `('storage', torch.FloatStorage, key, location, numel[, view])`.
pub(super) fn storage_parts(pickle: &Pickle, id: Id) -> Option<(Box<str>, Storage)> {
    let items = pickle.items(id)?;
    let [tag, class, key, _location, numel, ..] = items else { return None };
    if pickle.text(*tag)? != "storage" {
        return None;
    }
    let class = pickle.global(*class).filter(|class| class.name.len() <= CLASS)?;
    let key = match pickle.node(*key) {
        Node::Str(text) if text.len() <= KEY => text.clone(),
        Node::Int(n) => n.to_string().into(),
        _ => return None,
    };
    let numel = pickle.count(*numel)?;
    // On overflow the storage has more bytes than any record, so the check of the record's size fails.
    let bytes = dtype::of_storage(&class.name).map(|d| d.bytes.saturating_mul(numel));
    Some((key, Storage { class: class.name.clone(), numel, bytes }))
}

/// `('module', class, file, source)`: the form in which torch before 1.6 noted a module's source code.
fn is_module_source(pickle: &Pickle, id: Id) -> bool {
    pickle.items(id).and_then(|items| pickle.text(*items.first()?)) == Some("module")
}

fn add_storage(pickle: &Pickle, id: Id, state: &mut StateDict) {
    match storage_parts(pickle, id) {
        Some((key, storage)) => match state.storages.get(&key).map(|known| known.bytes) {
            // Views of one storage with different classes are written with their own element counts.
            Some(known) if known != storage.bytes => {
                state.problem(|| format!("storage {key:?} is described as {known:?} and as {:?} bytes", storage.bytes));
            }
            _ => {
                state.storages.insert(key, storage);
            }
        },
        None if is_module_source(pickle, id) => {}
        None => state.problem(|| "a reference out of the pickle is not a storage".into()),
    }
}

struct StateWalk<'a> {
    pickle: &'a Pickle,
    /// The tensors that references out of the pickle mean, by key.
    known: Option<&'a HashMap<Box<str>, StateTensor>>,
    state: StateDict,
    visits: usize,
    items: usize,
    copied: usize,
    /// Objects on the way from the root: a cycle ends where it closes.
    path: HashSet<Id>,
    /// Objects that contain no tensor, whatever path leads to them.
    barren: HashSet<Id>,
    /// How often the walk ended early, so that the objects below are not known.
    cut: usize,
}

impl StateWalk<'_> {
    fn spent(&self) -> bool {
        self.visits >= VISITS || self.items >= ITEMS || self.copied >= COPIED
    }

    fn visit(&mut self, id: Id, name: &str, depth: usize) {
        if self.barren.contains(&id) {
            return;
        }
        self.visits += 1;
        if depth > DEPTH || self.spent() || !self.path.insert(id) {
            self.cut += 1;
            return;
        }
        let before = self.gathered();
        match self.pickle.node(id) {
            Node::Dict(items) => self.children(items, name, depth),
            Node::List(items) => self.sequence(items, name, depth),
            Node::Tuple(items) => self.sequence(items, name, depth),
            Node::Call { function, arguments, state, items } => {
                let mut parts = Vec::new();
                match rebuilt(self.pickle, *function, *arguments, &mut parts) {
                    Some(Ok(tensor)) => {
                        self.keep(name, tensor);
                        for part in parts {
                            self.part(part, name);
                        }
                        self.attributes(*function, *arguments, name, depth);
                    }
                    Some(Err(why)) => self.state.problem(|| format!("tensor {}: {why}", Quote(name))),
                    None => {
                        self.children(items, name, depth);
                        // `OrderedDict._metadata` and the like carry no tensors; a module's state does.
                        if let Some(state) = state {
                            self.visit(*state, name, depth + 1);
                        }
                    }
                }
            }
            Node::Persistent(key) => self.reference(*key, name),
            _ => {}
        }
        self.path.remove(&id);
        if self.gathered() == before {
            self.barren.insert(id);
        }
    }

    fn keep(&mut self, name: &str, tensor: StateTensor) {
        self.charge(&tensor, name);
        self.state.tensors.push(StateTensor { name: name.into(), ..tensor });
    }

    fn part(&mut self, part: StateTensor, name: &str) {
        self.charge(&part, name);
        self.state.parts.push(StateTensor { name: name.into(), ..part });
    }

    fn charge(&mut self, tensor: &StateTensor, name: &str) {
        self.copied += size_of::<StateTensor>() + tensor.shape.len() * 8 + name.len();
    }

    /// The attributes of a tensor subclass: `_rebuild_from_type_v2(function, type, arguments, state)`.
    fn attributes(&mut self, function: Id, arguments: Id, name: &str, depth: usize) {
        let pickle = self.pickle;
        let own = pickle.global(function).is_some_and(|g| &*g.name == "_rebuild_from_type_v2");
        let Some(state) = pickle.items(arguments).and_then(|items| items.get(3)).filter(|_| own) else { return };
        let listed = self.state.tensors.len();
        self.visit(*state, name, depth + 1);
        self.state.parts.extend(self.state.tensors.drain(listed..));
    }

    /// Adds a tensor that is described elsewhere.
    fn reference(&mut self, key: Id, name: &str) {
        let Some(known) = self.known else { return };
        let text = self.pickle.count(key).map(|n| n.to_string());
        match text.as_deref().or_else(|| self.pickle.text(key)).and_then(|key| known.get(key)) {
            Some(tensor) => self.keep(name, tensor.clone()),
            None => self.state.problem(|| format!("tensor {} is described nowhere", Quote(name))),
        }
    }

    /// Whether there may be tensors in a node.
    fn may_hold(&self, id: Id) -> bool {
        match self.pickle.node(id) {
            Node::Call { .. } | Node::Dict(_) | Node::List(_) | Node::Tuple(_) => true,
            Node::Persistent(_) => self.known.is_some(),
            _ => false,
        }
    }

    /// Counters that change when something is found or skipped.
    fn gathered(&self) -> (usize, usize, usize) {
        (self.state.tensors.len() + self.state.parts.len(), self.state.problems.len(), self.cut)
    }

    fn children(&mut self, items: &[(Id, Id)], name: &str, depth: usize) {
        let pickle = self.pickle;
        for (key, value) in items {
            self.items += 1;
            if self.spent() {
                self.cut += 1;
                return;
            }
            if !self.may_hold(*value) {
                continue;
            }
            let number;
            let key = match pickle.node(*key) {
                Node::Str(text) => &**text,
                Node::Int(n) => {
                    number = n.to_string();
                    &number
                }
                Node::Bool(true) => "True",
                Node::Bool(false) => "False",
                Node::None => "None",
                // A float, a tuple, bytes: the value is a tensor all the same.
                _ => "?",
            };
            // These keys of a pickled module's `__dict__` are not part of a parameter's name.
            if matches!(key, "_parameters" | "_buffers" | "_modules") {
                self.visit(*value, name, depth + 1);
            } else if key.len() + name.len() < 65_536 {
                let name = if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
                self.copied += name.len();
                self.visit(*value, &name, depth + 1);
            } else {
                self.state.problem(|| format!("a name of {} bytes", key.len() + name.len()));
            }
        }
    }

    fn sequence(&mut self, items: &[Id], name: &str, depth: usize) {
        for (i, item) in items.iter().enumerate() {
            self.items += 1;
            if self.spent() {
                self.cut += 1;
                return;
            }
            if self.may_hold(*item) {
                let name = if name.is_empty() { i.to_string() } else { format!("{name}.{i}") };
                self.copied += name.len();
                self.visit(*item, &name, depth + 1);
            }
        }
    }
}
