//! # Copies: what devices with memory or machine code of their own keep of an operand

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What a device keeps; given up with the operand.
pub(crate) type Copied = Arc<dyn Any + Send + Sync>;

/// The number of each device, and its form of the operand.
#[derive(Default)]
pub(crate) struct Copies(Mutex<Vec<(u64, Copied)>>);

impl Copies {
    /// What the device of this number keeps, if it is a `T`.
    pub(crate) fn get<T: Any + Send + Sync>(&self, device: u64) -> Option<Arc<T>> {
        let copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = copies.iter().find(|(owner, _)| *owner == device);
        own.and_then(|(_, copied)| Arc::clone(copied).downcast().ok())
    }

    /// Keeps what a device made of the operand, instead of what it kept before.
    pub(crate) fn keep(&self, device: u64, copied: Copied) {
        let mut copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        copies.retain(|(owner, _)| *owner != device);
        copies.push((device, copied));
    }
}

impl fmt::Debug for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Copies")
    }
}
