//! People who work all the time: real logins, one after the other, until they are told to stop.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread::{Scope, ScopedJoinHandle},
};

use anyhow::Result;
use e2e::{Person, said};

use crate::scene::ssh;

/// No test logs in more often than this.
const MOST: usize = 2000;

/// When to stop, and how far it got.
#[derive(Default)]
pub struct Load {
    stop: AtomicBool,
    logins: AtomicUsize,
}

impl Load {
    /// Begins: `person` logs in to each of the machines in turn. What failed is returned by the thread.
    pub fn begin<'scope, 'env>(
        &'scope self,
        scope: &'scope Scope<'scope, 'env>,
        person: &'scope Person,
        machines: &'scope [&str],
    ) -> ScopedJoinHandle<'scope, Result<Vec<String>>> {
        scope.spawn(move || {
            let mut failed = Vec::new();
            for machine in machines.iter().cycle().take(MOST) {
                if self.stop.load(Ordering::Relaxed) {
                    break;
                }
                let output = ssh(person, &[machine, "id -un"])?;
                if output.status.success() {
                    self.logins.fetch_add(1, Ordering::Relaxed);
                } else {
                    failed.push(format!("{machine}: {}", said(&output)));
                }
            }
            Ok(failed)
        })
    }

    /// So many logins so far.
    pub fn logins(&self) -> usize {
        self.logins.load(Ordering::Relaxed)
    }

    /// Enough.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
