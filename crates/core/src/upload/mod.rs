//! Sends files from the Hub to destinations other than this machine's disk, without a local copy: ranges are fetched,
//! hashed in order, and sent on. `objects` sends them to an object store, `layers` to OCI content. The session chooses
//! the files, and decides what their presence proves.

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

/// The size of a part. A file up to this size is sent as a whole.
pub(crate) const PART: u64 = 8 << 20;
/// The most parts of one file that are fetched at once, and the most that are sent at once.
const WIDTH: usize = 6;
