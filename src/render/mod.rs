//! Reports as people, logs and CI systems read them. What a report says is the library's; nothing is found out or
//! decided here.

pub mod compare;
pub mod html;
pub mod human;
pub mod inspect;
pub mod lines;
pub mod machine;
pub mod plan;
pub mod remedies;
pub mod suggest;

pub use hfget_core::text::{group, many};
pub use human::{HumanOptions, Words, human};
pub use machine::{Ended, github, junit, summary};
