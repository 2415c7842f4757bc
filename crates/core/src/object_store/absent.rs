//! The replacement for object stores in a build without them: types without values. Code that matches on them is the
//! same in every build, and compiles to nothing here.

use std::fmt;

use crate::finding::{ErrorKind, Remedy};

/// The configuration of an object store: there is none in this build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {}

/// The URL of an object store: there is none in this build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectUrl {}

/// The error about an object store's URL: there is none in this build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectUrlError {}

/// The error of an object store: there is none in this build.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {}

/// An object store: there is none in this build.
#[derive(Debug)]
pub(crate) enum Objects {}

impl StoreConfig {
    /// No text names an object store.
    pub(crate) fn meant(_: &str) -> Option<Result<Self, ObjectUrlError>> {
        None
    }

    #[must_use]
    pub(crate) fn with_options(self, _: impl IntoIterator<Item = (String, String)>) -> Self {
        self
    }

    pub(crate) fn url(&self) -> &ObjectUrl {
        match *self {}
    }
}

impl fmt::Display for ObjectUrl {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl ObjectError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match *self {}
    }

    pub(crate) fn remedy(&self) -> Remedy {
        match *self {}
    }
}

impl Objects {
    pub(crate) fn open(config: &StoreConfig) -> Result<Self, ObjectError> {
        match *config {}
    }
}
