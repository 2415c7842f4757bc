//! `PyTorch`'s format from before 1.6: four pickles, the storages' keys, and their bytes one after the
//! other (`torch/serialization.py`, `_legacy_load`).

use std::io::{self, BufReader, SeekFrom};

use super::part::Seekable;
use super::pickle::{self, Pickle, PickleError};
use super::state::StateDict;
use super::{Held, Storages};
use crate::problems::Quote;

/// The pickles that a file starts with.
pub(super) struct Pickles {
    /// In order; the last one may be cut.
    pub read: Vec<Pickle>,
    /// Why there are no more.
    pub error: Option<PickleError>,
    /// The place where they end.
    pub end: u64,
}

/// Reads the `count` pickles that a file starts with.
pub(super) fn pickles(file: &mut dyn Seekable, count: usize) -> io::Result<Pickles> {
    file.seek(SeekFrom::Start(0))?;
    let mut stream = BufReader::new(file);
    let mut pickles = Pickles { read: Vec::new(), error: None, end: 0 };
    let mut at = 0;
    while pickles.read.len() < count && pickles.error.is_none() {
        let (mut pickle, error) = pickle::follow(&mut stream);
        for global in &mut pickle.globals {
            global.position = global.position.saturating_add(at);
        }
        // Only the first such instruction of a file is reported.
        let said = pickles.read.iter().any(|p| p.unrestricted.is_some());
        pickle.unrestricted = pickle.unrestricted.filter(|_| !said).map(|position| position.saturating_add(at));
        pickles.error = error.map(|error| PickleError { position: error.position.saturating_add(at), ..error });
        at = at.saturating_add(pickle.length);
        pickles.read.push(pickle);
    }
    pickles.end = at as u64;
    Ok(pickles)
}

/// Follows the storages after the pickles: an element count and the bytes, for each key. `Err` says
/// what does not match.
pub(super) fn storages(
    file: &mut dyn Seekable,
    length: u64,
    state: &StateDict,
    keys: &Pickle,
    mut at: u64,
) -> Result<Storages, String> {
    let mut held = Storages::new();
    let ids = keys.items(keys.root).ok_or("its list of storages is not a list")?;
    for id in ids {
        let key = keys.text(*id).ok_or("its list of storages has something else in it")?;
        let storage = state.storages.get(key);
        let item = storage.and_then(|s| s.bytes?.checked_div(s.numel)).unwrap_or(0);
        let mut count = [0; 8];
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut count)).map_err(|_| {
            format!("it ends at byte {length}, before the length of storage {}: it is cut short", Quote(key))
        })?;
        let count = u64::from_le_bytes(count);
        if storage.is_none() || item == 0 && count > 0 {
            return Err(format!("the size of storage {} is not known, so what follows cannot be located", Quote(key)));
        }
        let size = count.saturating_mul(item);
        let start = at + 8;
        at = start.saturating_add(size);
        if at > length {
            return Err(format!("storage {} reaches to byte {at} of a file of {length}: it is cut short", Quote(key)));
        }
        held.insert(key.into(), Held { size, start: Some(start) });
    }
    if at != length {
        return Err(format!("{} bytes follow the last storage", length - at));
    }
    Ok(held)
}
