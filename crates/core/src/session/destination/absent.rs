//! The object store as a destination, in a build without object stores, where none can exist.

use std::sync::Arc;
use std::time::Instant;

use crate::model::Options;
use crate::object_store::Objects;
use crate::report::Report;
use crate::session::{Error, Prepared, Session};

#[allow(clippy::unused_async)] // as in a build with object stores
impl Session {
    pub(super) async fn deliver_to_store(
        &self,
        objects: &Arc<Objects>,
        _: &Options,
        _: Prepared,
        _: Instant,
    ) -> Result<Report, Error> {
        match **objects {}
    }

    pub(super) async fn look_at_store(&self, objects: &Arc<Objects>, _: &mut Prepared) -> Result<(), Error> {
        match **objects {}
    }
}
