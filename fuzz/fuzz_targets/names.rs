//! Names from the command line and from listings: what parses is safe, and stays what it is.
#![no_main]
use std::path::Path;

use hfget::repo::{RepoPath, RepoSpec, Revision};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(path) = text.parse::<RepoPath>() {
        assert_eq!(path.as_str(), text);
        let root = Path::new("/root/of/all");
        assert!(path.under(root).starts_with(root));
        assert!(!path.as_str().split('/').any(|s| s == ".." || s.is_empty()));
        assert!(!path.to_string().chars().any(char::is_control));
    }
    let _ = text.parse::<RepoSpec>();
    if let Ok(revision) = text.parse::<Revision>() {
        assert_eq!(revision.as_str(), text);
        assert!(!revision.as_str().contains(".."));
    }
});
