//! What was found out about a repo and what follows from it: findings, the policy that weighs them, and what
//! can be done about them. How a thing was found out, and how it is shown, is decided elsewhere.

mod code;
mod evidence;
mod found;
mod kind;
mod outcome;
mod policy;
mod remedy;
mod take;
mod verdict;

pub use code::{Code, UnknownCode};
pub use evidence::{Evidence, Expectation, Origin, Proof, Stamp};
pub use found::Finding;
pub use hfget_formats::Severity;
pub use kind::ErrorKind;
pub use outcome::Outcome;
pub use policy::{NotAllowable, Policy};
pub use remedy::{Again, BadServer, ChooseBy, Remedy};
pub use take::Take;
pub use verdict::{Verdict, Weights};
