//! The trusted signers: those that `--require-signature` names, and the signature of a lockfile. The library finds the
//! signer.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use hfget_core::session::{Trust, TrustError};
use hfget_core::unstable::lock::Lock;
use hfget_core::unstable::signature::check_detached;
use hfget_core::unstable::text::printable;

use super::args::Signers;
use super::screen::Screen;
use crate::exit::ExitCode;

/// The most bytes of a file with keys or certificates, which have some kilobytes.
const PEM_LIMIT: u64 = 1 << 20;
/// The most bytes of a lockfile's signature, which is that of one file.
const SIGNATURE_LIMIT: u64 = 16 << 20;

/// The signers that the flags trust, or the printed reason why they are invalid.
pub(super) fn trusted(signers: &Signers, screen: &Screen) -> Result<Vec<Trust>, ExitCode> {
    let one = |named: &String| {
        trust(named).map_err(|why| {
            let hint = "name a PEM file with a public key or with certificates, or IDENTITY@ISSUER";
            screen.fail("--require-signature", &why, Some(hint));
            ExitCode::Usage
        })
    };
    signers.require_signature.iter().map(one).collect()
}

fn trust(named: &str) -> Result<Trust, String> {
    let shown = printable(named);
    // A name that exists is a file: an identity with a URL in it is never a file's name by chance.
    let path = Path::new(named);
    if path.exists() || !named.contains("@http") {
        let bytes = read(path, PEM_LIMIT).map_err(|error| format!("cannot read {shown}: {error}"))?;
        return Trust::from_pem(&bytes).map_err(|error| format!("{shown}: {error}"));
    }
    Trust::from_identity(named).map_err(|error: TrustError| format!("{shown}: {error}"))
}

fn read(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(std::io::Error::other(format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// The signature of a lockfile: the lockfile's name with `.sig`.
fn signature_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// Reads a lockfile and checks that one of these signers signed it, before it is parsed.
pub(super) fn signed_lock(file: &Path, trusted: &[Trust], screen: &Screen) -> Result<Lock, ExitCode> {
    let failed = |why: &dyn std::fmt::Display, hint: Option<&str>| {
        screen.fail("", &format!("{}: {why}", file.display()), hint);
        ExitCode::VerificationFailed
    };
    let bytes = Lock::read_bytes(file).map_err(|error| {
        screen.fail("", &error, Some("`hfget lock REPO` makes one"));
        ExitCode::Usage
    })?;
    let place = signature_of(file);
    let signature = read(&place, SIGNATURE_LIMIT).map_err(|error| {
        let why = format!("a signature is required, but {} cannot be read: {error}", place.display());
        failed(&why, Some("sign the lockfile, as the page \"Signatures\" of the documentation shows"))
    })?;
    let signer = check_detached(&bytes, &signature, trusted, std::time::SystemTime::now()).map_err(|error| {
        let why = format!("its signature {} is not accepted: {error}", place.display());
        failed(&why, Some("nothing was fetched; take the signed lockfile, or have this one signed again"))
    })?;
    screen.note(&format!("{} is signed by {signer}", file.display()));
    let text = String::from_utf8(bytes).map_err(|error| failed(&error, None))?;
    Lock::parse(&text).map_err(|why| {
        screen.fail("", &format!("{}: {why}", file.display()), None);
        ExitCode::Usage
    })
}
