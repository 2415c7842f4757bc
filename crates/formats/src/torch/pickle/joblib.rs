//! The arrays that joblib writes raw between a pickle's instructions (`joblib/numpy_pickle.py`,
//! `NumpyArrayWrapper`): how many bytes they have. The calls are judged elsewhere.

use super::{Id, Node, Pickle};

/// The error for an array that cannot be skipped, as its size is not known.
const UNKNOWN: &str = "joblib keeps an array of unknown size here";

/// `NPY_ITEM_HASOBJECT`.
const HAS_OBJECT: u64 = 1;

/// An array after its description.
pub(super) struct Array {
    /// Its bytes; `None` for an array of objects, which is a pickle.
    pub bytes: Option<usize>,
    /// Whether padding comes first, after a byte with its length.
    pub aligned: bool,
}

/// The array that follows once `id` has its state; `None` if `id` describes none.
pub(super) fn array(pickle: &Pickle, id: Id) -> Option<Result<Array, &'static str>> {
    let Node::Call { function, state: Some(state), .. } = pickle.node(id) else { return None };
    let class = pickle.global(*function)?;
    let wrapper = &*class.module == "joblib.numpy_pickle" && &*class.name == "NumpyArrayWrapper";
    wrapper.then(|| described(pickle, *state).ok_or(UNKNOWN))
}

fn described(pickle: &Pickle, state: Id) -> Option<Array> {
    let Node::Dict(items) = pickle.node(state) else { return None };
    let value = |name: &str| items.iter().rev().find(|(key, _)| pickle.text(*key) == Some(name)).map(|(_, v)| *v);
    let count = pickle
        .items(value("shape")?)?
        .iter()
        .try_fold(1u64, |count, length| count.checked_mul(pickle.count(*length)?))?;
    let aligned = value("numpy_array_alignment_bytes").is_some_and(|id| pickle.count(id).is_some());
    let Node::Call { function, arguments, state, .. } = pickle.node(value("dtype")?) else { return None };
    let function = pickle.global(*function)?;
    if (&*function.module, &*function.name) != ("numpy", "dtype") {
        return None;
    }
    // `f8`, `U10`, `M8`, `O8`; a dtype with fields is like `V16`, and its flags say whether a field is an object.
    let code = pickle.text(*pickle.items(*arguments)?.first()?)?;
    let kind = code.chars().next()?;
    if kind == 'O' {
        return Some(Array { bytes: None, aligned: false });
    }
    let item: u64 = code.get(kind.len_utf8()..)?.parse().ok()?;
    let item = match kind {
        'b' | 'i' | 'u' | 'f' | 'c' | 'S' | 'M' | 'm' => item,
        'U' => item.checked_mul(4)?,
        'V' => {
            // (version, order, subtype, names, fields, size, alignment, flags)
            let flags = pickle.count(*pickle.items((*state)?)?.get(7)?)?;
            if flags & HAS_OBJECT != 0 {
                return Some(Array { bytes: None, aligned: false });
            }
            item
        }
        _ => return None,
    };
    Some(Array { bytes: Some(usize::try_from(count.checked_mul(item)?).ok()?), aligned })
}
