//! `PyTorch`'s format from before 1.6: four pickles, the storages' keys, and their bytes one after the
//! other (`torch/serialization.py`, `_legacy_load`). Also a pickle that stands alone.

use std::io::{self, Read, Seek, SeekFrom};

use super::pickle::{self, Pickle, PickleError};
use super::state::State;
use super::{Held, PICKLE_LIMIT, Storages};
use crate::verify::findings::{Quote, complaint};

/// Bytes of the start that are tried first: many a file's pickles are in them.
const FIRST: u64 = 1 << 20;

/// Why a file is not read further, and the pickles that were read before that.
pub(super) struct Cut {
    pub why: String,
    pub before: Vec<Pickle>,
}

/// Reads the `count` pickles that a file starts with; gives them and where they end.
pub(super) fn pickles(file: &mut (impl Read + Seek), count: usize) -> Result<(Vec<Pickle>, u64), Cut> {
    let mut size = FIRST;
    loop {
        let head = head(file, size).map_err(|e| Cut { why: complaint(&e), before: Vec::new() })?;
        match pickles_of(&head, count) {
            // There may be more of it.
            Err(_) if head.len() as u64 == size && size < PICKLE_LIMIT => size = (size * 8).min(PICKLE_LIMIT),
            Err((why, before)) => return Err(Cut { why: why.to_string(), before }),
            Ok((pickles, end)) => return Ok((pickles, end as u64)),
        }
    }
}

fn pickles_of(bytes: &[u8], count: usize) -> Result<(Vec<Pickle>, usize), (PickleError, Vec<Pickle>)> {
    let mut at = 0;
    let mut read = Vec::new();
    for _ in 0..count {
        match pickle::read(bytes.get(at..).unwrap_or_default()) {
            Ok(mut pickle) => {
                for global in &mut pickle.globals {
                    global.position += at;
                }
                // Said once of a file.
                let said = read.iter().any(|p: &Pickle| p.unrestricted.is_some());
                pickle.unrestricted = pickle.unrestricted.filter(|_| !said).map(|position| position + at);
                at += pickle.length;
                read.push(pickle);
            }
            Err(why) => {
                return Err((PickleError { position: why.position + at, ..why }, read));
            }
        }
    }
    Ok((read, at))
}

fn head(file: &mut (impl Read + Seek), size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Follows the storages behind the pickles: an element count and the bytes, for each key. `Err` says
/// what does not add up.
pub(super) fn storages(
    file: &mut (impl Read + Seek),
    length: u64,
    state: &State,
    keys: &Pickle,
    mut at: u64,
) -> Result<Storages, String> {
    let mut held = Storages::new();
    let ids = keys.items(keys.root).ok_or("its list of storages is no list")?;
    for id in ids {
        let key = keys.text(*id).ok_or("its list of storages holds something else")?;
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
        held.insert(key.into(), Held { size, stored: true, start: Some(start) });
    }
    if at != length {
        return Err(format!("{} bytes follow the last storage", length - at));
    }
    Ok(held)
}
