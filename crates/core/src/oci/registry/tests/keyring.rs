//! Credentials in the files of docker and podman. The tests read no file of this machine's user.

use super::*;
use crate::model::OciReference;

fn keyring(variables: &[(&str, &std::path::Path)], registry: &str, name: &str) -> Keyring {
    let reference: OciReference = format!("oci://{registry}/{name}:main").parse().unwrap();
    let options = variables.iter().map(|(name, path)| ((*name).to_owned(), path.to_str().unwrap().to_owned()));
    Keyring::new(&OciConfig::from(reference).with_options(options), registry, name)
}

fn found(keyring: &Keyring) -> Result<Option<(String, String)>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match runtime.block_on(keyring.find()) {
        Ok(Some(Credential::Password(user, secret))) => Ok(Some((user, secret))),
        Ok(Some(Credential::Identity(token))) => Ok(Some(("<token>".to_owned(), token))),
        Ok(None) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

// The form that the tests compare.
#[allow(clippy::unnecessary_wraps)]
fn pair(user: &str, secret: &str) -> Result<Option<(String, String)>, String> {
    Ok(Some((user.to_owned(), secret.to_owned())))
}

#[test]
fn the_file_that_is_named_comes_first_then_dockers_then_podmans() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, secret: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = format!(r#"{{"auths":{{"r.example":{{"username":"me","password":"{secret}"}}}}}}"#);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (home, run) = (folder.path().join("home"), folder.path().join("run"));
    let all = |named: Option<&std::path::Path>| {
        let mut variables = vec![("HOME", home.as_path()), ("XDG_RUNTIME_DIR", run.as_path())];
        variables.extend(named.map(|path| ("REGISTRY_AUTH_FILE", path)));
        found(&keyring(&variables, "r.example", "acme/m"))
    };
    assert_eq!(all(None), Ok(None));
    write("home/.config/containers/auth.json", "of-podman-at-home");
    assert_eq!(all(None), pair("me", "of-podman-at-home"));
    write("run/containers/auth.json", "of-podman");
    assert_eq!(all(None), pair("me", "of-podman"));
    write("home/.docker/config.json", "of-docker");
    assert_eq!(all(None), pair("me", "of-docker"));
    assert_eq!(all(Some(&write("named.json", "of-the-named"))), pair("me", "of-the-named"));
    // The credentials of another registry are not used.
    assert_eq!(found(&keyring(&[("HOME", &home)], "other.example", "acme/m")), Ok(None));
}

#[test]
fn a_key_for_a_part_of_a_registry_is_for_that_part() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.json");
    // me:of-acme, me:of-all
    let text = r#"{"auths":{"q.example/acme":{"auth":"bWU6b2YtYWNtZQ=="},"q.example":{"auth":"bWU6b2YtYWxs"}}}"#;
    std::fs::write(&path, text).unwrap();
    let of = |name: &str| found(&keyring(&[("REGISTRY_AUTH_FILE", &path)], "q.example", name));
    assert_eq!(of("acme/m"), pair("me", "of-acme"));
    assert_eq!(of("acme/deep/m"), pair("me", "of-acme"));
    assert_eq!(of("other/m"), pair("me", "of-all"));
    assert_eq!(of("acme-more/m"), pair("me", "of-all"));
}

#[test]
fn dockers_own_registry_is_known_by_all_of_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.json");
    for key in ["docker.io", "index.docker.io", "https://index.docker.io/v1/"] {
        std::fs::write(&path, format!(r#"{{"auths":{{"{key}":{{"auth":"bWU6b2YtYWxs"}}}}}}"#)).unwrap();
        let of = keyring(&[("REGISTRY_AUTH_FILE", &path)], "docker.io", "library/m");
        assert_eq!(found(&of), pair("me", "of-all"), "{key}");
    }
}

#[test]
fn an_unreadable_file_is_named_and_its_content_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.json");
    let of = || found(&keyring(&[("REGISTRY_AUTH_FILE", &path)], "r.example", "m"));
    for (text, why) in [
        ("{\"auths\": secret-text", "it is not JSON"),
        (r#"{"auths":{"r.example":{"auth":"%%% secret-text"}}}"#, "its entry for r.example cannot be read"),
        (r#"{"credsStore":"of-a-test-that-is-not-there"}"#, "a helper for r.example that cannot be run"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = of().unwrap_err();
        assert!(error.contains("auth.json") && error.contains(why) && !error.contains("secret-text"), "{error}");
    }
    // docker writes an empty entry for a registry whose password is in its store.
    std::fs::write(&path, r#"{"auths":{"r.example":{}}}"#).unwrap();
    assert_eq!(of(), Ok(None));
}
