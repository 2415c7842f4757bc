//! From flags and the environment to the repos that are meant and a session that works on them.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hfget_core::finding::{ExitCode, Policy};
use hfget_core::hub::{ConfigError, HubConfig, Token, cache_dir};
use hfget_core::model::{RepoId, RepoSpec, RepoType, Revision};
use hfget_core::session::{Config, Destination, Session};
use hfget_core::text::printable;

use super::args::{Place, Repos, Transfer};
use super::keyless::job_token;
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

/// Files that can be on their way at once with the descriptors that there are: each takes locks, a partial, a journal
/// and a connection, and some folders while it gets its name.
fn descriptor_room() -> usize {
    /// What the process has open besides.
    const OTHERS: u64 = 32;
    const EACH: u64 = 10;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(OTHERS) / EACH).max(1);
    usize::try_from(room).unwrap_or(usize::MAX)
}

/// The folder of each repo, where --local-dir has a place for the repo's name; nothing where one folder is for all.
/// A folder holds one repo: what would be put into one twice is refused.
pub(super) fn folders<'a>(
    place: &Place,
    repos: impl IntoIterator<Item = (RepoType, &'a RepoId)>,
    screen: &Screen,
) -> Result<Vec<Destination>, ExitCode> {
    let Some(dir) = &place.local_dir else { return Ok(Vec::new()) };
    let repos: Vec<(RepoType, &RepoId)> = repos.into_iter().collect();
    let template = dir.to_str().filter(|text| ["{owner}", "{name}", "{type}"].iter().any(|word| text.contains(word)));
    let expand = |(repo_type, id): (RepoType, &RepoId)| {
        let (owner, name) = id.as_str().split_once('/').unwrap_or(("", id.as_str()));
        match template {
            // The Hub's oldest repos have no owner: a folder of no name is none.
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
            let text = format!("{other} and {name} would go into one folder, which holds one repo");
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
    Ok(repos.into_iter().map(|repo| Destination::LocalDir(expand(repo))).collect())
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

/// Credentials that other programs read and this one does not: who has set them must not wonder why they are refused.
fn not_read(
    place: &Place,
    destination: &Destination,
    env: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Option<&'static str> {
    let set = |name: &str| env(name).is_some_and(|value| !value.is_empty());
    let is_s3 = |url: &str| url.starts_with("s3://");
    let named = place.mirror.iter().chain(&place.endpoint).any(|url| is_s3(url));
    #[cfg(feature = "object-store")]
    let named = named || matches!(destination, Destination::Objects(url) if is_s3(&url.to_string()));
    #[cfg(not(feature = "object-store"))]
    let _ = destination;
    (named && set("AWS_PROFILE") && !set("AWS_ACCESS_KEY_ID")).then_some(
        "AWS_PROFILE is set, and hfget does not read profiles; \
         `eval \"$(aws configure export-credentials --format env)\"` puts the credentials into the environment",
    )
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
        screen.note(&"--token stays in the history of the shell, and other users can see it; set HF_TOKEN instead");
    }
    // The host of a pasted address is not the one that trusts this job.
    let foreign = pasted.is_some()
        && self::hub(place.endpoint.as_deref(), None, offline)
            .is_ok_and(|own| own.endpoint.origin() != hub.endpoint.origin());
    if place.token.is_none() && !offline && !foreign {
        job_token(&mut hub, screen)?;
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
    if let Some(note) = not_read(place, &destination, env) {
        screen.note(&note);
    }
    let policy = Policy::new(transfer.deny.iter().copied(), transfer.allow.iter().copied()).map_err(|error| {
        screen.fail("--allow", &error, None);
        ExitCode::Usage
    })?;
    let nearby = match &destination {
        Destination::Cache { .. } => None,
        _ => cache_dir(env),
    };
    let mut config = Config::new(hub, destination);
    config.nearby = nearby;
    config.fetch.check_space = !transfer.no_space_check;
    config.mirrors = mirrors;
    #[cfg(feature = "object-store")]
    {
        config.records = hfget_core::hub::records_dir(env);
    }
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
    config.deep = deep;
    config.policy = policy;
    Session::new(config, Arc::clone(&screen.progress)).map_err(|error| {
        screen.fail("", &error, error.hint().as_deref());
        error.exit_code()
    })
}
