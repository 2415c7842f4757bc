//! Reports in the forms for people, logs and CI systems. The library makes reports; nothing is decided here.

pub mod attest;
pub mod compare;
pub mod html;
pub mod human;
pub mod inspect;
pub mod lines;
pub mod machine;
pub mod plan;
pub mod remedies;
pub mod suggest;

pub use hfget_core::unstable::text::{group, many};
pub use human::{HumanOptions, Words, human};
pub use machine::{Ended, github, junit, summary};
