//! The credentials of a registry, from the files of docker and podman and from the helpers that these files name.
//! `auth` uses them.
//!
//! `docker_credential` reads the files: a small crate that knows `auths`, `credHelpers`, `credsStore` and the
//! helpers' protocol, and lets the caller choose the file. It does not know podman's keys for a part of a registry
//! (`quay.io/acme`); this file chooses among them. Helpers inherit this process's environment, because they need it.

use std::path::PathBuf;

use docker_credential::{CredentialRetrievalError as Trouble, DockerCredential};

use crate::oci::{OciConfig, OciError};
use crate::text::{keep_secret, printable};

/// The largest file of credentials; a real one is far smaller.
const LIMIT: u64 = 4 << 20;
/// The names of docker's own registry in files of credentials.
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "https://index.docker.io/v1/"];

/// The credentials for a registry or for its token server.
#[derive(Clone)]
pub(super) enum Credential {
    /// A user and a password.
    Password(String, String),
    /// A token that is exchanged for other tokens.
    Identity(String),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The files to search, and the registry to search for.
#[derive(Debug, Clone)]
pub(super) struct Keyring {
    files: Vec<PathBuf>,
    /// The registry and its parts, the longest first.
    keys: Vec<String>,
}

impl Keyring {
    pub fn new(config: &OciConfig, registry: &str, name: &str) -> Self {
        let at = |variable: &str, below: &str| {
            config.option(variable).filter(|folder| !folder.is_empty()).map(|folder| PathBuf::from(folder).join(below))
        };
        let named = config.option("REGISTRY_AUTH_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let docker = at("DOCKER_CONFIG", "config.json").or_else(|| at("HOME", ".docker/config.json"));
        let podman = [at("XDG_RUNTIME_DIR", "containers/auth.json"), at("HOME", ".config/containers/auth.json")];
        let files = [named, docker].into_iter().chain(podman).flatten().collect();
        let mut keys = Vec::new();
        let mut part = format!("{registry}/{name}");
        while let Some((above, _)) = part.rsplit_once('/') {
            let above = above.to_owned();
            keys.push(std::mem::replace(&mut part, above));
        }
        keys.push(part);
        if registry == DOCKER_HUB[0] {
            keys.extend(DOCKER_HUB[1..].iter().map(|key| (*key).to_owned()));
        }
        Keyring { files, keys }
    }

    /// The first credentials found. May run a helper, so it takes a while.
    pub async fn find(&self) -> Result<Option<Credential>, OciError> {
        let keyring = self.clone();
        let found = tokio::task::spawn_blocking(move || {
            keyring.files.iter().find_map(|file| keyring.look_in(file).transpose()).transpose()
        });
        // The thread ends by itself unless it panics.
        let found = found.await.unwrap_or(Ok(None))?;
        if let Some(Credential::Password(_, secret) | Credential::Identity(secret)) = &found {
            keep_secret(secret);
        }
        Ok(found)
    }

    fn look_in(&self, file: &PathBuf) -> Result<Option<Credential>, OciError> {
        use std::io::Read as _;
        let fail = |why: String| {
            let place = printable(&file.display().to_string()).into_owned();
            OciError::Setup { place, why: printable(&why).into_owned() }
        };
        let mut text = Vec::new();
        match std::fs::File::open(file) {
            Ok(opened) => opened.take(LIMIT).read_to_end(&mut text).map_err(|e| fail(e.to_string()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error.to_string())),
        };
        read(&text, &self.keys, Helpers::Asked).map_err(fail)
    }
}

/// Whether to run the helpers that a file names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Helpers {
    Asked,
    Left,
}

/// The entry of a file's text for the first of these keys. The error is a sentence about the file.
pub(super) fn read(text: &[u8], keys: &[String], helpers: Helpers) -> Result<Option<Credential>, String> {
    let json: serde_json::Value = serde_json::from_slice(text).map_err(|_| "it is not JSON".to_owned())?;
    if helpers == Helpers::Left && ["credHelpers", "credsStore"].iter().any(|table| json.get(table).is_some()) {
        return Ok(None);
    }
    let has = |key: &&String| ["auths", "credHelpers"].iter().any(|table| json[table].get(key.as_str()).is_some());
    // The last name is the one that docker's own tools use.
    let Some(key) = keys.iter().find(has).or_else(|| keys.last()) else { return Ok(None) };
    match docker_credential::get_credential_from_reader(text, key) {
        Ok(DockerCredential::UsernamePassword(user, secret)) => Ok(Some(Credential::Password(user, secret))),
        Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Credential::Identity(token))),
        Err(Trouble::NoCredentialConfigured) => Ok(None),
        // The helpers' words for "no credentials".
        Err(Trouble::HelperFailure { ref stdout, ref stderr, .. })
            if [stdout, stderr].iter().any(|text| text.to_lowercase().contains("credentials not found")) =>
        {
            Ok(None)
        }
        // The helper's output may contain a secret.
        Err(Trouble::HelperFailure { helper, .. }) => {
            Err(format!("it names the helper {helper}, which failed for {key}"))
        }
        Err(Trouble::HelperCommunicationError) => {
            Err(format!("it names a helper for {key} that cannot be run: is docker-credential-… in PATH?"))
        }
        Err(Trouble::MalformedHelperResponse) => Err(format!("its helper's answer for {key} is not JSON")),
        Err(_) => Err(format!("its entry for {key} cannot be read")),
    }
}

#[cfg(test)]
#[path = "tests/keyring.rs"]
mod tests;
