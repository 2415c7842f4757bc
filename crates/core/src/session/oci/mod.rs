//! What a session does with OCI content except filling it: it reads layers back, copies the base of an image, and
//! verifies a tag.

mod base;
mod check;
mod documents;
mod read;

pub(super) use self::base::BaseImage;
pub(super) use self::read::Reader;
