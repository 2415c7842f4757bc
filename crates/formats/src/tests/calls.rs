//! Tests of the calls in pickles: makers of data are harmless with the arguments that honest checkpoints give
//! them, and the same names are an alarm with any other arguments.

use super::make::{Pickled, torch_file};
use super::{has_error, kinds, read_torch};
use crate::{Problem, ProblemKind};

fn judged(pickle: &[u8]) -> Vec<Problem> {
    read_torch(&torch_file(pickle, &[])).1
}

fn of(pickled: Pickled) -> Vec<Problem> {
    judged(&pickled.stop())
}

/// A call of an import with arguments.
fn call(module: &str, name: &str, arguments: impl Fn(Pickled) -> Pickled) -> Pickled {
    arguments(Pickled::new().global(module, name).op("(")).op("tR")
}

fn harmless(what: &str, found: &[Problem]) {
    assert!(!has_error(found), "{what}: {found:?}");
}

fn alarming(what: &str, found: &[Problem]) {
    assert!(kinds(found).contains(&ProblemKind::UnsafePickle) && has_error(found), "{what}: {found:?}");
}

#[test]
fn a_maker_of_data_is_harmless_only_with_honest_arguments() {
    type Arguments = fn(Pickled) -> Pickled;
    let numpy = "numpy.random._pickle";
    let rows: &[(&str, &str, Arguments, Arguments)] = &[
        (
            "builtins",
            "getattr",
            |p| p.global("torch._C", "_VariableFunctionsClass").text("relu"),
            |p| p.global("torch._C", "_VariableFunctionsClass").text("__globals__"),
        ),
        ("builtins", "type", |p| p.text("x"), |p| p.text("x").op(")}")),
        ("builtins", "iter", |p| p.op("]"), |p| p.global("builtins", "print").op("N")),
        ("operator", "getitem", |p| p.global("typing", "Optional").global("builtins", "int"), |p| p.op("}").text("x")),
        (
            "functools",
            "reduce",
            |p| p.global("operator", "or_").op("(").global("builtins", "int").op("Nt"),
            |p| p.global("builtins", "print").op("(").text("x").op("t"),
        ),
        (
            "functools",
            "partial",
            |p| p.global("collections", "OrderedDict"),
            |p| p.global("subprocess", "run").text("x"),
        ),
        ("collections", "defaultdict", |p| p.global("builtins", "list"), |p| p.global("webbrowser", "open")),
        (
            "copyreg",
            "_reconstructor",
            |p| p.global("my.net", "Net").global("builtins", "object").op("N"),
            |p| p.global("my.net", "Net").global("socket", "socket").op("N"),
        ),
        (
            "collections",
            "defaultdict",
            |p| p.global("functools", "partial").op("(").global("collections", "deque").op("tR"),
            |p| p.global("builtins", "getattr").op("(").global("my.net", "Net").text("run").op("tR"),
        ),
        ("copyreg", "__newobj__", |p| p.global("my.net", "Net"), |p| p.global("threading", "Thread")),
        (
            numpy,
            "__randomstate_ctor",
            |p| p.text("MT19937").global("numpy.random._pickle", "__bit_generator_ctor"),
            |p| p.text("MT19937").global("builtins", "print"),
        ),
        (numpy, "__bit_generator_ctor", |p| p.global("numpy.random._pcg64", "PCG64"), |p| p.global("numpy", "memmap")),
        ("_codecs", "encode", |p| p.text("x").text("latin1"), |p| p.text("x").text("zlib_codec")),
        (
            "torch._tensor",
            "_rebuild_from_type_v2",
            |p| p.global("collections", "OrderedDict").op("N)N"),
            |p| p.global("numpy", "fromfile").op("N)N"),
        ),
        ("numpy.core.multiarray", "_reconstruct", |p| p.global("numpy", "ndarray"), |p| p.global("os", "system")),
    ];
    for (module, name, honest, hostile) in rows {
        harmless(&format!("{module}.{name}"), &of(call(module, name, honest)));
        alarming(&format!("{module}.{name}"), &of(call(module, name, hostile)));
    }
}

#[test]
fn a_function_that_is_harmless_only_when_called_is_an_alarm_as_a_value() {
    let value = |module: &str, name: &str| of(Pickled::new().op("]").global(module, name).op("a"));
    for (module, name) in
        [("builtins", "getattr"), ("functools", "reduce"), ("numpy.random._pickle", "__generator_ctor")]
    {
        alarming(name, &value(module, name));
        // A user's own class could call the argument that it is given.
        let given = Pickled::new().global("my.net", "Net").op("(").global(module, name).op("tR");
        alarming(name, &of(given));
    }
    harmless("a class", &value("collections", "OrderedDict"));
}

#[test]
fn all_else_of_the_standard_library_torch_and_numpy_is_an_alarm_when_it_is_called() {
    for (module, name) in [
        ("calendar", "prcal"),
        ("textwrap", "dedent"),
        ("torch.serialization", "save"),
        ("torch.utils.data.dataloader", "DataLoader"),
        ("numpy", "savez"),
        ("numpy.lib.format", "open_memmap"),
        ("_interpreters", "create"),
        ("torch.nn.functional", "relu"),
        ("PIL.ImageMath", "eval"),
        ("scipy.io", "loadmat"),
        ("pandas.io.common", "get_handle"),
        ("torch.distributed.checkpoint.state_dict_loader", "load"),
    ] {
        alarming(name, &of(call(module, name, |p| p.text("x"))));
    }
    for (module, name) in [
        // Imported, and not called.
        ("torch", "strided"),
        ("numpy", "float32"),
        ("torch.nn.modules.linear", "Linear"),
    ] {
        harmless(name, &of(Pickled::new().global(module, name)));
    }
    for (module, name) in [
        ("torch.nn.modules.linear", "Linear"),
        ("torch.optim.adamw", "AdamW"),
        ("torch.torch_version", "TorchVersion"),
        ("torch.distributed.checkpoint.metadata", "Metadata"),
        ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
        ("my.models", "build"),
        ("sklearn.tree._tree", "Tree"),
        ("pandas.core.frame", "DataFrame"),
        ("pandas._libs.internals", "_unpickle_block"),
        ("PIL.Image", "Image"),
        ("scipy.sparse._csr", "csr_matrix"),
        // Its first word is a module of Python's that contains no other modules.
        ("code.model", "Net"),
        ("datetime", "datetime"),
        ("uuid", "UUID"),
    ] {
        let found = of(call(module, name, |p| p.text("x")));
        assert_eq!(kinds(&found), [ProblemKind::NeedsFullUnpickle], "{module}.{name}: {found:?}");
    }
}

#[test]
fn the_result_of_a_call_is_not_called_again() {
    let given = call("builtins", "getattr", |p| p.global("my.net", "Net").text("run"));
    harmless("a method", &of(given.clone()));
    let found = of(given.op(")R"));
    alarming("its call", &found);
    assert!(found.iter().any(|f| f.message.contains("the result of builtins.getattr")), "{found:?}");
}

#[test]
fn a_state_is_for_a_made_object_and_not_for_an_import() {
    harmless("an object", &of(Pickled::new().global("my.net", "Net").op(b")\x81}b")));
    let found = of(Pickled::new().global("my.net", "Net").op("}b"));
    alarming("a class", &found);
    assert!(found[0].message.contains("my.net.Net"), "{found:?}");
}

#[test]
fn names_of_python_2_are_judged_as_what_they_are_mapped_to() {
    for (module, name, mapped) in [
        ("commands", "getoutput", "subprocess.getoutput"),
        ("itertools", "imap", "builtins.map"),
        ("__builtin__", "reduce", "functools.reduce"),
        ("urllib2", "urlopen", "urllib.request.urlopen"),
    ] {
        let found = of(call(module, name, |p| p.text("x")));
        alarming(name, &found);
        assert!(found.iter().any(|f| f.message.contains(mapped)), "{mapped}: {found:?}");
    }
    harmless("a text in memory", &of(call("StringIO", "StringIO", |p| p.text("x"))));
    // From protocol 3 on, names are not mapped.
    let mut three = call("commands", "getoutput", |p| p.text("x")).stop();
    three[1] = 3;
    assert!(!judged(&three).iter().any(|f| f.message.contains("subprocess")));
}

#[test]
fn findings_stay_when_the_pickle_breaks_later() {
    let evil = || Pickled::new().global("os", "system").text("true").op(b"\x85R");
    for (how, pickle) in [("broken", evil().op(b"\xff").0), ("cut", evil().0), ("no archive", Vec::new())] {
        let found = if pickle.is_empty() { read_torch(&evil().op(b"\xff").0).1 } else { judged(&pickle) };
        alarming(how, &found);
        assert!(kinds(&found).contains(&ProblemKind::PickleInvalid), "{how}: {found:?}");
    }
}

#[test]
fn a_pickle_after_the_first_is_judged() {
    let first = Pickled::new().op("}").stop();
    let evil = Pickled::new().global("os", "system").text("true").op(b"\x85R").stop();
    let both = [&first[..], &evil].concat();
    alarming("in an archive", &judged(&both));
    alarming("without one", &read_torch(&both).1);
    harmless("twice the first", &judged(&[&first[..], &first].concat()));
    // Padding is no pickle.
    harmless("padding", &judged(&[&first[..], &[0; 64]].concat()));
}

#[test]
fn frames_end_where_they_say() {
    let frame = |length: u64, content: &[u8]| [b"\x80\x04\x95", &length.to_le_bytes()[..], content].concat();
    for (why, pickle) in [
        ("an argument crosses its end", frame(2, b"B\x01\0\0\0x.")),
        ("a number crosses its end", frame(2, b"J\x01\0\0\0.")),
        ("a line crosses its end", frame(2, b"cos\nsystem\n.")),
        ("a frame begins in it", frame(20, b"\x95\x01\0\0\0\0\0\0\0N.")),
    ] {
        assert!(kinds(&judged(&pickle)).contains(&ProblemKind::PickleInvalid), "{why}");
    }
    for pickle in [
        frame(2, b"N."),
        // One frame after the other, with an argument of its own between them.
        [&frame(1, b"N0")[..], b"\x95\x02\0\0\0\0\0\0\0N."].concat(),
        [&frame(1, b"NB\x02\0\0\0xy0")[..], b"."].concat(),
    ] {
        harmless("a whole frame", &judged(&pickle));
    }
}

#[test]
fn an_odd_name_comes_before_ordinary_ones() {
    let mut pickled = Pickled::new();
    for n in 0..12 {
        pickled = pickled.global("numpy", &format!("int{n}")).op("0");
    }
    let found = of(pickled.global("odd.one", "Out").op(")R"));
    let text = &found.iter().find(|f| f.message.contains("imports")).unwrap().message;
    assert!(text.contains("odd.one.Out") && text.contains("and 3 more"), "{text}");
}

#[test]
fn a_large_array_inside_a_pickle_is_skipped_and_a_file_inside_it_is_judged() {
    let load = |content: &[u8]| {
        let length = u32::try_from(content.len()).unwrap().to_le_bytes();
        call("torch.storage", "_load_from_bytes", |p| p.op("B").op(length).op(content))
    };
    let evil = Pickled::new().global("os", "system").text("true").op(b"\x85R").stop();
    let found = of(load(&torch_file(&evil, &[])));
    alarming("a hostile file", &found);
    assert!(found.iter().any(|f| f.message.contains("inside")), "{found:?}");
    harmless("an honest file", &of(load(&torch_file(&Pickled::new().op("}").stop(), &[]))));
    // Protocol 2 writes bytes like this.
    let text: String = torch_file(&evil, &[]).into_iter().map(char::from).collect();
    let encoded = |p: Pickled| p.global("_codecs", "encode").op("(").text(&text).text("latin1").op("tR");
    alarming("a text", &of(call("torch.storage", "_load_from_bytes", encoded)));
    // Each file is inside the next one.
    let mut nested = torch_file(&evil, &[]);
    for _ in 0..10 {
        nested = torch_file(&load(&nested).stop(), &[]);
    }
    assert!(has_error(&read_torch(&nested).1));
}
