//! How this library takes a mutex: also after a thread has panicked with it. No code here relies on a panic to keep others
//! from half-changed data: the run ends anyway, and its end must still be reported.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
