//! The tensors and storages that a pickle's graph describes. How records are stored is read in the
//! container's own module.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::dtype::{self, Dtype};
use super::pickle::{Id, Node, Pickle};
use crate::verify::findings::Quote;

/// How deep state dicts nest before the rest is not looked at.
const DEPTH: usize = 64;
/// Objects visited: shared subtrees are visited once for each place they are at, within this.
const VISITS: usize = 4_000_000;
/// Bytes of names made on the way, and of shapes: a shared tensor's are copied for each place it is at.
const COPIED: usize = 256 << 20;
/// Bytes of a storage's key. Writers count: `"0"`, `"1"`, or a memory address in old files.
const KEY: usize = 256;
/// Dimensions of a tensor; torch's own limits are below.
const DIMENSIONS: usize = 1024;
/// Problems listed.
const PROBLEMS: usize = 20;

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
    walk(pickle, state, None)
}

/// The same where references out of the pickle are tensors that are `known` by their keys.
pub(super) fn named(pickle: &Pickle, known: &HashMap<Box<str>, StateTensor>) -> State {
    walk(pickle, State::default(), Some(known))
}

fn walk(pickle: &Pickle, state: State, known: Option<&HashMap<Box<str>, StateTensor>>) -> State {
    let mut walk =
        Walk { pickle, known, state, visits: 0, copied: 0, path: HashSet::new(), barren: HashSet::new(), cut: 0 };
    walk.visit(pickle.root, "", 0);
    if walk.spent() {
        walk.state.problem(|| "it nests more than this reader follows".into());
    }
    walk.state
}

impl State {
    /// Notes a problem, unless there are many already.
    fn problem(&mut self, text: impl FnOnce() -> String) {
        if self.problems.len() < PROBLEMS {
            self.problems.push(text());
        }
    }
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
        Node::Str(text) if text.len() <= KEY => text.clone(),
        Node::Int(n) => n.to_string().into(),
        _ => return None,
    };
    let numel = pickle.count(*numel)?;
    // On overflow more bytes than any record has: that is then what is found.
    let bytes = dtype::of_storage(&class.name).map(|d| d.bytes.saturating_mul(numel));
    Some((key, Storage { class: class.name.clone(), numel, bytes }))
}

/// `('module', class, file, source)`: how torch before 1.6 noted a module's source code.
fn is_module_source(pickle: &Pickle, id: Id) -> bool {
    pickle.items(id).and_then(|items| pickle.text(*items.first()?)) == Some("module")
}

fn add_storage(pickle: &Pickle, id: Id, state: &mut State) {
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
        None => state.problem(|| "a reference out of the pickle is no storage".into()),
    }
}

/// The bytes of a storage from the first that a tensor has to one past the last; `None` on overflow.
pub(super) fn reach(offset: u64, shape: &[u64], stride: &[u64], item: u64) -> Option<(u64, u64)> {
    if shape.contains(&0) {
        return Some((0, 0));
    }
    let mut last = offset;
    for (dim, step) in shape.iter().zip(stride) {
        last = last.checked_add((dim - 1).checked_mul(*step)?)?;
    }
    Some((offset.checked_mul(item)?, last.checked_add(1)?.checked_mul(item)?))
}

struct Walk<'a> {
    pickle: &'a Pickle,
    /// Tensors that references out of the pickle stand for.
    known: Option<&'a HashMap<Box<str>, StateTensor>>,
    state: State,
    visits: usize,
    copied: usize,
    /// Objects on the way from the root: a cycle ends where it closes.
    path: HashSet<Id>,
    /// Objects that hold no tensor, however they are reached.
    barren: HashSet<Id>,
    /// How often the way ended early, so that nothing is known of what lies behind.
    cut: usize,
}

impl Walk<'_> {
    fn spent(&self) -> bool {
        self.visits >= VISITS || self.copied >= COPIED
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
            Node::Call { function, arguments, state, items } => match self.tensor(*function, *arguments, 0) {
                Some(Ok(tensor)) => {
                    self.copied += size_of::<StateTensor>() + tensor.shape.len() * 8 + name.len();
                    self.state.tensors.push(StateTensor { name: name.into(), ..tensor });
                }
                Some(Err(why)) => self.state.problem(|| format!("tensor {}: {why}", Quote(name))),
                None => {
                    self.children(items, name, depth);
                    // `OrderedDict._metadata` and the like carry no tensors; a module's state does.
                    if let Some(state) = state {
                        self.visit(*state, name, depth + 1);
                    }
                }
            },
            Node::Persistent(key) => self.reference(*key, name),
            _ => {}
        }
        self.path.remove(&id);
        if self.gathered() == before {
            self.barren.insert(id);
        }
    }

    /// A tensor that is described elsewhere.
    fn reference(&mut self, key: Id, name: &str) {
        let Some(known) = self.known else { return };
        let text = self.pickle.count(key).map(|n| n.to_string());
        match text.as_deref().or_else(|| self.pickle.text(key)).and_then(|key| known.get(key)) {
            Some(tensor) => {
                self.copied += size_of::<StateTensor>() + tensor.shape.len() * 8 + name.len();
                self.state.tensors.push(StateTensor { name: name.into(), ..tensor.clone() });
            }
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

    /// Changes when something is found, or not looked at.
    fn gathered(&self) -> (usize, usize, usize) {
        (self.state.tensors.len(), self.state.problems.len(), self.cut)
    }

    fn children(&mut self, items: &[(Id, Id)], name: &str, depth: usize) {
        let pickle = self.pickle;
        for (key, value) in items {
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
                _ => continue,
            };
            // Parts of a pickled module's `__dict__` that are no part of a parameter's name.
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

    /// The tensor that a call would rebuild, or why it could not; `None` for a call of anything else.
    fn tensor(&self, function: Id, arguments: Id, depth: usize) -> Option<Rebuilt> {
        let pickle = self.pickle;
        let function = pickle.global(function)?;
        let arguments = pickle.items(arguments).unwrap_or(&[]);
        match (&*function.module, &*function.name) {
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_qtensor") => {
                Some(self.strided(arguments, None))
            }
            // (storage, offset, size, stride, requires_grad, hooks, dtype, metadata)
            ("torch._utils", "_rebuild_tensor_v3") => Some(match arguments.get(6) {
                Some(dtype) => self.strided(arguments, Some(*dtype)),
                None => Err("its dtype is missing"),
            }),
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
            ("torch._utils", "_rebuild_meta_tensor_no_storage") => Some(Self::without_storage(
                arguments.first().and_then(|id| pickle.global(*id)).and_then(|g| dtype::of_torch(&g.name)),
                arguments.get(1).and_then(|id| self.counts(*id)),
            )),
            ("torch._utils", "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor") => {
                Some(self.sparse(arguments, depth))
            }
            _ => None,
        }
    }

    fn without_storage(dtype: Option<Dtype>, shape: Option<Box<[u64]>>) -> Rebuilt {
        let shape = shape.ok_or(SHAPE)?;
        Ok(StateTensor { name: Box::default(), dtype, shape, storage: None, reach: Some((0, 0)) })
    }

    /// `(layout, (indices, values, size, ...))` or `(layout, (indices, indices, values, size, ...))`.
    fn sparse(&self, arguments: &[Id], depth: usize) -> Rebuilt {
        let data = arguments.get(1).and_then(|id| self.pickle.items(*id)).ok_or(SHAPE)?;
        let mut values = None;
        for id in data {
            match self.inner(*id, depth) {
                Some(tensor) => values = Some(tensor?),
                None => return Self::without_storage(values.and_then(|v| v.dtype), self.counts(*id)),
            }
        }
        Err(SHAPE)
    }

    fn inner(&self, id: Id, depth: usize) -> Option<Rebuilt> {
        match self.pickle.node(id) {
            Node::Call { function, arguments, .. } if depth < 4 => self.tensor(*function, *arguments, depth + 1),
            _ => None,
        }
    }

    fn counts(&self, id: Id) -> Option<Box<[u64]>> {
        let items = match self.pickle.node(id) {
            // torch.Size((2, 3))
            Node::Call { arguments, .. } => self.pickle.items(*self.pickle.items(*arguments)?.first()?)?,
            _ => self.pickle.items(id)?,
        };
        if items.len() > DIMENSIONS {
            return None;
        }
        items.iter().map(|i| self.pickle.count(*i)).collect()
    }

    /// `(storage, offset, size, stride, ...)`, counted in elements of `dtype` or of the storage's class.
    fn strided(&self, arguments: &[Id], dtype: Option<Id>) -> Rebuilt {
        let pickle = self.pickle;
        let [storage, offset, size, stride, ..] = arguments else { return Err("it is rebuilt from too little") };
        let Node::Persistent(id) = pickle.node(*storage) else { return Err(STORAGE) };
        let (key, storage) = storage_parts(pickle, *id).ok_or(STORAGE)?;
        let dtype = match dtype {
            Some(id) => pickle.global(id).and_then(|g| dtype::of_torch(&g.name)),
            None => dtype::of_storage(&storage.class),
        };
        let offset = pickle.count(*offset).ok_or("its offset is no count")?;
        let (shape, stride) = self.counts(*size).zip(self.counts(*stride)).ok_or(SHAPE)?;
        if shape.len() != stride.len() {
            return Err("its shape and strides differ in length");
        }
        let item = dtype.map_or(0, |d| d.bytes);
        let reach = reach(offset, &shape, &stride, item);
        Ok(StateTensor { name: Box::default(), dtype, reach, shape, storage: Some(key) })
    }
}

type Rebuilt = Result<StateTensor, &'static str>;

const SHAPE: &str = "its shape or strides are no counts";
const STORAGE: &str = "it refers to no storage";
