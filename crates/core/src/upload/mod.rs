//! Files from the Hub to places that are no disk of this machine, without a local copy: ranges are fetched, hashed in
//! order, and sent on. `objects` puts them into an object store, `layers` into OCI content. Which files, and what it
//! proves that they are there, is said in the session.

mod fetch;
#[cfg(feature = "object-store")]
mod journal;
mod layers;
#[cfg(feature = "object-store")]
mod objects;
mod task;

pub(crate) use self::fetch::{Nearby, Supply};
pub(crate) use self::layers::{Layers, PushError, Pushed};
#[cfg(feature = "object-store")]
pub(crate) use self::objects::{Done, Upload, UploadError};

/// Bytes of a part, and the size up to which a file is sent in one go.
pub(crate) const PART: u64 = 8 << 20;
/// Parts of one file on their way to us, and as many on their way to where they go.
const WIDTH: usize = 6;
