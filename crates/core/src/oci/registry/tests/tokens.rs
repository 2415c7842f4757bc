//! Authentication: credentials and tokens go to the registry alone, and expired tokens are replaced.

use hfget_loopback_registry::{Auth, Fault, Kind, Location, Options, PASSWORD, Place, USER};

use super::*;
use crate::finding::ErrorKind;

/// A folder with a file of credentials for a registry.
fn credentials(registry: &Registry, password: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = serde_json::json!({"auths": {registry.address(): {"username": USER, "password": password}}});
    std::fs::write(folder.path().join("config.json"), text.to_string()).unwrap();
    folder
}

fn known(registry: &Registry, folder: &tempfile::TempDir) -> Arc<dyn Content> {
    at(registry.address(), "acme/m", &[("DOCKER_CONFIG", folder.path().to_str().unwrap())])
}

#[tokio::test]
async fn credentials_are_shown_to_a_registry_that_asks_and_to_no_other() {
    for auth in [Auth::None, Auth::Basic, Auth::Bearer(Duration::from_mins(5))] {
        let registry = Registry::with(Options { auth, ..Options::default() });
        let folder = credentials(&registry, PASSWORD);
        let content = known(&registry, &folder);
        let all = bytes(LARGE);
        let digest = push(&*content, Way::Before, &all).await.unwrap();
        assert_eq!(read(&*content, &digest, 0..LARGE as u64).await.unwrap(), all);
        let shown = registry.requests().iter().filter(|request| request.credentials.is_some()).count();
        assert_eq!(shown > 0, auth != Auth::None, "{auth:?}");
        let tokens = registry.requests().iter().filter(|request| request.path == "/token").count();
        let wanted = if matches!(auth, Auth::Bearer(_)) { 2 } else { 0 };
        assert_eq!(tokens, wanted, "{auth:?}: one to write, and one to read");
    }
}

#[tokio::test]
async fn missing_credentials_and_a_wrong_password_give_different_messages() {
    for auth in [Auth::Basic, Auth::Bearer(Duration::from_mins(5))] {
        let registry = Registry::with(Options { auth, ..Options::default() });
        let error = push(&*open(&registry), Way::Before, &bytes(LARGE)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotAvailable, "{error}");
        assert!(error.to_string().contains("no credentials for it were found"), "{error}");
        let folder = credentials(&registry, "another-pa55word");
        let error = push(&*known(&registry, &folder), Way::Before, &bytes(LARGE)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotAvailable, "{error}");
        assert!(error.to_string().contains("the credentials do not allow it"), "{error}");
        assert!(!error.to_string().contains("pa55"), "{error}");
        assert_eq!(registry.bytes_taken(), 0);
    }
}

#[tokio::test]
async fn a_registry_that_everybody_may_read_is_read_without_a_password() {
    let registry = Registry::with(Options { auth: Auth::PublicBearer(Duration::from_mins(1)), ..Options::default() });
    let all = bytes(1 << 20);
    let digest: OciDigest = registry.put_blob("acme/m", all.clone()).parse().unwrap();
    let content = open(&registry);
    assert_eq!(read(&*content, &digest, 0..1 << 20).await.unwrap(), all);
    let error = push(&*content, Way::Whole, &bytes(10)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAvailable, "{error}");
}

#[tokio::test]
async fn a_token_that_expires_in_the_middle_of_a_file_is_renewed_and_the_file_arrives() {
    let registry = Registry::with(Options { auth: Auth::Bearer(Duration::from_secs(1)), ..Options::default() });
    let folder = credentials(&registry, PASSWORD);
    let content = known(&registry, &folder);
    for way in [Way::Before, Way::After] {
        let all = bytes(LARGE + way as usize);
        let slow = |stream: Blobstream| {
            stream.then(|piece| async {
                // The push takes longer than the token's lifetime.
                tokio::time::sleep(Duration::from_millis(4)).await;
                piece
            })
        };
        let (stream, cell) = hashing(&all);
        let digest = if way == Way::Before { PushDigest::Before(OciDigest::of(&all)) } else { PushDigest::After(cell) };
        let push = Push { size: all.len() as u64, digest, number: None, body: Body::Stream(slow(stream).boxed()) };
        let began = std::time::Instant::now();
        let digest = content.push_blob(push).await.unwrap_or_else(|e| panic!("{way:?}: {e}"));
        assert!(began.elapsed() > Duration::from_millis(1100), "the token has expired meanwhile");
        assert_eq!(registry.blob("acme/m", &digest.to_string()), Some(all), "{way:?}");
    }
    let begun = registry.requests().iter().filter(|request| request.method == "POST").count();
    assert!(begun <= 4, "no blob was sent twice: {begun}");
}

#[tokio::test]
async fn tokens_that_the_registry_throws_away_are_renewed() {
    let registry = Registry::with(Options { auth: Auth::Bearer(Duration::from_mins(5)), ..Options::default() });
    let folder = credentials(&registry, PASSWORD);
    let content = known(&registry, &folder);
    for way in WAYS {
        registry.expire_tokens();
        push(&*content, way, &bytes(LARGE + way as usize)).await.unwrap_or_else(|e| panic!("{way:?}: {e}"));
    }
}

#[tokio::test]
async fn a_token_server_that_fails_for_a_while_is_retried() {
    let registry = Registry::with(Options { auth: Auth::Bearer(Duration::from_mins(5)), ..Options::default() });
    let folder = credentials(&registry, PASSWORD);
    registry.fault(Fault::new(Place::Token, Kind::Status(503, vec![])).times(2));
    push(&*known(&registry, &folder), Way::Before, &bytes(LARGE)).await.unwrap();
}

#[tokio::test]
async fn neither_password_nor_token_is_shown_to_another_host() {
    for auth in [Auth::Basic, Auth::Bearer(Duration::from_mins(5))] {
        let options = Options { auth, location: Location::Foreign, blobs_elsewhere: true, ..Options::default() };
        let registry = Registry::with(options);
        let folder = credentials(&registry, PASSWORD);
        let content = known(&registry, &folder);
        let all = bytes(LARGE);
        for way in WAYS {
            let digest = push(&*content, way, &all).await.unwrap_or_else(|e| panic!("{way:?}: {e}"));
            assert_eq!(read(&*content, &digest, 0..LARGE as u64).await.unwrap(), all);
        }
        let away: Vec<_> = registry.requests().into_iter().filter(|request| request.away).collect();
        assert!(!away.is_empty() && away.iter().all(|request| request.credentials.is_none()), "{away:?}");
    }
}
