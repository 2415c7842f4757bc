//! The tensor that one of torch's rebuild functions (`torch/_utils.py`, `torch/_tensor.py`) makes: its dtype,
//! shape and bytes. The tensor's name is found where the pickle is walked.

use super::dtype::{self, TorchDtype};
use super::pickle::{Id, Node, Pickle};
use super::state::{StateTensor, storage_parts};

/// Dimensions of a tensor; torch has no limit of its own, and operates on 64.
const DIMENSIONS: usize = 1024;
/// Levels of calls in calls: a parameter of a subclass of a tensor.
const DEPTH: usize = 4;
/// The most arguments of a sparse tensor: the tensors that it is made of, and its size.
const SPARSE: usize = 4;

/// A tensor without its name, or why there is none.
pub(super) type Rebuilt = Result<StateTensor, &'static str>;

const SHAPE: &str = "its shape or strides are not counts";
const STORAGE: &str = "it refers to no storage";

/// The tensor that a call would rebuild, or why it could not; `None` for a call of anything else. The
/// tensors that it is made of are added to `parts`.
pub(super) fn rebuilt(pickle: &Pickle, function: Id, arguments: Id, parts: &mut Vec<StateTensor>) -> Option<Rebuilt> {
    call(pickle, function, arguments, parts, 0)
}

fn call(pickle: &Pickle, function: Id, arguments: Id, parts: &mut Vec<StateTensor>, depth: usize) -> Option<Rebuilt> {
    let function = pickle.global(function)?;
    let arguments = pickle.items(arguments).unwrap_or(&[]);
    let dtype = |at: usize| arguments.get(at).and_then(|id| pickle.global(*id)).and_then(|g| dtype::of_torch(&g.name));
    let shape = |at: usize| arguments.get(at).and_then(|id| counts(pickle, *id));
    match (&*function.module, &*function.name) {
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_qtensor") => {
            Some(strided(pickle, arguments, None))
        }
        // (storage, offset, size, stride, requires_grad, hooks, dtype, metadata)
        ("torch._utils", "_rebuild_tensor_v3") => Some(match arguments.get(6) {
            Some(dtype) => strided(pickle, arguments, Some(*dtype)),
            None => Err("its dtype is missing"),
        }),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")
        | ("torch.nn.parameter", "Parameter") => inner(pickle, *arguments.first()?, parts, depth),
        // (function, type, arguments, state)
        ("torch._tensor", "_rebuild_from_type_v2") if depth < DEPTH => {
            call(pickle, *arguments.first()?, *arguments.get(2)?, parts, depth + 1)
        }
        // (dtype, size, stride, requires_grad)
        ("torch._utils", "_rebuild_meta_tensor_no_storage") => Some(without_storage(dtype(0), shape(1))),
        // (type, dtype, size, stride, offset, layout, device, requires_grad)
        ("torch._utils", "_rebuild_wrapper_subclass") => Some(without_storage(dtype(1), shape(2))),
        ("torch._utils", "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor") => {
            Some(sparse(pickle, arguments, parts))
        }
        _ => None,
    }
}

fn inner(pickle: &Pickle, id: Id, parts: &mut Vec<StateTensor>, depth: usize) -> Option<Rebuilt> {
    match pickle.node(id) {
        Node::Call { function, arguments, .. } if depth < DEPTH => {
            call(pickle, *function, *arguments, parts, depth + 1)
        }
        _ => None,
    }
}

fn without_storage(dtype: Option<TorchDtype>, shape: Option<Box<[u64]>>) -> Rebuilt {
    let shape = shape.ok_or(SHAPE)?;
    Ok(StateTensor { name: Box::default(), dtype, shape, storage: None, reach: Some((0, 0)) })
}

/// `(layout, (indices, values, size, ...))` or `(layout, (indices, indices, values, size, ...))`.
fn sparse(pickle: &Pickle, arguments: &[Id], parts: &mut Vec<StateTensor>) -> Rebuilt {
    let data = arguments.get(1).and_then(|id| pickle.items(*id)).ok_or(SHAPE)?;
    let mut dtype = None;
    for id in data.iter().take(SPARSE) {
        // The parts must be plain tensors: at this depth nothing else is followed.
        match inner(pickle, *id, &mut Vec::new(), DEPTH - 1) {
            Some(tensor) => {
                let tensor = tensor?;
                dtype = tensor.dtype;
                parts.push(tensor);
            }
            None => return without_storage(dtype, counts(pickle, *id)),
        }
    }
    Err(SHAPE)
}

fn counts(pickle: &Pickle, id: Id) -> Option<Box<[u64]>> {
    let items = match pickle.node(id) {
        // torch.Size((2, 3))
        Node::Call { arguments, .. } => pickle.items(*pickle.items(*arguments)?.first()?)?,
        _ => pickle.items(id)?,
    };
    if items.len() > DIMENSIONS {
        return None;
    }
    items.iter().map(|i| pickle.count(*i)).collect()
}

/// `(storage, offset, size, stride, ...)`, counted in elements of `dtype` or of the storage's class.
fn strided(pickle: &Pickle, arguments: &[Id], dtype: Option<Id>) -> Rebuilt {
    let [storage, offset, size, stride, ..] = arguments else { return Err("it is rebuilt from too little") };
    let Node::Persistent(id) = pickle.node(*storage) else { return Err(STORAGE) };
    let (key, storage) = storage_parts(pickle, *id).ok_or(STORAGE)?;
    let dtype = match dtype {
        Some(id) => pickle.global(id).and_then(|g| dtype::of_torch(&g.name)),
        None => dtype::of_storage(&storage.class),
    };
    let offset = pickle.count(*offset).ok_or("its offset is not a count")?;
    let (shape, stride) = counts(pickle, *size).zip(counts(pickle, *stride)).ok_or(SHAPE)?;
    if shape.len() != stride.len() {
        return Err("its shape and strides differ in length");
    }
    let reach = reach(offset, &shape, &stride, dtype);
    Ok(StateTensor { name: Box::default(), dtype, reach, shape, storage: Some(key) })
}

/// The bytes of a storage from the first that a tensor has to one past the last; `None` on overflow.
pub(super) fn reach(offset: u64, shape: &[u64], stride: &[u64], dtype: Option<TorchDtype>) -> Option<(u64, u64)> {
    if shape.contains(&0) {
        return Some((0, 0));
    }
    let item = dtype.map_or(0, |d| d.bytes);
    // Several elements share a byte, but rows share none (`get_sub_byte_tensor_size` of
    // `aten/src/ATen/EmptyTensor.h`); such tensors are never views.
    let packed = match dtype.map(|d| d.name) {
        Some("quint4x2") => 2,
        Some("quint2x4") => 4,
        _ => 1,
    };
    if packed > 1 {
        let (row, rows) = shape.split_last().unwrap_or((&1, &[]));
        let bytes = rows.iter().try_fold(row.div_ceil(packed), |n, d| n.checked_mul(*d))?;
        return Some((offset, offset.checked_add(bytes)?));
    }
    let mut last = offset;
    for (dim, step) in shape.iter().zip(stride) {
        last = last.checked_add((dim - 1).checked_mul(*step)?)?;
    }
    Some((offset.checked_mul(item)?, last.checked_add(1)?.checked_mul(item)?))
}
