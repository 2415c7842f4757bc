//! Which files make up exactly one weight family per scope, with its companions, and why. Pure:
//! from a [`Listing`] and the few small files it asks for to a [`Selection`]; no network, no disk.

mod index;
mod types;

pub use index::{IndexError, WeightIndex};
pub use types::*;
