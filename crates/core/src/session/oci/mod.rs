//! What a session does with OCI content besides putting files there: reading layers back, the base of an image, and
//! holding what lies at a tag against what it must be.

mod base;
mod check;
mod documents;
mod read;

pub(super) use self::base::BaseImage;
pub(super) use self::read::Reader;
