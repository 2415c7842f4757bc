//! Compares selection with the files that the real loaders asked for: recorded repos (`tests/data/oracle.json`)
//! and layouts of real repos in miniature (`tests/data/layouts.json`). `cases.rs` makes the repos.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::case_sensitive_file_extension_comparisons
)]

mod cases;
#[allow(dead_code)]
#[path = "../selection/support.rs"]
mod support;

use std::collections::BTreeSet;

use cases::{Case, layouts, repos};
use hfget_core::finding::ErrorKind;
use hfget_core::model::Options;
use hfget_core::select::SelectError;
use hfget_core::session::Error;
use support::{Outcome, variant};

/// Prints the wrong cases with their number; fails if there are any.
fn judge(what: &str, cases: &[Case], check: impl Fn(&Case) -> Vec<String>) {
    let mut wrong = Vec::new();
    for case in cases {
        let said = check(case);
        if !said.is_empty() {
            wrong.push(case.name.as_str());
        }
        for line in said {
            eprintln!("{}: {line}", case.name);
        }
    }
    eprintln!("{what}: {} right, {} wrong", cases.len() - wrong.len(), wrong.len());
    assert!(wrong.is_empty(), "{what}: {wrong:?}");
    assert!(!cases.is_empty(), "{what}: no cases");
}

fn select(case: &Case, options: &Options) -> Result<Outcome, Vec<String>> {
    case.repo.select(options).inspect(Outcome::check).map_err(|error| vec![format!("{error:?}")])
}

/// The files of `needs` that are not taken, and the large files that are taken although no loader needs them.
fn held_to_needs(case: &Case, outcome: &Outcome) -> Vec<String> {
    let taken: BTreeSet<&str> = outcome.paths().into_iter().collect();
    let lacks = case.needs.iter().filter(|path| !taken.contains(path.as_str())).map(|path| format!("lacks {path}"));
    let known = |path: &&&str| case.needs.contains(**path) || case.may.contains(**path);
    let wasted = taken.iter().filter(|path| !known(path) && case.repo.files[**path] > case.waste_over);
    lacks.chain(wasted.map(|path| format!("wastes {path}"))).collect()
}

fn asks(error: &SelectError) -> bool {
    matches!(error, SelectError::Ambiguous { .. } | SelectError::Several { .. })
}

#[test]
fn every_recorded_repo_gives_what_its_loader_asked_for_and_nothing_large_besides() {
    judge("recorded repos", &repos(), |case| match case.repo.select(&Options::default()) {
        Err(error) if case.ask && asks(&error) => Vec::new(),
        Err(error) => vec![format!("{error:?}")],
        Ok(_) if case.ask => vec!["takes something, but had to ask".to_owned()],
        Ok(outcome) => {
            outcome.check();
            held_to_needs(case, &outcome)
        }
    });
}

/// Checks that the weights that `options` take are the recorded ones.
fn held_to_weights(case: &Case, options: &Options, recorded: &BTreeSet<String>) -> Vec<String> {
    let outcome = match select(case, options) {
        Ok(outcome) => outcome,
        Err(said) => return said,
    };
    let taken: BTreeSet<String> = outcome.weights().into_iter().map(str::to_owned).collect();
    if &taken == recorded { Vec::new() } else { vec![format!("takes {taken:?}, not {recorded:?}")] }
}

#[test]
fn a_preference_for_bin_takes_the_weights_that_loaders_take_without_safetensors() {
    let cases: Vec<Case> = repos().into_iter().filter(|case| case.prefer_bin.is_some()).collect();
    judge("--prefer bin", &cases, |case| {
        held_to_weights(case, &support::prefer("bin"), case.prefer_bin.as_ref().expect("filtered"))
    });
}

#[test]
fn a_variant_takes_the_weights_that_loaders_take_for_it() {
    let cases: Vec<Case> = repos().into_iter().filter(|case| case.variant_fp16.is_some()).collect();
    judge("--variant fp16", &cases, |case| {
        held_to_weights(case, &variant("fp16"), case.variant_fp16.as_ref().expect("filtered"))
    });
}

#[test]
fn every_layout_is_selected_or_asked_about_as_its_loader_needs() {
    judge("layouts", &layouts(), |case| match case.repo.select(&case.options) {
        Err(error) => {
            let end = if Error::from(error.clone()).kind() == ErrorKind::Usage { 2 } else { 3 };
            let right = end == case.exit && (!case.ask || asks(&error));
            if right { Vec::new() } else { vec![format!("exit {end}, not {}: {error:?}", case.exit)] }
        }
        Ok(_) if case.exit != 0 => vec![format!("takes something, but had to end with {}", case.exit)],
        Ok(outcome) => {
            outcome.check();
            let mut said = held_to_needs(case, &outcome);
            said.extend(case.must_not.iter().filter(|p| outcome.takes(p)).map(|path| format!("takes {path}")));
            said
        }
    });
}

#[test]
fn what_was_left_out_and_what_is_asked_for_is_had_by_following_the_hint() {
    judge("hints", &[repos(), layouts()].concat(), |case| {
        let mut said = support::idle_flags(&case.repo, &case.options);
        let (choices, folders) = match case.repo.select(&case.options) {
            Err(SelectError::Several { choices, .. }) => (choices, false),
            Err(SelectError::Ambiguous { choices }) => (choices, true),
            Err(_) | Ok(_) => return said,
        };
        let follow = |(name, _): &(String, u64)| {
            let mut options = case.options.clone();
            if folders {
                options.subfolder = Some(name.parse().unwrap());
            } else {
                options.variant = Some(name.clone());
            }
            let outcome = select(case, &options);
            outcome.err().map(|said| format!("{name}: {said:?}"))
        };
        let all = Options { all: true, ..case.options.clone() };
        said.extend(choices.iter().filter_map(follow).chain(select(case, &all).err().into_iter().flatten()));
        said
    });
}

#[test]
fn a_plan_asks_for_few_documents_in_few_rounds() {
    judge("budget", &[repos(), layouts()].concat(), |case| {
        let Ok(outcome) = case.repo.select(&case.options) else { return Vec::new() };
        let mut said = Vec::new();
        if outcome.rounds > 3 {
            said.push(format!("{} rounds", outcome.rounds));
        }
        // Beside these, a plan asks for the commit and for the listing: twelve requests.
        if outcome.asked > 10 {
            said.push(format!("{} documents", outcome.asked));
        }
        said
    });
}
