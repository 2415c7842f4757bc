//! The object store as a source, in a build without object stores, where none can exist.

use std::sync::Arc;

use super::Source;
use crate::hub::Timing;
use crate::object_store::{ObjectError, StoreConfig};

/// Opens the source of a configuration; no configuration can exist.
pub(crate) fn open_store(store: &StoreConfig, _: &Timing) -> Result<Arc<dyn Source>, ObjectError> {
    match *store {}
}
