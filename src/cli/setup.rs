//! From flags and the environment to the repos that are meant and a session that works on them.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use hfget_core::finding::{ExitCode, Policy};
use hfget_core::hub::{HubConfig, Token, cache_dir};
use hfget_core::model::{RepoSpec, Revision};
use hfget_core::session::{Config, Destination, Session};

use super::args::{Place, Repos, Transfer};
use super::screen::{Screen, env_flag};
use super::words::{self, Named};

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

/// What the words name, or why not.
pub(super) fn named(repos: &Repos, screen: &Screen) -> Result<Named, ExitCode> {
    words::read(repos).map_err(|(what, hint)| {
        screen.fail("", &what, hint.as_deref());
        ExitCode::Usage
    })
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
    let endpoint = place.endpoint.as_deref().or(pasted);
    let mut hub = HubConfig::from_env(endpoint, env).map_err(|error| {
        screen.fail("", &error, None);
        ExitCode::Usage
    })?;
    if let Some(transport) = transfer.transport {
        hub.transport = transport;
    }
    transfer.patience.apply(&mut hub);
    if let Some(secret) = &place.token {
        let fail = |text: &dyn std::fmt::Display| {
            screen.fail("--token", text, None);
            Err(ExitCode::Usage)
        };
        // A token goes to the endpoint that the user configured, and to no other.
        if pasted.is_some() && place.endpoint.is_none() {
            return fail(&"a token is not sent to the host of a pasted address; name the host with --endpoint");
        }
        match Token::new(secret.reveal()) {
            Ok(token) => hub.token = Some(token),
            Err(error) => return fail(&error),
        }
        screen.note("--token stays in the history of the shell, and other users can see it; set HF_TOKEN instead");
    }
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
        config.records = hfget_core::hub::records_dir(env);
    }
    config.offline = place.offline || env_flag("HF_HUB_OFFLINE") || env_flag("TRANSFORMERS_OFFLINE");
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
