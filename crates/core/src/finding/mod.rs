//! What was found out about a repo and what follows from it: findings, the policy that weighs them, and how
//! a run ends. How a thing was found out, and how it is shown, lives elsewhere.

mod code;
mod evidence;
mod exit;
mod found;
mod outcome;
mod policy;
mod verdict;

pub use code::{Code, UnknownCode};
pub use evidence::{Evidence, Expectation, Origin, Proof, Stamp};
pub use exit::ExitCode;
pub use found::Finding;
pub use hfget_formats::Severity;
pub use outcome::Outcome;
pub use policy::{NotAllowable, Policy};
pub use verdict::{Verdict, Weights};
