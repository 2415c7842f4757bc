//! The functions that a pickle may call: the makers of data that honest checkpoints call, each with the
//! arguments that it must have. Any other call of Python's standard library, torch or numpy is unsafe; classes
//! of other packages need a full unpickling. `globals` judges names that are only imported.

use std::collections::HashSet;

use super::globals::{Trust, trust};
use super::packages::{CLASSES_ONLY, UNSAFE_PACKAGES, holds, is_standard};
use super::pickle::{Id, Node, Pickle};

/// Levels of calls in calls that are followed: partial functions, rebuilt subclasses.
const DEPTH: usize = 4;

/// Modules of torch whose classes are data: parts of models, parts of optimizers, and descriptions of both.
const TORCH_CLASSES: &[&str] = &[
    "torch.ao.nn",
    "torch.ao.quantization",
    "torch.distributed._shard",
    "torch.distributed._tensor.placement_types",
    "torch.distributed.checkpoint.filesystem",
    "torch.distributed.checkpoint.metadata",
    "torch.distributed.tensor._dtensor_spec",
    "torch.distributed.tensor.placement_types",
    "torch.distributions",
    "torch.nn",
    "torch.optim",
    "torch.quantization",
];

/// Modules of numeric packages that read files or compile.
const READS_FILES: &[&str] = &["scipy.datasets", "scipy.io", "scipy.misc", "scipy.weave", "sklearn.datasets"];

/// Whether the name alone makes a call harmless.
fn is_maker(module: &str, name: &str) -> bool {
    match module {
        "collections" => {
            matches!(name, "OrderedDict" | "Counter" | "deque" | "ChainMap" | "UserDict" | "UserList" | "UserString")
        }
        "builtins" => {
            matches!(
                name,
                "set"
                    | "frozenset"
                    | "bytes"
                    | "bytearray"
                    | "complex"
                    | "slice"
                    | "range"
                    | "list"
                    | "dict"
                    | "tuple"
                    | "int"
                    | "float"
                    | "str"
                    | "bool"
                    | "object"
            ) || is_exception(name)
        }
        "datetime" => !name.contains('.') || name == "datetime.datetime",
        "_datetime" | "_pydatetime" | "numpy.dtypes" | "torch.jit._pickle" => !name.contains('.'),
        "decimal" | "_decimal" | "_pydecimal" => name == "Decimal",
        "fractions" => name == "Fraction",
        "uuid" => matches!(name, "UUID" | "SafeUUID"),
        "ipaddress" => name.starts_with("IPv") && !name.contains('.'),
        "pathlib" | "pathlib._local" => is_path(name),
        "argparse" => name == "Namespace",
        "types" => matches!(name, "SimpleNamespace" | "GenericAlias" | "MappingProxyType"),
        "array" => matches!(name, "array" | "_array_reconstructor"),
        "re" | "re._compiler" => name == "_compile",
        "_io" | "io" => matches!(name, "BytesIO" | "StringIO"),
        "random" => name == "Random",
        "inspect" => matches!(name, "Parameter" | "Signature" | "_ParameterKind"),
        "itertools" => name == "count",
        "logging" => name == "getLogger",
        "time" => name == "struct_time",
        "torch.torch_version" => name == "TorchVersion",
        "zoneinfo" => name == "ZoneInfo._unpickle",
        "distutils.version" => matches!(name, "LooseVersion" | "StrictVersion"),
        "joblib.numpy_pickle" => matches!(name, "NumpyArrayWrapper" | "NDArrayWrapper"),
        "numpy.core.numeric" | "numpy._core.numeric" => name == "_frombuffer",
        "numpy.core.multiarray" | "numpy._core.multiarray" => name == "scalar",
        "numpy" => name == "dtype",
        "numpy.random.bit_generator" => name == "__pyx_unpickle_SeedSequence",
        "torch._utils" => {
            matches!(name, "_rebuild_nested_tensor" | "_rebuild_xla_tensor" | "_rebuild_sparse_csr_tensor")
        }
        "torch._C" => name == "Generator",
        _ => false,
    }
}

fn is_exception(name: &str) -> bool {
    ["Error", "Exception", "Warning"].iter().any(|ending| name.ends_with(ending))
        || matches!(name, "StopIteration" | "StopAsyncIteration" | "KeyboardInterrupt" | "GeneratorExit")
}

fn is_path(name: &str) -> bool {
    matches!(name, "Path" | "PurePath" | "PosixPath" | "PurePosixPath" | "WindowsPath" | "PureWindowsPath")
}

/// Whether an import is harmless only when it is called with certain arguments, and so unsafe anywhere
/// else: a default factory, a partial function or a class's own `__setstate__` could call it.
pub(super) fn is_conditional(module: &str, name: &str) -> bool {
    matches!(
        (module, name),
        ("builtins", "getattr" | "type" | "iter")
            | ("operator" | "_operator", "getitem" | "or_" | "add" | "mul")
            | ("functools" | "_functools", "reduce")
            | ("numpy.random._pickle", "__bit_generator_ctor" | "__generator_ctor" | "__randomstate_ctor")
            | ("numpy.random", "__RandomState_ctor")
            | ("copyreg", "_reconstructor" | "__newobj__" | "__newobj_ex__")
            | ("torch.storage", "_load_from_bytes")
            | ("zoneinfo", "ZoneInfo._unpickle")
    )
}

/// The import that is called. torch's references to a module's class with its source are imports too.
fn import(pickle: &Pickle, id: Id) -> Option<(&str, &str)> {
    let id = match pickle.node(id) {
        Node::Persistent(id) => match pickle.items(*id)? {
            [tag, class, ..] if pickle.text(*tag) == Some("module") => *class,
            _ => return None,
        },
        _ => id,
    };
    pickle.global(id).map(|global| (&*global.module, &*global.name))
}

/// A name of the called function, for people.
pub(super) fn called_name(pickle: &Pickle, function: Id) -> String {
    let mut id = function;
    for _ in 0..DEPTH {
        match pickle.node(id) {
            Node::Call { function, .. } => id = *function,
            _ => break,
        }
    }
    match import(pickle, id) {
        Some((module, name)) if id == function => format!("{module}.{name}"),
        Some((module, name)) => format!("the result of {module}.{name}"),
        None => "something that is not an import".to_owned(),
    }
}

/// Judges a call; `function` may be anything, `arguments` should be a tuple.
pub(super) fn called(pickle: &Pickle, function: Id, arguments: Id) -> Trust {
    match pickle.items(arguments) {
        Some(arguments) => call(pickle, function, arguments, 0),
        // Without a tuple of arguments the call fails when the pickle is loaded, so only its name is judged.
        None => call(pickle, function, &[], 0),
    }
}

fn call(pickle: &Pickle, function: Id, given: &[Id], depth: usize) -> Trust {
    let Some((module, name)) = import(pickle, function) else { return Trust::Dangerous };
    if depth > DEPTH {
        return Trust::Dangerous;
    }
    let full = |fine: bool| if fine { Trust::NeedsFullUnpickle } else { Trust::Dangerous };
    if is_conditional(module, name)
        || matches!((module, name), ("functools", "partial") | ("collections", "defaultdict"))
    {
        return full(is_fine(pickle, (module, name), given, depth));
    }
    let known = match trust(module, name) {
        Trust::Dangerous => return Trust::Dangerous,
        trust => trust,
    };
    match (module, name) {
        // The encoding must be a known one: Python has encodings that decompress.
        ("_codecs", "encode") => match given {
            [_] => known,
            [_, encoding] if pickle.text(*encoding).is_some_and(is_latin) => known,
            _ => Trust::Dangerous,
        },
        // (function, type, arguments, state)
        ("torch._tensor", "_rebuild_from_type_v2" | "_rebuild_from_type") => match given {
            [function, _, arguments, ..] => {
                match call(pickle, *function, pickle.items(*arguments).unwrap_or(&[]), depth + 1) {
                    Trust::Allowed => known,
                    worse => worse,
                }
            }
            _ => Trust::Dangerous,
        },
        ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") | ("numpy.ma.core", "_mareconstruct") => {
            full(given.first().is_none_or(|class| is_class(pickle, *class, depth)))
        }
        _ if known == Trust::Allowed => known,
        _ if is_maker(module, name) => Trust::NeedsFullUnpickle,
        _ => package(module, name),
    }
}

fn is_latin(encoding: &str) -> bool {
    matches!(encoding, "latin1" | "latin-1" | "iso-8859-1" | "utf-8" | "utf8" | "ascii")
}

/// Judges the call of a function that is not a known maker.
fn package(module: &str, name: &str) -> Trust {
    let root = module.split('.').next().unwrap_or(module);
    let last = name.rsplit('.').next().unwrap_or(name);
    let class = !name.contains('.') && name.trim_start_matches('_').starts_with(|c: char| c.is_ascii_uppercase());
    let below = |known: &str| module.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let fine = match root {
        "torch" => class && TORCH_CLASSES.iter().any(|known| below(known)),
        "numpy" => false,
        _ if is_standard(module) => false,
        _ if holds(&UNSAFE_PACKAGES, root) => false,
        "scipy" | "sklearn" => !READS_FILES.iter().any(|known| below(known)),
        _ if holds(&CLASSES_ONLY, root) => {
            class || last.contains("unpickle") || last.starts_with("_new_") || last.starts_with("_reconstruct")
        }
        _ => true,
    };
    if fine { Trust::NeedsFullUnpickle } else { Trust::Dangerous }
}

/// Whether an object of this class may be made.
fn is_class(pickle: &Pickle, id: Id, depth: usize) -> bool {
    let Some((module, name)) = import(pickle, id) else { return false };
    let numpys = module == "numpy" || module.starts_with("numpy.");
    trust(module, name) != Trust::Dangerous
        && (numpys && !name.contains('.') || call(pickle, id, &[], depth + 1) != Trust::Dangerous)
}

/// Whether the arguments are those with which the function only makes data.
fn is_fine(pickle: &Pickle, function: (&str, &str), given: &[Id], depth: usize) -> bool {
    let named = |id: &Id, module: &str, name: &str| import(pickle, *id) == Some((module, name));
    let made = |id: &Id| matches!(pickle.node(*id), Node::Call { .. });
    let harmless = |id: &Id, given: &[Id]| call(pickle, *id, given, depth + 1) != Trust::Dangerous;
    match (function, given) {
        // An attribute of a class, or of the result of an allowed call.
        (("builtins", "getattr"), [object, name]) => {
            let class = import(pickle, *object).is_some_and(|(module, name)| trust(module, name) != Trust::Dangerous);
            let text = pickle.text(*name).is_some_and(|name| !name.starts_with('_') && !name.is_empty());
            text && (made(object) || class)
        }
        (("builtins", "type" | "iter"), [one]) => import(pickle, *one).is_none(),
        (("operator" | "_operator", "getitem"), [object, _]) => import(pickle, *object)
            .is_some_and(|(module, name)| module == "typing" && !name.contains('.') && !name.starts_with('_')),
        (("operator" | "_operator", "add" | "mul"), [a, b]) => {
            [a, b].iter().all(|id| matches!(pickle.node(**id), Node::Int(_) | Node::Number))
        }
        (("functools" | "_functools", "reduce"), [or, types]) => {
            (named(or, "operator", "or_") || named(or, "_operator", "or_"))
                && pickle.items(*types).is_some_and(|types| {
                    types.iter().all(|id| {
                        import(pickle, *id).is_some() || matches!(pickle.node(*id), Node::None | Node::Call { .. })
                    })
                })
        }
        // They call their second argument; the last of them makes an object of any class that it is given.
        (("numpy.random._pickle", "__bit_generator_ctor") | ("collections", "defaultdict"), []) => true,
        (("numpy.random._pickle", "__bit_generator_ctor"), [kind]) => is_generator(pickle, *kind),
        (
            ("numpy.random._pickle", "__generator_ctor" | "__randomstate_ctor")
            | ("numpy.random", "__RandomState_ctor"),
            rest,
        ) => match rest {
            [] => true,
            [kind] => made(kind) || is_generator(pickle, *kind),
            [kind, ctor] => {
                (made(kind) || is_generator(pickle, *kind))
                    && named(ctor, "numpy.random._pickle", "__bit_generator_ctor")
            }
            _ => false,
        },
        // If the base is not `object`, it calls the base, too.
        (("copyreg", "_reconstructor"), [class, base, state]) => {
            harmless(class, &[]) && (named(base, "builtins", "object") || harmless(base, std::slice::from_ref(state)))
        }
        (("copyreg", "__newobj__"), [class, rest @ ..]) => harmless(class, rest),
        (("copyreg", "__newobj_ex__"), [class, arguments, _]) => {
            harmless(class, pickle.items(*arguments).unwrap_or(&[]))
        }
        (("functools", "partial"), [function, rest @ ..]) => harmless(function, rest),
        // A defaultdict calls its factory later, without arguments.
        (("collections", "defaultdict"), [factory, ..]) => {
            // A partial function was judged where it was made; the result of another call may be any function.
            let partial = |id: Id| match pickle.node(id) {
                Node::Call { function, .. } => named(function, "functools", "partial"),
                other => *other == Node::None,
            };
            partial(*factory) || harmless(factory, &[])
        }
        // The bytes that it loads are judged as a file of their own.
        (("torch.storage", "_load_from_bytes"), [bytes]) => is_bytes(pickle, *bytes),
        (("zoneinfo", "ZoneInfo._unpickle"), [key, _]) => {
            pickle.text(*key).is_some_and(|key| !key.starts_with('/') && !key.contains(".."))
        }
        _ => false,
    }
}

/// Whether it is one of numpy's generators of random bits, by its name or class.
fn is_generator(pickle: &Pickle, id: Id) -> bool {
    let known = |name: &str| matches!(name, "MT19937" | "PCG64" | "PCG64DXSM" | "Philox" | "SFC64");
    match import(pickle, id) {
        Some((module, name)) => (module == "numpy.random" || module.starts_with("numpy.random.")) && known(name),
        None => pickle.text(id).is_some_and(known),
    }
}

/// A file inside a pickle.
pub(super) enum Nested {
    /// In the pickle's bytes: the first byte and the number of bytes.
    Span(u64, u64),
    /// In a text of which each character is a byte.
    Held(Vec<u8>),
}

/// Whether a node is bytes that [`nested`] reads, without reading them: a call may be there a million times.
fn is_bytes(pickle: &Pickle, id: Id) -> bool {
    match pickle.node(id) {
        Node::Bytes { .. } | Node::Str(_) => true,
        Node::Call { function, arguments, .. } => {
            import(pickle, *function) == Some(("_codecs", "encode"))
                && matches!(pickle.items(*arguments), Some([text, _]) if pickle.text(*text).is_some())
        }
        _ => false,
    }
}

/// The bytes of a node: `b"..."`, or, in protocols before 3, `_codecs.encode("...", "latin1")`.
pub(super) fn nested(pickle: &Pickle, id: Id) -> Option<Nested> {
    match pickle.node(id) {
        Node::Bytes { start, length } => Some(Nested::Span(*start, *length)),
        Node::Str(text) => Some(Nested::Held(latin(text)?)),
        Node::Call { function, arguments, .. } => match (import(pickle, *function)?, pickle.items(*arguments)?) {
            (("_codecs", "encode"), [text, _]) => Some(Nested::Held(latin(pickle.text(*text)?)?)),
            _ => None,
        },
        _ => None,
    }
}

fn latin(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

/// Files inside the pickle that it would have torch load, each once, however often it is loaded.
pub(super) fn nested_files(pickle: &Pickle) -> impl Iterator<Item = Nested> + '_ {
    let mut seen = HashSet::new();
    pickle.nodes.iter().filter_map(move |node| {
        let Node::Call { function, arguments, .. } = node else { return None };
        if import(pickle, *function)? != ("torch.storage", "_load_from_bytes") {
            return None;
        }
        let bytes = *pickle.items(*arguments)?.first()?;
        // Several calls may encode one text; it counts once.
        let text = match pickle.node(bytes) {
            Node::Call { arguments, .. } => *pickle.items(*arguments)?.first()?,
            _ => bytes,
        };
        if seen.insert(text) { nested(pickle, bytes) } else { None }
    })
}
