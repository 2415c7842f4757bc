//! Hostile pickles: code that would run is named and never run, and pickles that would cost memory or time are refused.

use std::time::Instant;

use proptest::prelude::*;

use super::make::{Pickled, SIX, state_dict, torch_file, torch_records, zip};
use super::{has_error, kinds, read_torch};
use crate::torch::pickle;
use crate::{Problem, ProblemKind, Severity};

fn judged(pickle: &[u8]) -> Vec<Problem> {
    read_torch(&torch_file(pickle, &[])).1
}

/// Pickles that would run `touch <marker>` by every way in which a pickle can call something.
fn attacks(marker: &str) -> Vec<(&'static str, Vec<u8>)> {
    let command = format!("touch {marker}");
    let short = |text: &str| [&[0x8c, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let os = || Pickled::new().global("os", "system");
    vec![
        ("REDUCE", os().text(&command).op(b"\x85R").stop()),
        ("REDUCE with a marked tuple", os().op("(").text(&command).op("tR").stop()),
        ("protocol 0", format!("cos\nsystem\n(S'{command}'\ntR.").into_bytes()),
        ("INST", format!("(S'{command}'\nios\nsystem\n.").into_bytes()),
        ("OBJ", Pickled::new().op("(").global("os", "system").text(&command).op("o").stop()),
        ("NEWOBJ", os().text(&command).op(b"\x85\x81").stop()),
        ("NEWOBJ_EX", os().text(&command).op(b"\x85}\x92").stop()),
        (
            "STACK_GLOBAL",
            Pickled::default()
                .op(b"\x80\x04")
                .op(short("os"))
                .op(short("system"))
                .op(b"\x93")
                .text(&command)
                .op(b"\x85R")
                .stop(),
        ),
        ("STACK_GLOBAL out of the memo", {
            Pickled::default()
                .op(b"\x80\x04")
                .op(short("os"))
                .op(b"\x94")
                .op(short("system"))
                .op(b"\x940")
                .op("0h\x00h\x01")
                .op(b"\x93")
                .text(&command)
                .op(b"\x85R")
                .stop()
        }),
        (
            "STACK_GLOBAL by escaped UNICODE",
            Pickled::default().op("V\\u006fs\nVsyste\\u006d\n").op(b"\x93").text(&command).op(b"\x85R").stop(),
        ),
        (
            "STACK_GLOBAL by escaped STRING",
            Pickled::default().op("S'\\x6fs'\nS'\\163ystem'\n").op(b"\x93").text(&command).op(b"\x85R").stop(),
        ),
        (
            "STACK_GLOBAL by BINSTRING",
            Pickled::default().op(b"T\x02\0\0\0osU\x06system\x93").text(&command).op(b"\x85R").stop(),
        ),
        ("eval", Pickled::new().global("builtins", "eval").text("1").op(b"\x85R").stop()),
        ("Python 2's eval", Pickled::new().global("__builtin__", "eval").text("1").op(b"\x85R").stop()),
        (
            "a dotted name",
            Pickled::default()
                .op(b"\x80\x04")
                .op(short("torch"))
                .op(short("serialization.os.system"))
                .op(b"\x93")
                .text(&command)
                .op(b"\x85R")
                .stop(),
        ),
        ("in a tensor's hooks", {
            Pickled::new()
                .global("torch._utils", "_rebuild_tensor_v2")
                .op("(")
                .global("posix", "system")
                .text(&command)
                .op(b"\x85RtR")
                .stop()
        }),
        ("in a key", Pickled::new().op("}").global("os", "system").text(&command).op(b"\x85RNs").stop()),
        (
            "in a state",
            Pickled::new()
                .global("collections", "OrderedDict")
                .op(")R")
                .global("os", "system")
                .text(&command)
                .op(b"\x85Rb")
                .stop(),
        ),
        ("discarded at once", os().text(&command).op(b"\x85R0N").stop()),
        ("inside a storage's reference", Pickled::new().global("os", "system").text(&command).op(b"\x85RQ").stop()),
        ("by way of pickle itself", Pickled::new().global("_pickle", "loads").op(b"C\x01.\x85R").stop()),
        ("after a frame", os().op(b"\x95\xff\0\0\0\0\0\0\0").text(&command).op(b"\x85R").stop()),
    ]
}

#[test]
fn a_pickle_that_would_run_code_is_an_error_and_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("marker");
    for (how, pickle) in attacks(marker.to_str().unwrap()) {
        let found = judged(&pickle);
        let unsafe_ = found.iter().find(|f| f.kind == ProblemKind::UnsafePickle);
        assert!(unsafe_.is_some_and(|f| f.severity == Severity::Error), "{how}: {found:?}");
        assert!(!marker.exists(), "{how}");
    }
}

#[test]
fn a_pickle_outside_an_archive_is_judged_as_well() {
    for (how, pickle) in attacks("/nowhere/marker") {
        // Without the protocol's opcode the file does not count as a pickle, so it is refused.
        let expected =
            if pickle.starts_with(b"\x80") { ProblemKind::UnsafePickle } else { ProblemKind::FormatUnexpected };
        let found = read_torch(&pickle).1;
        assert!(kinds(&found).contains(&expected) && has_error(&found), "{how}: {found:?}");
    }
    // The attack is after the legacy format's magic number, in any of its pickles.
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    let evil = Pickled::new().global("os", "system").text("true").op(b"\x85R").stop();
    for before in 0..4 {
        let pickles = [&magic[..], &b"\x80\x02N.".repeat(before), &evil].concat();
        assert!(kinds(&read_torch(&pickles).1).contains(&ProblemKind::UnsafePickle), "{before}");
    }
}

#[test]
fn an_unknown_import_is_a_warning_that_names_it() {
    let found = judged(&Pickled::new().global("my.models", "Net").op(")R").stop());
    assert_eq!(kinds(&found), [ProblemKind::NeedsFullUnpickle]);
    assert_eq!(found[0].severity, Severity::Warning);
    assert!(found[0].message.contains("my.models.Net"), "{found:?}");
}

#[test]
fn a_malformed_pickle_is_an_error() {
    let text = |length: u32| Pickled::new().op("X").op(length.to_le_bytes()).op("abc").stop();
    for (why, pickle) in [
        ("nothing", vec![]),
        ("no stop", b"\x80\x02}".to_vec()),
        ("nothing to return", b"\x80\x02.".to_vec()),
        ("an unknown opcode", b"\x80\x02\xff.".to_vec()),
        ("a protocol from the future", b"\x80\x06N.".to_vec()),
        ("a text of 4 GB", text(u32::MAX)),
        ("a text longer than the rest", text(5)),
        ("a text of 2^64 - 1 bytes", b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffx.".to_vec()),
        ("bytes of 2^64 - 1", b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffx.".to_vec()),
        ("bytes of 2^32 - 1", b"B\xff\xff\xff\xffx.".to_vec()),
        ("an integer of 4 GB", b"\x8b\xff\xff\xff\xff\x01.".to_vec()),
        ("a byte array of 2^63", b"\x96\0\0\0\0\0\0\0\x80x.".to_vec()),
        ("a tuple without a mark", b"t.".to_vec()),
        ("appending without a mark", b"]e.".to_vec()),
        ("items without a mark", b"}u.".to_vec()),
        ("a list without a mark", b"l.".to_vec()),
        ("a dict of an odd number", b"(Nd.".to_vec()),
        ("OBJ of nothing", b"(o.".to_vec()),
        ("INST without a mark", b"ios\nsystem\n.".to_vec()),
        ("reaching below a mark", b"N(\x85.".to_vec()),
        ("taking what is below a mark", b"N(q\x00.".to_vec()),
        ("calling with an empty stack", b"R.".to_vec()),
        ("one operand of two", b"NR.".to_vec()),
        ("duplicating nothing", b"2.".to_vec()),
        ("discarding nothing", b"0.".to_vec()),
        ("recalling what was never stored", b"h\x07.".to_vec()),
        ("a memo key that is no number", b"Npx\n.".to_vec()),
        ("a memo key above 2^32", b"Np4294967296\n.".to_vec()),
        ("appending to a number", b"K\x01Na.".to_vec()),
        ("setting an item of a list", b"]NNs.".to_vec()),
        ("an import of numbers", b"K\x01K\x02\x93.".to_vec()),
        ("an import without an end", b"cos".to_vec()),
        ("an import that is no UTF-8", b"c\xff\nx\n.".to_vec()),
        ("the extension registry", b"\x82\x01.".to_vec()),
        ("an out-of-band buffer", b"\x97.".to_vec()),
        ("a persistent reference to something else", b"NQ.".to_vec()),
        ("a persistent reference by name", b"Pabc\n.".to_vec()),
    ] {
        // A warning about the protocol may be there as well.
        let found: Vec<Problem> = judged(&pickle).into_iter().filter(|f| f.severity == Severity::Error).collect();
        assert_eq!(kinds(&found), [ProblemKind::PickleInvalid], "{why}: {found:?}");
    }
}

#[test]
fn pickles_that_would_grow_without_end_are_cheap() {
    // Each level contains the one before it twice: 2^60 objects, if they were copied.
    let doubled = |open: &str, close: &str| {
        let mut p = Pickled::new().op("Nq\0");
        for i in 0..60u8 {
            p = p.op(open).op([b'h', i, b'h', i]).op(close).op([b'q', i + 1, b'0']);
        }
        p.op([b'h', 60]).stop()
    };
    let dicts = {
        let mut p = Pickled::new().op("Nq\0");
        for i in 0..60u8 {
            p = p.op("}(").text("a").op([b'h', i]).text("b").op([b'h', i]).op("u").op([b'q', i + 1, b'0']);
        }
        p.op([b'h', 60]).stop()
    };
    // A tensor under a long name, at each of many places that are written once.
    let long_names = {
        let mut p = Pickled::new().op("(").tensor(&SIX).op(b"1").tensor(&SIX).op("q\0").op("0");
        for i in 0..24u8 {
            let (a, b) = (format!("{}a", "x".repeat(2000)), format!("{}b", "x".repeat(2000)));
            p = p.op("}(").text(&a).op([b'h', i]).text(&b).op([b'h', i]).op("u").op([b'q', i + 1, b'0']);
        }
        p.op([b'h', 24]).stop()
    };
    // One long text, used again and again as a module's name and as a storage's key.
    let long = "x".repeat(1 << 20);
    let imports = Pickled::new().text(&long).op("q\0").op(b"h\x00h\x00\x930".repeat(100_000)).stop();
    let keys = {
        let p = Pickled::new()
            .op("(")
            .text("storage")
            .global("torch", "FloatStorage")
            .text(&long)
            .text("cpu")
            .int(1)
            .op("tq\0");
        p.op(b"h\x00Q0".repeat(100_000)).op("N").stop()
    };
    let dict_keys = {
        let p = Pickled::new().text(&long).op("q\0}").op(b"h\x00}s".repeat(100_000));
        p.stop()
    };
    let cycle = Pickled::new().op("]q\0h\0a").stop();
    let deep = [b"\x80\x02".to_vec(), b"]".repeat(100_000), b"a".repeat(99_999), b".".to_vec()].concat();
    let marks = [b"(".repeat(1_000_000), b"N.".to_vec()].concat();
    let tuples = [b"N".to_vec(), b"\x85".repeat(1_000_000), b".".to_vec()].concat();
    for (why, pickle) in [
        ("tuples", doubled("(", "t")),
        ("lists", doubled("(", "l")),
        ("dicts", dicts),
        ("long names", long_names),
        ("long imports", imports),
        ("long storage keys", keys),
        ("long dict keys", dict_keys),
        ("a list in itself", cycle),
        ("lists in lists", deep),
        ("marks", marks),
        ("tuples in tuples", tuples),
        ("duplicates", [b"N".to_vec(), b"2".repeat(1_000_000), b".".to_vec()].concat()),
        ("memo entries", [b"N".to_vec(), b"\x94".repeat(1_000_000), b".".to_vec()].concat()),
    ] {
        let started = Instant::now();
        let (table, found) = read_torch(&torch_file(&pickle, &[]));
        // A debug build on a loaded machine needs seconds where copying would need hours.
        assert!(started.elapsed().as_secs() < 60, "{why}: {:?}", started.elapsed());
        let held: usize = table.tensors.iter().map(|t| t.name.len()).sum();
        assert!(held < 600 << 20, "{why}: {held}");
        assert!(found.len() < 100 && found.iter().all(|f| f.message.len() < 5000), "{why}");
    }
}

#[test]
fn a_pickle_above_the_limit_is_not_read() {
    let pickle = vec![b'N'; (64 << 20) + 1];
    assert_eq!(kinds(&read_torch(&torch_file(&pickle, &[])).1), [ProblemKind::PickleInvalid]);
}

#[test]
fn tensors_are_found_in_every_place_of_a_state_dict() {
    for (name, pickle) in [
        ("model.w", Pickled::new().op("}").text("model").op("}").text("w").tensor(&SIX).op("ss").stop()),
        ("0", Pickled::new().op("](").tensor(&SIX).op("e").stop()),
        ("1", Pickled::new().op("N").tensor(&SIX).op(b"\x86").stop()),
        ("7", Pickled::new().op("}K\x07").tensor(&SIX).op("s").stop()),
        ("w", Pickled::new().global("collections", "OrderedDict").op(")R(").text("w").tensor(&SIX).op("u").stop()),
        ("w", {
            let p = Pickled::new().op("}").text("w").global("torch._utils", "_rebuild_parameter").op("(");
            p.tensor(&SIX).op(b"\x88").global("collections", "OrderedDict").op(")RtRs").stop()
        }),
        ("w", {
            let p = Pickled::new().op("}").text("w").global("torch._tensor", "_rebuild_from_type_v2").op("(");
            let p = p.global("torch._utils", "_rebuild_tensor_v2").global("torch.nn.parameter", "Parameter").op("(");
            let p = p.storage("FloatStorage", "0", 6).int(0).counts(&[2, 3]).counts(&[3, 1]);
            p.op(b"\x89NtNtRs").stop()
        }),
        ("w", {
            let p = Pickled::new().op("}").text("w").global("torch._utils", "_rebuild_tensor_v3").op("(");
            let p = p.storage("UntypedStorage", "0", 24).int(0).counts(&[2, 3]).counts(&[3, 1]).op(b"\x89N");
            p.global("torch", "float32").op("NtRs").stop()
        }),
    ] {
        let (table, found) = read_torch(&torch_file(&pickle, &[("0", 24)]));
        assert!(!has_error(&found), "{found:?}");
        assert_eq!(table.tensors.len(), 1);
        let tensor = &table.tensors[0];
        assert_eq!((&*tensor.name, &*tensor.dtype, &*tensor.shape), (name, "torch.float32", &[2, 3][..]));
    }
}

#[test]
fn tensors_without_a_storage_of_their_own_have_a_shape() {
    let meta = Pickled::new().op("}").text("w").global("torch._utils", "_rebuild_meta_tensor_no_storage").op("(");
    let meta = meta.global("torch", "bfloat16").counts(&[4, 5]).counts(&[5, 1]).op(b"\x89tRs").stop();
    let sparse = Pickled::new().op("}").text("w").global("torch._utils", "_rebuild_sparse_tensor").op("(");
    let sparse = sparse.global("torch.serialization", "_get_layout").text("torch.sparse_coo").op(b"\x85R(");
    let sparse = sparse.tensor(&SIX).tensor(&SIX).counts(&[4, 5]).op("ttRs").stop();
    for (pickle, dtype, storages) in [(meta, "torch.bfloat16", &[][..]), (sparse, "torch.float32", &[("0", 24)])] {
        let (table, found) = read_torch(&torch_file(&pickle, storages));
        assert_eq!(found, []);
        assert_eq!((&*table.tensors[0].dtype, &*table.tensors[0].shape), (dtype, &[4, 5][..]));
    }
}

#[test]
fn allowed_pickles_of_old_protocols_are_read() {
    let zero = &b"(dp0\nVa\np1\n(lp2\nI1\naL2L\naF0.5\naS'x'\naI01\nas."[..];
    let four = b"\x80\x04\x95\x0a\0\0\0\0\0\0\0}\x94\x8c\x01a\x94\x8f(K\x01\x90s.";
    for (pickle, first) in [(zero, 1), (four, 2)] {
        let found = judged(pickle);
        // `torch.load` would need the flag that allows code to run.
        assert_eq!(kinds(&found), [ProblemKind::NeedsFullUnpickle]);
        assert!(found[0].message.contains(&format!("byte {first} ")), "{found:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = pickle::read(&bytes);
        let _ = judged(&bytes);
        let _ = read_torch(&[b"PK\x03\x04", &bytes[..]].concat());
        let _ = read_torch(&[b"\x80\x02", &bytes[..]].concat());
    }

    #[test]
    fn no_damage_to_a_pickle_is_a_panic(cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut pickle = state_dict(&[("a", SIX), ("b.c", SIX)]);
        for (at, byte) in cuts {
            let at = at.index(pickle.len());
            pickle[at] = byte;
        }
        let _ = read_torch(&zip(&torch_records(&pickle, &[("0", 24)])));
    }
}
