//! PEFT adapters: their weights, and the repo that they build on.

use serde_json::Value;

use super::choose::{Stems, choose};
use super::model::MODEL;
use super::picks::{Picks, Wish};
use super::sets::Query;
use super::view::View;
use crate::finding::{Code, Finding, Remedy};
use crate::model::{Family, RepoId};
use crate::text::brief;

/// Takes a PEFT adapter; returns whether there is one.
pub(super) fn adapter(view: &View<'_>, wish: &Wish, dir: &str, picks: &mut Picks) -> bool {
    if view.find(dir, "adapter_config.json").is_none() {
        return false;
    }
    let document = view.json(dir, "adapter_config.json").here();
    let stems: Stems = |_| (&["adapter_model"], &[]);
    // Other families have no adapters with these names.
    let mut wish = wish.clone();
    wish.order.retain(|family| matches!(family, Family::Safetensors | Family::Bin));
    let choice = choose(view, &wish, Query { any_name: false, ..MODEL }, dir, stems);
    let Some(set) = &choice.set else { return false };
    choice.report(view, dir, &wish);
    picks.take_set(view, dir, set, false);
    if let Some(base) = document.as_ref().and_then(|d| d.get("base_model_name_or_path")).and_then(Value::as_str) {
        base_model(view, dir, "adapter_config.json", base, picks);
    }
    true
}

/// Adds a finding about the base model's repo, which the document `by` names: it is another download.
pub(super) fn base_model(view: &View<'_>, dir: &str, by: &str, base: &str, picks: &mut Picks) {
    let path = view.find(dir, by).map_or(by, |e| e.path.as_str());
    match base.parse::<RepoId>() {
        Ok(id) => {
            let message = format!("it builds on another repo, {id}, which was not fetched");
            view.find_out(Finding::new(Code::BaseModel, path, message).remedy(Remedy::Fetch {
                repo: id.to_string(),
                revision: None,
                was_offline: false,
            }));
            picks.repos.insert(id.as_str().to_owned());
        }
        Err(_) if base.is_empty() => {}
        Err(_) => {
            let message = format!("it builds on \"{}\", which is not a repo id", brief(base));
            view.find_out(Finding::new(Code::BaseModel, path, message));
        }
    }
}
