//! The object store as a source, in a build without object stores: it cannot come to be.

use std::sync::Arc;

use super::Source;
use crate::hub::Timing;
use crate::object_store::{ObjectError, StoreConfig};

/// The source that a configuration names, which none does.
pub(crate) fn open_store(store: &StoreConfig, _: &Timing) -> Result<Arc<dyn Source>, ObjectError> {
    match *store {}
}
