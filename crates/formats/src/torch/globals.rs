//! The names that a pickle may import: torch's own allowlist, names that are known to be dangerous, and the
//! rest. `makers` judges calls.

use super::packages::{DANGEROUS_MODULES, STANDARD, holds, is_standard};

/// How far a global can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// `torch.load(weights_only=True)` accepts it (`torch/_weights_only_unpickler.py`).
    Allowed,
    /// Loading needs `weights_only=False`.
    NeedsFullUnpickle,
    /// It runs commands, evaluates code or reaches files and the network.
    Dangerous,
}

/// Python's built-ins that run code or reach attributes.
const DANGEROUS_BUILTINS: &[&str] = &[
    "eval",
    "exec",
    "execfile",
    "compile",
    "open",
    "file",
    "setattr",
    "delattr",
    "__import__",
    "globals",
    "locals",
    "vars",
    "input",
    "raw_input",
    "breakpoint",
    "apply",
    "map",
    "filter",
    "help",
    "exit",
    "quit",
    "memoryview",
    "reload",
    "dir",
];

/// Single names that are dangerous though their module is not.
const DANGEROUS_NAMES: &[(&str, &str)] = &[
    ("torch", "load"),
    ("torch.serialization", "load"),
    ("torch.hub", "load"),
    ("torch.hub", "download_url_to_file"),
    ("torch.hub", "load_state_dict_from_url"),
    ("torch.utils.model_zoo", "load_url"),
    ("torch.jit._serialization", "load"),
    ("torch.export", "load"),
    ("torch.package", "PackageImporter"),
    ("torch.package.package_importer", "PackageImporter"),
    ("torch.ops", "load_library"),
    ("torch.classes", "load_library"),
    ("torch._ops", "_Ops"),
    ("torch.fx.experimental.symbolic_shapes", "ShapeEnv"),
    ("torch.jit.unsupported_tensor_ops", "execWrapper"),
    ("torch.utils.data.datapipes.utils.decoder", "basichandlers"),
    ("torch._inductor.codecache", "compile_file"),
    ("torch.utils.cpp_extension", "load"),
    ("torch.utils.cpp_extension", "load_inline"),
    ("torch.distributed.rpc", "rpc_sync"),
    ("numpy.testing._private.utils", "runstring"),
    ("numpy", "load"),
    ("numpy", "fromfile"),
    ("numpy.lib.npyio", "load"),
    ("numpy.lib._npyio_impl", "load"),
    ("numpy.f2py", "compile"),
    ("numpy.f2py.crackfortran", "getlincoef"),
    ("numpy.f2py.crackfortran", "_eval_length"),
    ("numpy.distutils.exec_command", "exec_command"),
    ("pandas.io.pickle", "read_pickle"),
    ("pandas", "read_pickle"),
    ("pandas", "eval"),
    ("pandas.core.computation.eval", "eval"),
    ("sympy", "sympify"),
    ("sympy.core.sympify", "sympify"),
    ("sympy.parsing.sympy_parser", "parse_expr"),
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("torch.utils.collect_env", "run"),
    ("torch.utils.bottleneck.__main__", "run_cprofile"),
    ("torch.utils.bottleneck.__main__", "run_autograd_prof"),
    ("torch.utils._config_module", "load_config"),
    ("torch.utils._config_module", "ConfigModule"),
    ("torch._dynamo.guards", "GuardBuilder"),
    ("torch.jit", "load"),
    ("uuid", "_get_command_stdout"),
    ("uuid", "_popen"),
    ("codecs", "open"),
    ("logging", "FileHandler"),
    ("logging.config", "listen"),
    ("_codecs", "decode"),
];

/// The names of those modules that are harmless in checkpoints: paths that nothing opens, bags of attributes,
/// texts in memory, versions. Calls of a name that is harmless only with certain arguments are judged in
/// `makers`.
const HARMLESS: &[(&str, &str)] = &[
    ("pathlib", "Path"),
    ("pathlib", "PurePath"),
    ("pathlib", "PosixPath"),
    ("pathlib", "PurePosixPath"),
    ("pathlib", "WindowsPath"),
    ("pathlib", "PureWindowsPath"),
    ("pathlib._local", "Path"),
    ("pathlib._local", "PurePath"),
    ("pathlib._local", "PosixPath"),
    ("pathlib._local", "PurePosixPath"),
    ("pathlib._local", "WindowsPath"),
    ("pathlib._local", "PureWindowsPath"),
    ("types", "SimpleNamespace"),
    ("types", "GenericAlias"),
    ("types", "MappingProxyType"),
    ("functools", "partial"),
    ("_io", "BytesIO"),
    ("_io", "StringIO"),
    ("io", "BytesIO"),
    ("io", "StringIO"),
    // The marker for "no default" and "no annotation": a class that is only named.
    ("inspect", "_empty"),
    ("inspect", "Parameter"),
    ("inspect", "Signature"),
    ("inspect", "_ParameterKind"),
    ("distutils.version", "LooseVersion"),
    ("distutils.version", "StrictVersion"),
    ("joblib.numpy_pickle", "NumpyArrayWrapper"),
    ("joblib.numpy_pickle", "NDArrayWrapper"),
];

/// `__name__`.
fn is_dunder(part: &str) -> bool {
    part.len() > 4 && part.starts_with("__") && part.ends_with("__")
}

/// Judges `module.name` where it is imported, whether or not it is called.
pub fn trust(module: &str, name: &str) -> Trust {
    // `_io` and `_socket` implement `io` and `socket`.
    let root = module.split('.').next().unwrap_or(module).trim_start_matches('_');
    if HARMLESS.contains(&(module, name)) || super::makers::is_conditional(module, name) {
        return Trust::NeedsFullUnpickle;
    }
    // Protocol 4 lets a name have dots: `collections` + `sys.modules`.
    if matches!(module, "builtins" | "__builtin__" | "__builtins__") {
        return match name {
            "set" | "bytearray" | "complex" => Trust::Allowed,
            _ if DANGEROUS_BUILTINS.contains(&name) || name.contains('.') || is_dunder(name) => Trust::Dangerous,
            _ => Trust::NeedsFullUnpickle,
        };
    }
    if (module, name) == ("_codecs", "encode") {
        return Trust::Allowed;
    }
    // A method of a class is as dangerous as the class.
    let first = name.split('.').next().unwrap_or(name);
    // A user's own folder may have the name of a module of Python's.
    let own = holds(&STANDARD, root) && !is_standard(module);
    let dangerous = holds(&DANGEROUS_MODULES, root) && !own || DANGEROUS_NAMES.contains(&(module, first));
    // A module that another one imported for itself, such as `random._os`.
    let module_in_it = |part: &str| {
        (name.contains('.') || part.starts_with('_')) && holds(&DANGEROUS_MODULES, part.trim_start_matches('_'))
    };
    let part_of_name = |part: &str| is_dunder(part) || module_in_it(part);
    if dangerous || name.split('.').any(part_of_name) {
        return Trust::Dangerous;
    }
    if allowed(module, name) { Trust::Allowed } else { Trust::NeedsFullUnpickle }
}

/// `_get_allowed_globals` of `torch/_weights_only_unpickler.py`, 2.15.
fn allowed(module: &str, name: &str) -> bool {
    match module {
        "collections" => matches!(name, "OrderedDict" | "Counter"),
        "torch" => {
            matches!(name, "Size" | "Tensor" | "device")
                || name != "UntypedStorage" && super::dtype::of_storage(name).is_some()
                || super::dtype::of_torch(name).is_some()
                || is_scheme(name)
                || is_tensor(name)
        }
        "torch.cuda" => {
            is_tensor(name)
                || name.strip_suffix("Storage").is_some_and(|element| {
                    ELEMENTS.contains(&element) || matches!(element, "ComplexDouble" | "ComplexFloat")
                })
        }
        "torch.sparse" | "torch.cuda.sparse" => is_tensor(name) && name != "BoolTensor",
        "torch._utils" => {
            matches!(
                name.strip_prefix("_rebuild_"),
                Some(
                    "parameter"
                        | "parameter_with_state"
                        | "qtensor"
                        | "tensor"
                        | "tensor_v2"
                        | "tensor_v3"
                        | "sparse_tensor"
                        | "meta_tensor_no_storage"
                        | "wrapper_subclass"
                        | "device_tensor_from_numpy"
                        | "device_tensor_from_cpu_tensor"
                )
            )
        }
        "torch._tensor" => name == "_rebuild_from_type_v2",
        "torch.nn.parameter" => name == "Parameter",
        "torch.serialization" => name == "_get_layout",
        "torch.storage" => matches!(name, "TypedStorage" | "UntypedStorage"),
        _ => false,
    }
}

/// The names of elements in the tensor classes from before 0.4.
const ELEMENTS: [&str; 10] = ["BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short"];

fn is_tensor(name: &str) -> bool {
    name.strip_suffix("Tensor").is_some_and(|element| ELEMENTS.contains(&element))
}

/// Quantisation schemes.
fn is_scheme(name: &str) -> bool {
    matches!(
        name,
        "per_tensor_affine"
            | "per_channel_affine"
            | "per_tensor_symmetric"
            | "per_channel_symmetric"
            | "per_channel_affine_float_qparams"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that `_get_allowed_globals` of torch 2.15 returns.
    const TORCHS: &str = include_str!("../../../../tests/fixtures/formats/allowed_globals.txt");

    #[test]
    fn torchs_own_list_is_allowed_and_nothing_else_of_those_names() {
        let listed: Vec<(&str, &str)> = TORCHS.lines().map(|line| line.rsplit_once('.').unwrap()).collect();
        assert!(listed.len() > 100);
        for (module, _) in &listed {
            for (_, name) in &listed {
                let here = trust(module, name) == Trust::Allowed;
                assert_eq!(here, listed.contains(&(module, name)), "{module}.{name}");
            }
        }
    }

    #[test]
    fn what_runs_code_is_dangerous_and_what_torch_accepts_is_not() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("builtins", "eval"),
            ("__builtin__", "exec"),
            ("subprocess", "Popen"),
            ("torch.hub", "load"),
            ("collections", "sys.modules"),
            ("collections", "__builtins__"),
            ("urllib.request", "urlopen"),
            ("importlib.util", "find_spec"),
            ("torch", "serialization.os.system"),
            ("_io", "open"),
            ("_posixsubprocess", "fork_exec"),
            ("torch._dynamo.guards", "GuardBuilder.get"),
            ("torch.utils._config_module", "ConfigModule.load_config"),
            ("shelve", "open"),
            ("code", "InteractiveInterpreter.runcode"),
            ("random", "_os.system"),
            ("random", "_os"),
            ("builtins", "__dict__"),
        ] {
            assert_eq!(trust(module, name), Trust::Dangerous, "{module}.{name}");
        }
        for (module, name) in [
            ("collections", "OrderedDict"),
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch", "FloatStorage"),
            ("torch", "bfloat16"),
            ("torch", "Size"),
            ("torch.storage", "UntypedStorage"),
            ("torch.nn.parameter", "Parameter"),
            ("builtins", "set"),
            ("_codecs", "encode"),
        ] {
            assert_eq!(trust(module, name), Trust::Allowed, "{module}.{name}");
        }
        for (module, name) in [
            ("numpy.core.multiarray", "_reconstruct"),
            ("__main__", "Net"),
            ("argparse", "Namespace"),
            ("builtins", "dict"),
            ("builtins", "frozenset"),
            ("torch", "strided"),
            ("torch", "UntypedStorage"),
            ("torch", "NextYearStorage"),
            ("torch.nn.parameter", "Buffer"),
            ("torch._utils", "_rebuild_nested_tensor"),
            ("collections", "defaultdict"),
            ("torch", "compile"),
            ("torch", "hub.FloatStorage"),
            ("pathlib", "PosixPath"),
            ("functools", "partial"),
            // The use of these names is judged where they are called.
            ("builtins", "getattr"),
            ("functools", "reduce"),
            // A user's own folder of that name.
            ("code.model", "Net"),
        ] {
            assert_eq!(trust(module, name), Trust::NeedsFullUnpickle, "{module}.{name}");
        }
    }
}
