//! The tensors and storages that a pickle's graph describes. How records are stored is read in the
//! container's own module.

use std::collections::{BTreeMap, HashSet};

use super::dtype::{self, Dtype};
use super::pickle::{Id, Node, Pickle};

/// How deep state dicts nest before the rest is not looked at.
const DEPTH: usize = 64;
/// Objects visited: shared subtrees are visited once for each place they are at, within this.
const VISITS: usize = 4_000_000;

/// A storage that the pickle refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The class, as `FloatStorage`.
    pub class: Box<str>,
    /// Elements of the class's dtype.
    pub numel: u64,
    /// Its bytes; `None` for a class that this version does not know.
    pub bytes: Option<u64>,
}

/// A tensor in a state dict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateTensor {
    /// Its key; nested dicts joined by dots.
    pub name: Box<str>,
    /// Its dtype, when known.
    pub dtype: Option<Dtype>,
    /// Its shape.
    pub shape: Box<[u64]>,
    /// The storage's key; `None` for tensors without one (meta).
    pub storage: Option<Box<str>>,
    /// The first byte in the storage, and one past the last that it can reach; `None` on overflow.
    pub reach: Option<(u64, u64)>,
}

/// Everything of interest in a pickle.
#[derive(Debug, Default)]
pub struct State {
    /// In the pickle's order.
    pub tensors: Vec<StateTensor>,
    /// By key.
    pub storages: BTreeMap<Box<str>, Storage>,
    /// What does not fit together.
    pub problems: Vec<String>,
}

/// Reads the tensors out of a graph.
pub fn read(pickle: &Pickle) -> State {
    let mut state = State::default();
    for node in &pickle.nodes {
        if let Node::Persistent(id) = node {
            add_storage(pickle, *id, &mut state);
        }
    }
    let mut walk = Walk { pickle, state, visits: 0, path: HashSet::new() };
    walk.visit(pickle.root, "", 0);
    if walk.visits >= VISITS {
        walk.state.problems.push("it nests more than this reader follows".into());
    }
    walk.state
}

/// `('storage', torch.FloatStorage, key, location, numel[, view])`.
fn storage_parts(pickle: &Pickle, id: Id) -> Option<(Box<str>, Storage)> {
    let items = pickle.items(id)?;
    let [tag, class, key, _location, numel, ..] = items else { return None };
    if pickle.text(*tag)? != "storage" {
        return None;
    }
    let class = pickle.global(*class)?;
    let key = match pickle.node(*key) {
        Node::Str(text) => text.clone(),
        Node::Int(n) => n.to_string().into(),
        _ => return None,
    };
    let numel = pickle.count(*numel)?;
    let bytes = dtype::of_storage(&class.name).and_then(|d| d.bytes.checked_mul(numel));
    Some((key, Storage { class: class.name.clone(), numel, bytes }))
}

fn add_storage(pickle: &Pickle, id: Id, state: &mut State) {
    match storage_parts(pickle, id) {
        Some((key, storage)) => match state.storages.get(&key) {
            // Views of one storage with different classes are written with their own element counts.
            Some(known) if known.bytes != storage.bytes => {
                state.problems.push(format!(
                    "storage {key:?} is described as {:?} and as {:?} bytes",
                    known.bytes, storage.bytes
                ));
            }
            _ => {
                state.storages.insert(key, storage);
            }
        },
        None => state.problems.push("a reference out of the pickle is no storage".into()),
    }
}

struct Walk<'a> {
    pickle: &'a Pickle,
    state: State,
    visits: usize,
    /// Objects on the way from the root: a cycle ends where it closes.
    path: HashSet<Id>,
}

impl Walk<'_> {
    fn visit(&mut self, id: Id, name: &str, depth: usize) {
        self.visits += 1;
        if depth > DEPTH || self.visits >= VISITS || !self.path.insert(id) {
            return;
        }
        match self.pickle.node(id) {
            Node::Dict(items) => self.children(items, name, depth),
            Node::List(items) => self.sequence(items, name, depth),
            Node::Tuple(items) => self.sequence(items, name, depth),
            Node::Call { function, arguments, state, items } => {
                if let Some(tensor) = self.tensor(*function, *arguments, 0) {
                    self.state.tensors.push(StateTensor { name: name.into(), ..tensor });
                } else {
                    self.children(items, name, depth);
                    // `OrderedDict._metadata` and the like carry no tensors; a module's state does.
                    if let Some(state) = state {
                        self.visit(*state, name, depth + 1);
                    }
                }
            }
            _ => {}
        }
        self.path.remove(&id);
    }

    fn children(&mut self, items: &[(Id, Id)], name: &str, depth: usize) {
        for (key, value) in items {
            let key: Box<str> = match self.pickle.node(*key) {
                Node::Str(text) => text.clone(),
                Node::Int(n) => n.to_string().into(),
                _ => continue,
            };
            // Parts of a pickled module's `__dict__` that are no part of a parameter's name.
            if matches!(&*key, "_parameters" | "_buffers" | "_modules") {
                self.visit(*value, name, depth + 1);
            } else if key.len() + name.len() < 65_536 {
                let name = if name.is_empty() { key.into_string() } else { format!("{name}.{key}") };
                self.visit(*value, &name, depth + 1);
            }
        }
    }

    fn sequence(&mut self, items: &[Id], name: &str, depth: usize) {
        for (i, item) in items.iter().enumerate() {
            if matches!(self.pickle.node(*item), Node::Call { .. } | Node::Dict(_) | Node::List(_) | Node::Tuple(_)) {
                let name = if name.is_empty() { i.to_string() } else { format!("{name}.{i}") };
                self.visit(*item, &name, depth + 1);
            }
        }
    }

    /// The tensor that a call would rebuild.
    fn tensor(&self, function: Id, arguments: Id, depth: usize) -> Option<StateTensor> {
        let pickle = self.pickle;
        let function = pickle.global(function)?;
        let arguments = pickle.items(arguments)?;
        match (&*function.module, &*function.name) {
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_qtensor") => {
                self.strided(arguments, None)
            }
            // (storage, offset, size, stride, requires_grad, hooks, dtype, metadata)
            ("torch._utils", "_rebuild_tensor_v3") => self.strided(arguments, Some(*arguments.get(6)?)),
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")
            | ("torch.nn.parameter", "Parameter")
                if depth < 4 =>
            {
                self.inner(*arguments.first()?, depth)
            }
            // (function, type, arguments, state)
            ("torch._tensor", "_rebuild_from_type_v2") if depth < 4 => {
                self.tensor(*arguments.first()?, *arguments.get(2)?, depth + 1)
            }
            // (dtype, size, stride, requires_grad)
            ("torch._utils", "_rebuild_meta_tensor_no_storage") => Some(StateTensor {
                name: Box::default(),
                dtype: pickle.global(*arguments.first()?).and_then(|g| dtype::of_torch(&g.name)),
                shape: self.counts(*arguments.get(1)?)?,
                storage: None,
                reach: Some((0, 0)),
            }),
            _ => None,
        }
    }

    fn inner(&self, id: Id, depth: usize) -> Option<StateTensor> {
        match self.pickle.node(id) {
            Node::Call { function, arguments, .. } => self.tensor(*function, *arguments, depth + 1),
            _ => None,
        }
    }

    fn counts(&self, id: Id) -> Option<Box<[u64]>> {
        let items = match self.pickle.node(id) {
            // torch.Size((2, 3))
            Node::Call { arguments, .. } => self.pickle.items(*self.pickle.items(*arguments)?.first()?)?,
            _ => self.pickle.items(id)?,
        };
        items.iter().map(|i| self.pickle.count(*i)).collect()
    }

    /// `(storage, offset, size, stride, ...)`, counted in elements of `dtype` or of the storage's class.
    fn strided(&self, arguments: &[Id], dtype: Option<Id>) -> Option<StateTensor> {
        let pickle = self.pickle;
        let [storage, offset, size, stride, ..] = arguments else { return None };
        let Node::Persistent(id) = pickle.node(*storage) else { return None };
        let (key, storage) = storage_parts(pickle, *id)?;
        let dtype = match dtype {
            Some(id) => pickle.global(id).and_then(|g| dtype::of_torch(&g.name)),
            None => dtype::of_storage(&storage.class),
        };
        let (offset, shape, stride) = (pickle.count(*offset)?, self.counts(*size)?, self.counts(*stride)?);
        if shape.len() != stride.len() {
            return None;
        }
        let item = dtype.map_or(0, |d| d.bytes);
        let reach = || -> Option<(u64, u64)> {
            let mut last = offset;
            if shape.contains(&0) {
                return Some((0, 0));
            }
            for (dim, step) in shape.iter().zip(&stride) {
                last = last.checked_add((dim - 1).checked_mul(*step)?)?;
            }
            Some((offset.checked_mul(item)?, last.checked_add(1)?.checked_mul(item)?))
        };
        Some(StateTensor { name: Box::default(), dtype, reach: reach(), shape, storage: Some(key) })
    }
}
