//! Tests with the specification's own vectors, signatures of earlier versions, and hostile statements.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::bundle::Material;
use super::*;

fn data(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/signatures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn bundle(name: &str) -> Result<Bundle, SignatureError> {
    Bundle::parse(&data(name))
}

fn key() -> Trust {
    Trust::from_pem(&data("earlier/signing-key-pub.pem")).unwrap()
}

fn root() -> Trust {
    Trust::from_pem(&data("earlier/ca-cert.pem")).unwrap()
}

/// A time at which the vectors' certificates are valid.
fn then() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_780_000_000)
}

fn names(signed: &Signed) -> Vec<&str> {
    signed.statement().files.keys().map(crate::model::RepoPath::as_str).collect()
}

/// A bundle whose payload or signature was changed.
fn changed(name: &str, change: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
    let mut value: serde_json::Value = serde_json::from_slice(&data(name)).unwrap();
    change(&mut value);
    serde_json::to_vec(&value).unwrap()
}

fn with_payload(change: impl Fn(&str) -> String) -> Vec<u8> {
    changed("valid/key.bundle.json", |value| {
        let payload = STANDARD.decode(value["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
        let text = change(std::str::from_utf8(&payload).unwrap());
        value["dsseEnvelope"]["payload"] = STANDARD.encode(text).into();
    })
}

#[test]
fn the_vector_with_a_key_is_valid_with_its_key_and_with_no_other() {
    let signed = key().check(&bundle("valid/key.bundle.json").unwrap(), then()).unwrap();
    assert_eq!(names(&signed), ["signme-1", "signme-2"]);
    assert_eq!(signed.signer().kind(), "key");
    assert_eq!(
        signed.statement().root_digest().to_string(),
        "92745110b1ab4368471cbe31664e10174e954b113a3df333db860317b2c6dec4",
        "the subject of the vector"
    );
    // The fingerprint is the hint that the bundle has.
    let hint = "e8450dec4eb99dae995da9af1bc2cc9f76ed669ee2e744f57abba763df3e3f8e";
    assert_eq!(signed.signer().to_string(), format!("key {hint}"));
    let other = Trust::from_pem(OTHER_KEY.as_bytes()).unwrap();
    let refused = other.check(&bundle("valid/key.bundle.json").unwrap(), then()).unwrap_err();
    assert!(refused.to_string().contains("the trusted key did not sign it"), "{refused}");
    assert!(refused.to_string().contains("e8450dec4eb9"), "{refused}");
}

const OTHER_KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE49fIHE8U8y6UBAOrwIgP0lYYY7Y1
LsgFzBVfPHgr5mthl7szq5qbWdV08eskE1eTnISZzoZC2wzIx1Z3H7W8NA==
-----END PUBLIC KEY-----
";

#[test]
fn the_vector_of_an_identity_is_valid_with_it_and_with_no_other() {
    let vector = bundle("valid/sigstore.bundle.json").unwrap();
    let (identity, issuer) = ("stefanb@us.ibm.com", "https://sigstore.verify.ibm.com/oauth2");
    if cfg!(not(feature = "keyless")) {
        assert_eq!(Trust::from_identity(&format!("{identity}@{issuer}")), Err(TrustError::NoKeyless));
        return;
    }
    let trust = |text: &str| Trust::from_identity(text).unwrap();
    let signed = trust(&format!("{identity}@{issuer}")).check(&vector, then()).unwrap();
    assert!(names(&signed).contains(&"signme-1"));
    assert_eq!(signed.signer().to_string(), format!("{identity}, stated by {issuer}"));
    for wrong in [format!("other@us.ibm.com@{issuer}"), format!("{identity}@https://accounts.google.com")] {
        let refused = trust(&wrong).check(&vector, then()).unwrap_err();
        assert!(matches!(refused, SignatureError::Untrusted { .. }), "{wrong}: {refused}");
    }
    // Neither the signed bytes nor the log's entry may change.
    for at in ["payload", "sig"] {
        let forged = changed("valid/sigstore.bundle.json", |value| {
            let place = match at {
                "payload" => &mut value["dsseEnvelope"]["payload"],
                _ => &mut value["dsseEnvelope"]["signatures"][0]["sig"],
            };
            let mut bytes = STANDARD.decode(place.as_str().unwrap()).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            *place = STANDARD.encode(bytes).into();
        });
        assert!(
            trust(&format!("{identity}@{issuer}")).check(&Bundle::parse(&forged).unwrap(), then()).is_err(),
            "{at}"
        );
    }
}

#[test]
fn the_invalid_vectors_are_refused() {
    for name in ["empty", "missing-envelope", "missing-tlog-entries", "missing-verification-material"] {
        let refused = bundle(&format!("invalid/{name}.bundle.json")).unwrap_err();
        assert!(matches!(refused, SignatureError::Malformed { .. }), "{name}: {refused}");
    }
    let wrong = bundle("invalid/wrong-predicate.bundle.json").unwrap();
    assert!(key().check(&wrong, then()).is_err());
    let refused = Statement::parse(&wrong.payload).unwrap_err();
    assert!(refused.to_string().contains("https://example.com/wrong-predicate/v1.0"), "{refused}");
}

#[test]
fn signatures_of_earlier_versions_are_read_and_those_of_0_2_are_refused_with_a_sentence() {
    let signed = key().check(&bundle("earlier/v1.0.1-elliptic-key.sig").unwrap(), then()).unwrap();
    assert_eq!(names(&signed), ["signme-1", "signme-2"]);
    let refused = Statement::parse(&bundle("earlier/v0.2.0-certificate.sig").unwrap().payload).unwrap_err();
    assert_eq!(refused, SignatureError::Version02);
    assert!(refused.to_string().contains("version 0.2"), "{refused}");
}

#[test]
fn a_bundle_is_known_by_its_content() {
    assert!(is_bundle(&data("valid/key.bundle.json")));
    assert!(is_bundle(&data("valid/sigstore.bundle.json")));
    for other in [&b""[..], b"{}", b"[]", b"{\"mediaType\": \"text/plain\", \"x\": \"dev.sigstore.bundle\"}", b"\xff{"]
    {
        assert!(!is_bundle(other), "{:?}", String::from_utf8_lossy(other));
    }
}

#[test]
fn one_changed_bit_of_the_signed_content_is_noticed() {
    let trust = key();
    let flipped = with_payload(|text| text.replacen("bc9a717d", "bc9a717e", 1));
    let refused = trust.check(&Bundle::parse(&flipped).unwrap(), then()).unwrap_err();
    assert!(refused.to_string().contains("does not match the statement"), "{refused}");
    // One more blank is another payload too: the exact bytes are checked.
    let spaced = with_payload(|text| format!("{text} "));
    assert!(trust.check(&Bundle::parse(&spaced).unwrap(), then()).is_err());
    let same = with_payload(str::to_owned);
    assert!(trust.check(&Bundle::parse(&same).unwrap(), then()).is_ok());
}

#[test]
fn the_order_of_keys_and_unknown_keys_do_not_matter() {
    // `serde_json` sorts the keys, and these are new.
    let other = changed("valid/key.bundle.json", |value| {
        value["more"] = serde_json::json!({ "x": [1e300, -5, null] });
        value["dsseEnvelope"]["signatures"][0]["keyid"] = serde_json::Value::Null;
    });
    assert!(key().check(&Bundle::parse(&other).unwrap(), then()).is_ok());
}

/// The signer wrote the statement. Even a trusted signer's names must not lead out of the folder.
#[test]
fn an_invalid_statement_is_refused() {
    let statement = |text: &str| Statement::parse(text.as_bytes());
    let of = |resources: &str, serialization: &str| {
        statement(&format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://model_signing/signature/v1.0",
            "predicate":{{"resources":[{resources}],"serialization":{{{serialization}}}}}}}"#
        ))
    };
    let digest = "a".repeat(64);
    let file = |name: &str| format!(r#"{{"name":"{name}","algorithm":"sha256","digest":"{digest}"}}"#);
    let plain = r#""method":"files","hash_type":"sha256","allow_symlinks":false"#;
    assert!(of(&file("a"), plain).is_ok());
    assert!(of(&file("a"), &format!(r#"{plain},"ignore_paths":null,"shard_size":1e308"#)).is_ok());
    for name in ["../a", "/a", "a/../../b", "", ".git/config", "a\\u0000b", "a//b"] {
        assert!(of(&file(name), plain).is_err(), "{name}");
    }
    assert!(of(&format!("{},{}", file("a"), file("a")), plain).unwrap_err().to_string().contains("twice"));
    assert!(of("", plain).is_err(), "no file at all");
    for odd in [r#""method":"files","method":"files","hash_type":"sha256""#, r#""method":"files""#] {
        assert!(of(&file("a"), odd).is_err(), "{odd}");
    }
    for (other, said) in [
        (r#""method":"shards","hash_type":"sha256","shard_size":1000"#, "parts of files"),
        (r#""method":"files","hash_type":"blake3""#, "blake3"),
        (r#""method":"files","hash_type":"blake2b""#, "blake2b"),
    ] {
        let refused = of(&file("a"), other).unwrap_err();
        assert!(matches!(&refused, SignatureError::Unsupported { .. }) && refused.to_string().contains(said));
    }
    let short = file("a").replace(&digest, "abc");
    assert!(of(&short, plain).is_err());
    assert!(statement(&"[".repeat(100_000)).is_err());
    assert!(statement(r#"{"_type":1e999}"#).is_err());
}

#[test]
fn never_signed_names_are_left_out_at_the_root_only() {
    let statement = Statement {
        files: std::collections::BTreeMap::new(),
        alone: None,
        ignored: vec!["cache".into(), String::new()],
    };
    let left_out = |path: &str| statement.leaves_out(path);
    for path in [".gitattributes", ".github/workflows/x.yml", "cache", "cache/a/b"] {
        assert!(left_out(path), "{path}");
    }
    for path in ["sub/.gitattributes", "cached", "sub/cache", "model.safetensors", ".gitattributes2"] {
        assert!(!left_out(path), "{path}");
    }
}

#[test]
fn a_pem_text_is_a_key_or_authorities_or_an_error_that_says_what_it_is() {
    assert!(Trust::from_pem(OTHER_KEY.as_bytes()).is_ok());
    assert!(Trust::from_pem(&data("earlier/ca-cert.pem")).is_ok());
    assert_eq!(Trust::from_pem(b""), Err(TrustError::NoPem));
    assert_eq!(Trust::from_pem(b"hello"), Err(TrustError::NoPem));
    let private = b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
    assert_eq!(Trust::from_pem(private), Err(TrustError::PrivateKey));
    let ed25519 = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    assert_eq!(Trust::from_pem(ed25519), Err(TrustError::OtherKey));
    for bad in ["", "me", "me@example.org", "@https://x.org", "me@https://"] {
        assert_eq!(Trust::from_identity(bad), Err(TrustError::Identity), "{bad}");
    }
}

#[test]
fn a_trust_of_another_kind_says_so() {
    let refused = root().check(&bundle("valid/key.bundle.json").unwrap(), then()).unwrap_err();
    assert!(matches!(refused, SignatureError::OtherKind { .. }), "{refused}");
    let refused = key().check(&bundle("valid/certificate.bundle.json").unwrap(), then()).unwrap_err();
    assert!(matches!(refused, SignatureError::OtherKind { .. }), "{refused}");
}

#[test]
fn the_vector_with_a_certificate_is_accepted_only_while_the_certificate_is_valid() {
    let vector = bundle("valid/certificate.bundle.json").unwrap();
    let signed = root().check(&vector, then()).unwrap();
    assert_eq!(names(&signed), ["signme-1", "signme-2"]);
    for (seconds, said) in [(1_700_000_000, "not valid yet"), (2_100_000_000, "expired")] {
        let refused = root().check(&vector, UNIX_EPOCH + Duration::from_secs(seconds)).unwrap_err();
        assert!(refused.to_string().contains(said), "{refused}");
    }
    let early = bundle("earlier/v1.0.1-certificate.sig").unwrap();
    assert_eq!(names(&root().check(&early, then()).unwrap()), ["signme-1", "signme-2"]);
}

/// An authority may sign, as in OpenSSL; the rest of its chain is checked as strictly.
#[test]
fn the_chain_of_an_authority_that_signs_is_as_strict_as_any() {
    let vector = bundle("valid/certificate.bundle.json").unwrap();
    // The root's name alone is not enough: an untrusted certificate is not a root.
    let Material::Chain(chain) = &vector.material else { panic!("a chain") };
    let pem = |der: &[u8]| {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der)).into_bytes()
    };
    // The signer's own certificate issued nothing.
    let refused = Trust::from_pem(&pem(&chain[0])).unwrap().check(&vector, then()).unwrap_err();
    assert!(refused.to_string().contains("none of the trusted certificates"), "{refused}");
    // The intermediate certificate did.
    assert!(Trust::from_pem(&pem(&chain[1])).unwrap().check(&vector, then()).is_ok());
    let without = |at: usize| {
        let mut other = vector.clone();
        let Material::Chain(chain) = &mut other.material else { panic!("a chain") };
        chain.remove(at);
        other
    };
    assert!(root().check(&without(1), then()).is_err(), "the intermediate certificate is missing");
    assert!(root().check(&without(0), then()).is_err(), "another certificate did not sign it");
    for byte in [60, 200, chain[0].len() - 20] {
        for at in [0, 1] {
            let mut other = vector.clone();
            let Material::Chain(chain) = &mut other.material else { panic!("a chain") };
            chain[at][byte] ^= 1;
            assert!(root().check(&other, then()).is_err(), "byte {byte} of certificate {at}");
        }
    }
}
