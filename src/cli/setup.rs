//! From flags and the environment to the named repos and a session for them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hfget_core::finding::Policy;
use hfget_core::hub::{ConfigError, HubConfig, Token, cache_dir};
use hfget_core::model::{RepoId, RepoSpec, RepoType, Revision};
#[cfg(feature = "object-store")]
use hfget_core::session::StoreConfig;
use hfget_core::session::{Config, DestinationConfig, OciConfig, Session, SourceConfig, Trust};
use hfget_core::unstable::hub::records_dir;
use hfget_core::unstable::model::OciReference;
#[cfg(feature = "object-store")]
use hfget_core::unstable::object_store::ObjectUrl;
use hfget_core::unstable::text::printable;

use super::args::{PlaceArgs, Repos, Secret, Transfer};
use super::keyless::job_token;
use super::screen::{Screen, env_flag};
use super::system::descriptors;
use super::words::{self, Named};
use crate::exit::{Ends, ExitCode};
use crate::render::remedies::{self, words};

/// The repos that `--from-file` names.
pub(super) fn from_file(repos: &Repos, screen: &Screen) -> Result<Vec<RepoSpec>, ExitCode> {
    let Some(file) = &repos.from_file else { return Ok(Vec::new()) };
    listed(file).map_err(|why| {
        screen.fail("--from-file", &why, None);
        ExitCode::Usage
    })
}

/// The specs with `--revision` applied, of one host.
pub(super) fn specs(
    mut specs: Vec<RepoSpec>,
    revision: Option<&Revision>,
    screen: &Screen,
) -> Result<Vec<RepoSpec>, ExitCode> {
    for spec in &mut specs {
        apply_revision(spec, revision);
    }
    if specs.len() > 1 && specs.iter().any(|s| s.endpoint != specs[0].endpoint) {
        screen.fail("", &"the URLs name different hosts; run once for each", None);
        return Err(ExitCode::Usage);
    }
    Ok(specs)
}

/// The repos and files that the words name, or the printed reason why not.
pub(super) fn named(repos: &Repos, screen: &Screen) -> Result<Named, ExitCode> {
    words::read(repos).map_err(|(what, hint)| {
        screen.fail("", &what, hint.as_deref());
        ExitCode::Usage
    })
}

/// The repos that a file names, or stdin as `-`: one per line, `#` starts a comment. The error is a
/// sentence that names the file.
pub(super) fn listed(file: &Path) -> Result<Vec<RepoSpec>, String> {
    /// The most bytes of the file: names are short, and no list has millions.
    const LIMIT: u64 = 16 << 20;
    let shown = file.display();
    let unread = |e: std::io::Error| format!("{shown}: {e}");
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().take(LIMIT).read_to_string(&mut text).map_err(unread)?;
    } else {
        std::fs::File::open(file).map_err(unread)?.take(LIMIT).read_to_string(&mut text).map_err(unread)?;
    }
    let mut specs = Vec::new();
    for (at, line) in text.lines().enumerate() {
        // A '#' in a name could only start a URL's fragment, which does not name a repo.
        let name = line.split('#').next().unwrap_or_default().trim();
        if !name.is_empty() {
            specs.push(name.parse().map_err(|e| format!("{shown}:{}: {e}", at + 1))?);
        }
    }
    if specs.is_empty() { Err(format!("{shown} names no repo")) } else { Ok(specs) }
}

pub(super) fn apply_revision(spec: &mut RepoSpec, revision: Option<&Revision>) {
    if spec.revision.is_none() {
        spec.revision = revision.cloned();
    }
}

/// How many files can be fetched at once with the available descriptors: each takes locks, a partial, a journal and a
/// connection, and some folders while it gets its name.
fn descriptor_room() -> usize {
    /// Other descriptors of the process.
    const OTHERS: u64 = 32;
    const EACH: u64 = 10;
    let room = descriptors().map_or(u64::MAX, |limit| limit.saturating_sub(OTHERS) / EACH).max(1);
    usize::try_from(room).unwrap_or(usize::MAX)
}

/// The folder of each repo, if --local-dir has a placeholder for the repo's name; `None` if one folder is for all.
/// A folder is for one repo, so two repos in one folder are refused.
pub(super) fn folders<'a>(
    place: &PlaceArgs,
    repos: impl IntoIterator<Item = (RepoType, &'a RepoId)>,
    screen: &Screen,
) -> Result<Vec<DestinationConfig>, ExitCode> {
    let Some(dir) = &place.local_dir else { return Ok(Vec::new()) };
    let repos: Vec<(RepoType, &RepoId)> = repos.into_iter().collect();
    let template = dir.to_str().filter(|text| ["{owner}", "{name}", "{type}"].iter().any(|word| text.contains(word)));
    let expand = |(repo_type, id): (RepoType, &RepoId)| {
        let (owner, name) = id.as_str().split_once('/').unwrap_or(("", id.as_str()));
        match template {
            // The Hub's oldest repos have no owner, so an empty part of the path is left out.
            Some(text) => {
                let text = text.replace("{type}", repo_type.plural()).replace("{owner}", owner).replace("{name}", name);
                let absolute = if text.starts_with('/') { "/" } else { "" };
                PathBuf::from(absolute).join(text.split('/').filter(|part| !part.is_empty()).collect::<PathBuf>())
            }
            None => dir.clone(),
        }
    };
    let mut seen: HashMap<PathBuf, String> = HashMap::new();
    for repo in &repos {
        let name = repo.0.qualify(repo.1);
        if let Some(other) = seen.insert(expand(*repo), name.clone()) {
            let text = format!("{other} and {name} would go into one folder, but a folder is for one repo");
            let hint = format!(
                "give each a folder of its own, for example `--local-dir '{}/{{owner}}/{{name}}'`",
                if template.is_some() { "D/{type}".into() } else { printable(&dir.display().to_string()).to_string() }
            );
            screen.fail("--local-dir", &text, Some(&hint));
            return Err(ExitCode::Usage);
        }
    }
    if template.is_none() {
        return Ok(Vec::new());
    }
    Ok(repos.into_iter().map(|repo| DestinationConfig::LocalDir(expand(repo))).collect())
}

/// The environment as a run may see it. An offline run needs no token and no proxy.
fn environment(offline: bool) -> impl Fn(&str) -> Option<OsString> {
    move |name| match name {
        "HF_HUB_DISABLE_IMPLICIT_TOKEN" if offline => Some("1".into()),
        proxy if offline && proxy.to_ascii_uppercase().ends_with("_PROXY") => None,
        name => std::env::var_os(name),
    }
}

/// The variables that may have an object store's credentials.
fn store_options() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// An object store with the credentials of the environment.
#[cfg(feature = "object-store")]
pub(super) fn store_config(url: ObjectUrl) -> StoreConfig {
    StoreConfig::from(url).with_options(store_options())
}

/// A registry or an image layout, with the credentials of the environment.
pub(super) fn oci_config(reference: OciReference) -> OciConfig {
    OciConfig::from(reference).with_options(store_options())
}

/// The Hub that `--endpoint` names, otherwise that of a pasted URL, otherwise that of the environment.
pub(super) fn hub(endpoint: Option<&str>, pasted: Option<&str>) -> Result<HubConfig, ConfigError> {
    let hub = HubConfig::from_env(endpoint, environment(false))?;
    match pasted.filter(|_| endpoint.is_none()) {
        Some(url) => hub.pasted(url),
        None => Ok(hub),
    }
}

/// The same, if it may be an object store too.
fn source(endpoint: Option<&str>, pasted: Option<&str>, offline: bool) -> Result<SourceConfig, ConfigError> {
    let source = SourceConfig::from_env(endpoint, environment(offline), store_options())?;
    match pasted.filter(|_| endpoint.is_none()) {
        Some(url) => source.pasted(url),
        None => Ok(source),
    }
}

/// The token that `--token` gives.
fn typed_token(secret: &Secret, place: &PlaceArgs, pasted: Option<&str>, screen: &Screen) -> Result<Token, ExitCode> {
    let fail = |text: &dyn std::fmt::Display| {
        screen.fail("--token", text, None);
        ExitCode::Usage
    };
    // A token goes to the endpoint that the user configured, and to no other.
    if pasted.is_some() && place.endpoint.is_none() {
        return Err(fail(&"a token is not sent to the host of a pasted address; name the host with --endpoint"));
    }
    let token = Token::new(secret.reveal()).map_err(|error| fail(&error))?;
    screen.note(&"--token stays in the history of the shell, and other users can see it; set HF_TOKEN instead");
    Ok(token)
}

/// The Hub cache that the flags and the environment name.
pub(super) fn hub_cache(place: &PlaceArgs, screen: &Screen) -> Result<DestinationConfig, ExitCode> {
    let Some(root) = place.cache_dir.clone().or_else(|| cache_dir(|name: &str| std::env::var_os(name))) else {
        screen.fail("", &"no folder is known for the cache", Some("pass --cache-dir DIR, or set HF_HOME"));
        return Err(ExitCode::Usage);
    };
    Ok(DestinationConfig::Cache { root, symlinks: !env_flag("HF_HUB_DISABLE_SYMLINKS") })
}

/// Notes credentials that are set for other programs and that this one does not read, so that the user knows why access
/// is refused.
fn not_read(
    place: &PlaceArgs,
    destination: &DestinationConfig,
    env: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Option<&'static str> {
    let set = |name: &str| env(name).is_some_and(|value| !value.is_empty());
    let is_s3 = |url: &str| url.starts_with("s3://");
    let named = place.mirror.iter().chain(&place.endpoint).any(|url| is_s3(url));
    #[cfg(feature = "object-store")]
    let named = named || matches!(destination, DestinationConfig::Objects(store) if is_s3(&store.url().to_string()));
    #[cfg(not(feature = "object-store"))]
    let _ = destination;
    (named && set("AWS_PROFILE") && !set("AWS_ACCESS_KEY_ID")).then_some(
        "AWS_PROFILE is set, and hfget does not read profiles; \
         `eval \"$(aws configure export-credentials --format env)\"` puts the credentials into the environment",
    )
}

/// How much is checked, and by what.
#[derive(Clone, Copy, Default)]
pub(super) struct Checks {
    /// Also the checksums that the formats themselves have.
    pub deep: bool,
    /// Large files by their Xet hashes, if that is faster.
    pub xet_hashes: bool,
}

/// A session by the flags and the environment; `elsewhere`, if given, is the destination instead.
pub(super) fn session(
    place: &PlaceArgs,
    transfer: &Transfer,
    checks: Checks,
    screen: &Screen,
    pasted: Option<&str>,
    elsewhere: Option<DestinationConfig>,
    trusted: Vec<Trust>,
) -> Result<Session, ExitCode> {
    let env = |name: &str| std::env::var_os(name);
    let offline = place.offline || env_flag("HF_HUB_OFFLINE") || env_flag("TRANSFORMERS_OFFLINE");
    let bad = |error: ConfigError| {
        screen.fail("", &error, remedies::of_config(&error));
        ExitCode::Usage
    };
    let mut source = source(place.endpoint.as_deref(), pasted, offline).map_err(bad)?;
    // A file on this disk needs no network: it is there because the machine has none.
    let offline = offline && !source.is_here();
    transfer.patience.apply(source.timing_mut());
    if let Some(hub) = source.hub_mut() {
        if let Some(withheld) = &hub.withheld {
            screen.note(&remedies::withheld(withheld));
        }
        if let Some(transport) = transfer.transport {
            hub.transport = transport;
        }
        if let Some(secret) = &place.token {
            hub.token = Some(typed_token(secret, place, pasted, screen)?);
        } else if !offline {
            // The host of a pasted URL does not trust this job.
            let own = self::hub(place.endpoint.as_deref(), None);
            let foreign = pasted.is_some() && own.is_ok_and(|own| own.endpoint.origin() != hub.endpoint.origin());
            if !foreign {
                job_token(hub, screen)?;
            }
        }
    }
    let mirror = |url: &String| source.mirror(url, store_options()).map_err(bad);
    let mirrors = place.mirror.iter().map(mirror).collect::<Result<Vec<_>, ExitCode>>()?;
    let destination = match (elsewhere, &place.local_dir) {
        (Some(elsewhere), _) => elsewhere,
        (None, Some(dir)) => DestinationConfig::LocalDir(dir.clone()),
        (None, None) => hub_cache(place, screen)?,
    };
    if let Some(note) = not_read(place, &destination, env) {
        screen.note(&note);
    }
    let policy = Policy::new(transfer.deny.iter().copied(), transfer.allow.iter().copied()).map_err(|error| {
        screen.fail("--allow", &error, None);
        ExitCode::Usage
    })?;
    let nearby = match &destination {
        DestinationConfig::Cache { .. } => None,
        _ => cache_dir(env),
    };
    let mut config = Config::new(source, destination);
    config.nearby = nearby;
    config.fetch.check_space = !transfer.no_space_check;
    config.mirrors = mirrors;
    config.records = records_dir(env);
    config.offline = offline;
    config.prefer_offline = place.prefer_offline;
    config.fetch.jobs = transfer.jobs.map_or(config.fetch.jobs, usize::from);
    config.fetch.connections = transfer.connections.map_or(config.fetch.connections, usize::from);
    let room = descriptor_room();
    config.fetch.jobs = config.fetch.jobs.min(room);
    config.fetch.connections = config.fetch.connections.min(room);
    config.fetch.limit_rate = transfer.limit_rate;
    config.fetch.force = transfer.force;
    config.fetch.lock_wait = transfer.lock_wait.unwrap_or(config.fetch.lock_wait);
    config.allow_unsafe_pickle = transfer.allow_unsafe_pickle;
    config.deep = checks.deep;
    config.xet_hashes = checks.xet_hashes;
    config.policy = policy;
    config.trusted_signers = trusted;
    Session::new(config, Arc::clone(&screen.progress)).map_err(|error| {
        screen.fail("", &error, error.remedy().as_ref().map(words).as_deref());
        error.exit_code()
    })
}
