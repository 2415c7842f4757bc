//! Judges pickles: the calls and imports that loading them would make, as problems. `globals` and `makers`
//! decide which names are harmless; the containers find the pickles.

use std::cell::Cell;
use std::collections::HashSet;
use std::io;

use super::agent;
use super::globals::{self, Trust};
use super::makers::{self, Nested};
use super::packages::is_foreign;
use super::part::{FilePart, Seekable};
use super::pickle::{self, Id, Node, Pickle, PickleError};
use crate::problem::{Problem, ProblemKind};
use crate::problems::{complaint, cut};

/// The most dangerous or unknown imports that a problem names.
const NAMED: usize = 10;
/// The most pickles in one stream, one after another.
const PICKLES: usize = 100_000;
/// The most objects of all these pickles.
const OBJECTS: usize = 16_000_000;
/// Levels of files in pickles in files.
pub(crate) const NESTED: usize = 4;
/// The most files inside one pickle: a model may have one for each storage.
const FILES: usize = 100_000;

/// The origin of a pickle.
#[derive(Clone, Copy)]
pub(crate) struct Whose<'a> {
    /// The file.
    pub path: &'a str,
    /// The words before a sentence about it: empty, or the part of the file.
    pub part: &'a str,
    /// Whether it is in a TorchScript archive: the interpreter makes the archive's own classes and does not import
    /// them.
    pub torchscript: bool,
    /// Whether torch would load it, so that the pickle's protocol is worth a problem.
    pub torchs: bool,
    /// Whether functions that are rebuilt from their code are ordinary here. They have a problem of their own then.
    pub functions: bool,
    /// How many files enclose this one.
    pub depth: usize,
    /// Compressed bytes that may still be unpacked inside this file.
    pub budget: &'a Cell<u64>,
}

/// The most compressed bytes that are unpacked from one file and from the files inside it.
pub(crate) const BUDGET: u64 = 16 << 30;

impl<'a> Whose<'a> {
    pub fn file(path: &'a str, budget: &'a Cell<u64>) -> Self {
        Whose { path, part: "", torchscript: false, torchs: true, functions: false, depth: 0, budget }
    }

    /// Takes bytes off the budget; `false` if it is too small.
    pub fn spend(self, bytes: u64) -> bool {
        let left = self.budget.get().checked_sub(bytes);
        self.budget.set(left.unwrap_or(0));
        left.is_some()
    }

    pub fn problem(&self, kind: ProblemKind, message: &str) -> Problem {
        Problem::new(kind, self.path, format!("{}{message}", self.part))
    }
}

/// The names that a pickle would run, and those that it only imports.
#[derive(Default)]
struct Names {
    /// The names that would run, in the pickle's order, each once.
    dangerous: Vec<(String, usize)>,
    full: Vec<(String, usize)>,
    /// Names of packages other than Python's, torch's and numpy's that are called.
    odd: Vec<(String, usize)>,
}

/// Judges the calls and imports of a pickle.
pub(super) fn imports(pickle: &Pickle, whose: Whose<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(position) = pickle.unrestricted.filter(|_| whose.torchs && !whose.torchscript) {
        let message = format!(
            "it loads only with weights_only=False: the instruction at byte {position} is of another pickle \
             protocol than torch's own"
        );
        problems.push(whose.problem(ProblemKind::NeedsFullUnpickle, &message));
    }
    let Names { dangerous, full, mut odd } = names(pickle, whose);
    if !dangerous.is_empty() {
        problems.push(whose.problem(ProblemKind::UnsafePickle, &format!("loading it would run {}", list(&dangerous))));
    }
    // Odd names come first, so that ten ordinary ones do not hide them.
    odd.extend(full);
    if !odd.is_empty() {
        let message = format!("it loads only with weights_only=False: it imports {}", list(&odd));
        problems.push(whose.problem(ProblemKind::NeedsFullUnpickle, &message));
    }
    for inner in &pickle.nested {
        problems.extend(imports(inner, whose));
    }
    problems
}

fn list(names: &[(String, usize)]) -> String {
    let shown: Vec<String> =
        names.iter().take(NAMED).map(|(name, position)| format!("{} (byte {position})", cut(name))).collect();
    match names.len().checked_sub(NAMED) {
        Some(more @ 1..) => format!("{} and {more} more", shown.join(", ")),
        _ => shown.join(", "),
    }
}

fn names(pickle: &Pickle, whose: Whose<'_>) -> Names {
    let unsafe_ids = unsafe_imports(pickle);
    let called: HashSet<u32> = called(pickle).collect();
    let mut names = Names::default();
    for (index, global) in (0u32..).zip(&pickle.globals) {
        if whose.torchscript && global.module.starts_with("__torch__") {
            continue;
        }
        if whose.functions && agent::rebuilds(&global.module, &global.name) {
            continue;
        }
        let name = (format!("{}.{}", cut(&global.module), cut(&global.name)), global.position);
        let trust = globals::trust(&global.module, &global.name);
        // A call was judged by its arguments, unless the name alone is an alarm.
        if trust == Trust::Dangerous || unsafe_ids.contains(&index) {
            names.dangerous.push(name);
        } else if trust == Trust::NeedsFullUnpickle {
            let odd = called.contains(&index) && is_foreign(&global.module);
            if odd { &mut names.odd } else { &mut names.full }.push(name);
        }
    }
    // Calls of objects that are not imports.
    for node in &pickle.nodes {
        let Node::Call { function, arguments, .. } = node else { continue };
        if pickle.global(*function).is_some() || names.dangerous.len() > NAMED {
            continue;
        }
        if whose.functions && agent::makes_code(pickle, *function) {
            continue;
        }
        if makers::called(pickle, *function, *arguments) == Trust::Dangerous {
            let name = (makers::called_name(pickle, *function), pickle.length);
            if !names.dangerous.contains(&name) {
                names.dangerous.push(name);
            }
        }
    }
    names
}

/// Imports that are called.
fn called(pickle: &Pickle) -> impl Iterator<Item = u32> + '_ {
    pickle.nodes.iter().filter_map(|node| match node {
        Node::Call { function, .. } => global(pickle, *function),
        _ => None,
    })
}

fn global(pickle: &Pickle, id: Id) -> Option<u32> {
    match pickle.node(id) {
        Node::Global(index) => Some(*index),
        _ => None,
    }
}

/// Whether a harmless call may have arguments that are harmless only when they are called.
fn takes_functions(pickle: &Pickle, index: u32) -> bool {
    pickle.globals.get(index as usize).is_some_and(|g| makers::is_conditional(&g.module, &g.name))
}

/// Imports that are called, changed or handed over in a way that could run something.
fn unsafe_imports(pickle: &Pickle) -> HashSet<u32> {
    let mut found: HashSet<u32> = pickle.assigned.iter().copied().collect();
    let mut excused: HashSet<Id> = HashSet::new();
    for node in &pickle.nodes {
        let Node::Call { function, arguments, .. } = node else { continue };
        if makers::called(pickle, *function, *arguments) == Trust::Dangerous {
            found.extend(global(pickle, *function));
        } else if global(pickle, *function).is_some_and(|index| takes_functions(pickle, index)) {
            excused.insert(*arguments);
        }
    }
    let conditional: HashSet<u32> = (0u32..)
        .zip(&pickle.globals)
        .filter(|(_, g)| makers::is_conditional(&g.module, &g.name))
        .map(|(index, _)| index)
        .collect();
    if conditional.is_empty() {
        return found;
    }
    // An import that is harmless only as the function of a call must be nowhere else.
    let mut loose = |id: Id| found.extend(global(pickle, id).filter(|index| conditional.contains(index)));
    for (id, node) in (0u32..).zip(&pickle.nodes) {
        match node {
            Node::Tuple(items) if !excused.contains(&id) => items.iter().copied().for_each(&mut loose),
            Node::List(items) => items.iter().copied().for_each(&mut loose),
            Node::Dict(items) => items.iter().flat_map(|(key, value)| [*key, *value]).for_each(&mut loose),
            Node::Call { state, items, .. } => {
                state.iter().copied().for_each(&mut loose);
                items.iter().flat_map(|(key, value)| [*key, *value]).for_each(&mut loose);
            }
            _ => {}
        }
    }
    found
}

/// A stream's first pickle, and the problems of it and of all pickles after it.
pub(crate) struct Judged {
    pub first: Pickle,
    /// Why the first pickle cannot be followed to its end.
    pub error: Option<PickleError>,
    /// Whether a function is rebuilt in one of them from its code.
    pub functions: bool,
    pub problems: Vec<Problem>,
}

/// Judges every pickle of a part, one after another, and the files inside them.
pub(crate) fn part(part: &mut FilePart<'_>, whose: Whose<'_>) -> io::Result<Judged> {
    let mut problems = Vec::new();
    let mut inner: Vec<Nested> = Vec::new();
    let mut gather = |pickle: &Pickle, before: usize| {
        let room = FILES.saturating_sub(inner.len());
        inner.extend(makers::nested_files(pickle).take(room).map(|nested| match nested {
            Nested::Span(start, length) => Nested::Span(start.saturating_add(before as u64), length),
            held @ Nested::Held(_) => held,
        }));
    };
    let mut stream = part.stream()?;
    let (mut first, error) = pickle::follow(&mut *stream);
    problems.extend(imports(&first, whose));
    let rebuilds = |pickle: &Pickle| pickle.globals.iter().any(|g| agent::rebuilds(&g.module, &g.name));
    let mut functions = rebuilds(&first);
    gather(&first, 0);
    let mut at = first.length;
    if error.is_none() {
        // Readers that load in a loop also run the pickles after the first.
        let (mut count, mut objects) = (1, first.objects());
        while !stream.fill_buf()?.is_empty() {
            if count >= PICKLES || objects >= OBJECTS {
                let message = "it has more pickles after its first than this reader follows";
                problems.push(whose.problem(ProblemKind::PickleInvalid, message));
                break;
            }
            let (mut next, error) = pickle::follow(&mut *stream);
            for global in &mut next.globals {
                global.position = global.position.saturating_add(at);
            }
            // Only the first pickle's instructions decide how torch loads the file.
            next.unrestricted = None;
            problems.extend(imports(&next, whose).into_iter().filter(|f| f.kind == ProblemKind::UnsafePickle));
            functions |= rebuilds(&next);
            gather(&next, at);
            at = at.saturating_add(next.length);
            (count, objects) = (count + 1, objects.saturating_add(next.objects()));
            if error.is_some() {
                break;
            }
        }
    }
    drop(stream);
    if whose.depth > 0 {
        // The first pickle's objects are of no further use, and the files in it need the room.
        (first.nodes, first.nested) = (Vec::new(), Vec::new());
    }
    for nested in inner {
        // A compressed part is unpacked from its start for each file, so each file costs all bytes before its end.
        if let (Nested::Span(start, length), false) = (&nested, part.is_plain())
            && !whose.spend(start.saturating_add(*length))
        {
            problems.push(
                whose.problem(ProblemKind::PickleInvalid, "it has more compressed files than this reader unpacks"),
            );
            break;
        }
        if whose.depth >= NESTED {
            problems.push(whose.problem(
                ProblemKind::PickleInvalid,
                "files are nested in its pickles deeper than this reader follows",
            ));
            break;
        }
        let judged = match nested {
            Nested::Span(start, length) => {
                part.within(start, length).map(|mut file| super::walk::inner(&mut *file, length, whose))
            }
            Nested::Held(bytes) => {
                let length = bytes.len() as u64;
                Ok(super::walk::inner(&mut io::Cursor::new(bytes), length, whose))
            }
        };
        match judged {
            Ok(judged) => problems.extend(judged),
            Err(error) => {
                let message = format!("a file inside its pickle cannot be read: {}", complaint(&error));
                problems.push(whose.problem(ProblemKind::PickleInvalid, &message));
            }
        }
    }
    Ok(Judged { first, error, functions, problems })
}

/// Judges all pickles of a file from a place on.
pub(crate) fn file(file: &mut dyn Seekable, start: u64, length: u64, whose: Whose<'_>) -> io::Result<Judged> {
    part(&mut FilePart::plain(file, start, length.saturating_sub(start)), whose)
}
