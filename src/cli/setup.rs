//! From flags and the environment to the repos that are meant and a session that works on them.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use hfget::finding::{ExitCode, Policy};
use hfget::hub::{ConfigError, HubConfig, cache_dir};
use hfget::model::{RepoSpec, Revision};
use hfget::session::{Config, Destination, Session};

use super::args::{Place, Repos, Transfer};
use super::screen::{Screen, env_flag};

/// The specs with `--revision` applied, and the endpoint that pasted URLs name.
pub(super) fn specs(repos: &Repos, screen: &Screen) -> Result<Vec<RepoSpec>, ExitCode> {
    let mut specs = repos.named.clone();
    if let Some(file) = &repos.from_file {
        specs.extend(listed(file).map_err(|why| {
            screen.fail("--from-file", &why, None);
            ExitCode::Usage
        })?);
    }
    for spec in &mut specs {
        apply_revision(spec, repos.revision.as_ref());
    }
    if specs.len() > 1 && specs.iter().any(|s| s.endpoint != specs[0].endpoint) {
        screen.fail("", &"the URLs name different hosts; run once for each", None);
        return Err(ExitCode::Usage);
    }
    Ok(specs)
}

/// The repos that a file names, or stdin as `-`: one a line, `#` starts a comment. The error is a
/// sentence that names the file.
pub(super) fn listed(file: &Path) -> Result<Vec<RepoSpec>, String> {
    /// A name is short; nobody lists millions.
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
        // A '#' in a name would be part of a URL's fragment, which names no repo.
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

/// The Hub that `--endpoint` or the environment names, or a pasted URL where `--endpoint` does not. A run that asks
/// nobody needs no token.
pub(super) fn hub(endpoint: Option<&str>, pasted: Option<&str>, offline: bool) -> Result<HubConfig, ConfigError> {
    let env = |name: &str| match name {
        "HF_HUB_DISABLE_IMPLICIT_TOKEN" if offline => Some("1".into()),
        proxy if offline && proxy.to_ascii_uppercase().ends_with("_PROXY") => None,
        name => std::env::var_os(name),
    };
    let hub = HubConfig::from_env(endpoint, env)?;
    match pasted.filter(|_| endpoint.is_none()) {
        Some(url) => hub.pasted(url),
        None => Ok(hub),
    }
}

/// A session as the flags and the environment say; `elsewhere`, when given, is where files go instead.
pub(super) fn session(
    place: &Place,
    transfer: &Transfer,
    deep: bool,
    screen: &Screen,
    pasted: Option<&str>,
    elsewhere: Option<Destination>,
) -> Result<Session, ExitCode> {
    let env = |name: &str| std::env::var_os(name);
    let offline = place.offline || env_flag("HF_HUB_OFFLINE") || env_flag("TRANSFORMERS_OFFLINE");
    let hub = hub(place.endpoint.as_deref(), pasted, offline).map_err(|error| {
        screen.fail("", &error, None);
        ExitCode::Usage
    });
    let mut hub = hub?;
    if let Some(withheld) = &hub.withheld {
        screen.note(withheld);
    }
    if let Some(transport) = transfer.transport {
        hub.transport = transport;
    }
    transfer.patience.apply(&mut hub);
    let mut mirrors = Vec::new();
    for url in &place.mirror {
        let mirror = hub.mirror(url).map_err(|error| {
            screen.fail("", &error, None);
            ExitCode::Usage
        })?;
        mirrors.push(mirror);
    }
    let destination = match (elsewhere, &place.local_dir, &place.cache_dir) {
        (Some(elsewhere), _, _) => elsewhere,
        (None, Some(dir), _) => Destination::LocalDir(dir.clone()),
        (None, None, dir) => {
            let Some(root) = dir.clone().or_else(|| cache_dir(env)) else {
                screen.fail(
                    "",
                    &"there is no home folder to put the cache into",
                    Some("pass --cache-dir DIR, or set HF_HOME"),
                );
                return Err(ExitCode::Usage);
            };
            Destination::Cache { root, symlinks: !env_flag("HF_HUB_DISABLE_SYMLINKS") }
        }
    };
    let policy = Policy::new(transfer.deny.iter().copied(), transfer.allow.iter().copied()).map_err(|error| {
        screen.fail("--allow", &error, None);
        ExitCode::Usage
    })?;
    let mut config = Config::new(hub, destination);
    config.mirrors = mirrors;
    #[cfg(feature = "object-store")]
    {
        config.records = hfget::hub::records_dir(env);
    }
    config.offline = offline;
    config.prefer_offline = place.prefer_offline;
    config.fetch.jobs = transfer.jobs.map_or(config.fetch.jobs, usize::from);
    config.fetch.connections = transfer.connections.map_or(config.fetch.connections, usize::from);
    config.fetch.limit_rate = transfer.limit_rate;
    config.fetch.force = transfer.force;
    config.allow_unsafe_pickle = transfer.allow_unsafe_pickle;
    config.deep = deep;
    config.policy = policy;
    Session::new(config, Arc::clone(&screen.progress)).map_err(|error| {
        screen.fail("", &error, error.hint().as_deref());
        error.exit_code()
    })
}
