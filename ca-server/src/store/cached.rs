//! One value built from a group of tables, rebuilt only when the group changed.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Read, ReadError, Revision, TableGroup};

/// Holds the last value built from the tables of one group.
///
/// Correct inside a change too: a revision stands for one content for ever, also for content that was never committed.
#[derive(Debug)]
pub struct Cached<T> {
    group: TableGroup,
    slot: Mutex<Option<(Revision, Arc<T>)>>,
}

impl<T> Cached<T> {
    /// Nothing built yet.
    #[must_use]
    pub fn new(group: TableGroup) -> Self {
        Self {
            group,
            slot: Mutex::new(None),
        }
    }

    /// The value for what `source` sees; `build` runs if the group changed since the last call.
    ///
    /// # Errors
    /// What `build` returns, or that the store cannot be read.
    pub fn load<R, E>(
        &self,
        source: &R,
        build: impl FnOnce(&R) -> Result<T, E>,
    ) -> Result<Arc<T>, E>
    where
        R: Read,
        E: From<ReadError>,
    {
        let revision = source.revision(self.group)?;
        if let Some((held, value)) = &*self.slot.lock().unwrap_or_else(PoisonError::into_inner)
            && *held == revision
        {
            return Ok(Arc::clone(value));
        }
        // Built outside the lock: a reader that builds must not hold up the writer.
        let value = Arc::new(build(source)?);
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((revision, Arc::clone(&value)));
        Ok(value)
    }
}
