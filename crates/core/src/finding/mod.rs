//! Findings about a repo, the policy that weighs them, the remedies, and the verdict. Other rooms make
//! findings and show them.

mod code;
mod evidence;
mod found;
mod kind;
mod outcome;
mod policy;
mod remedy;
mod take;
pub(crate) mod verdict;

pub use code::{Code, UnknownCode};
pub use evidence::{Evidence, Origin};
pub(crate) use evidence::{Expectation, Proof, Stamp};
pub use found::Finding;
pub use hfget_formats::Severity;
pub use kind::ErrorKind;
pub use outcome::Outcome;
pub use policy::{NotAllowable, Policy};
pub use remedy::{Again, BadServer, ChooseBy, Remedy};
pub use take::Take;
pub use verdict::Verdict;
pub(crate) use verdict::Weights;
