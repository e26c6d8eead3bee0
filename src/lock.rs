//! Locks an in-memory `Mutex`, even if it is poisoned.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a value that is consistent after each statement: it stays valid even if a thread panicked while it held the
/// lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
