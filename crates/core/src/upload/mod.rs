//! Sends files from the Hub to destinations other than this machine's disk, without a local copy: ranges are fetched,
//! hashed in order, and sent on. `objects` sends them to an object store, `layers` to OCI content. The session chooses
//! the files, and decides what their presence proves.

mod fetch;
#[cfg(feature = "object-store")]
mod journal;
mod layers;
#[cfg(feature = "object-store")]
mod objects;
mod room;
mod task;

pub(crate) use self::fetch::{Nearby, Supply};
pub(crate) use self::layers::{Layers, PushError, Pushed};
#[cfg(feature = "object-store")]
pub(crate) use self::objects::{Done, Upload, UploadError};
pub(crate) use self::room::Space;
use crate::hashing::ENOUGH;

/// Bytes of a part that an object store is sent, and the size up to which a file is sent there in one go.
pub(crate) const PART: u64 = 8 << 20;
/// The same for OCI content, where parts only bound memory: a layer is one stream.
pub(crate) const LAYER_PART: u64 = 3 << 20;

// A part may have all the memory that there is, and must be hashed then although no other file has bytes.
const _: () = assert!(PART >= ENOUGH && LAYER_PART >= ENOUGH);
