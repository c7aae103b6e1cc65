//! Connections that are kept open: a revocation over one costs a fifth of a new login, and is there sooner.
//!
//! Their number is bounded: each is an `ssh` of about 1.5 MB here and a sshd on the machine. One that died is noticed (keepalives of the
//! client), reported, and made anew by whoever needs it next.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ca_machine::{Connection, Limits, OpenError, Report, Request, RunError, Target, exchange};
use policies::MachineName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Open connections, by machine.
pub struct Kept {
    places: Arc<Semaphore>,
    idle: Duration,
    held: Mutex<HashMap<MachineName, Held>>,
}

struct Held {
    connection: Arc<Connection>,
    /// Where it leads, so that one to an old address or with an old key is not used.
    way: String,
    used: Instant,
    _place: OwnedSemaphorePermit,
}

impl Kept {
    /// Room for `most` connections, each closed when nobody used it for `idle`.
    #[must_use]
    pub fn new(most: usize, idle: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(most)),
            idle,
            held: Mutex::default(),
        }
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.held().len()
    }

    /// One request: over the connection that is there, over a new one that is kept, or where no place is left over one of its own.
    ///
    /// # Errors
    /// As [`exchange`].
    pub async fn ask(
        &self,
        machine: &MachineName,
        target: &Target,
        request: &Request,
        limits: &Limits,
    ) -> Result<Report, RunError> {
        let way = way(target);
        if let Some(connection) = self.there(machine, &way) {
            match connection.request(request).await {
                Ok(report) => return Ok(report),
                // It died unnoticed. What was sent may have arrived: the applier takes the same again.
                Err(
                    RunError::Silent { .. } | RunError::Broken { .. } | RunError::Answer { .. },
                ) => {
                    self.forget(machine, &connection);
                }
                Err(error) => {
                    self.forget(machine, &connection);
                    return Err(error);
                }
            }
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return exchange(target, request, limits).await;
        };
        let connection = match Connection::keep(target, *limits).await {
            Ok(connection) => Arc::new(connection),
            // No `setpriv` here, or a door that is shut for a moment: a connection of its own can bear both.
            Err(error) if matches!(error, OpenError::Client(_)) || error.is_momentary() => {
                drop(place);
                return exchange(target, request, limits).await;
            }
            Err(error) => return Err(error.into()),
        };
        let report = connection.request(request).await?;
        let held = Held {
            connection,
            way,
            used: Instant::now(),
            _place: place,
        };
        self.held().insert(machine.clone(), held);
        Ok(report)
    }

    /// Closes what nobody used for long, and returns the machines whose connection ended by itself.
    pub fn sweep(&self) -> Vec<MachineName> {
        let mut ended = Vec::new();
        self.held().retain(|machine, held| {
            if held.connection.has_ended() {
                ended.push(machine.clone());
                return false;
            }
            held.used.elapsed() < self.idle
        });
        ended
    }

    fn there(&self, machine: &MachineName, way: &str) -> Option<Arc<Connection>> {
        let mut all = self.held();
        let held = all.get_mut(machine)?;
        if held.way != way || held.connection.has_ended() {
            all.remove(machine);
            return None;
        }
        held.used = Instant::now();
        Some(Arc::clone(&held.connection))
    }

    fn forget(&self, machine: &MachineName, connection: &Arc<Connection>) {
        let mut all = self.held();
        if all
            .get(machine)
            .is_some_and(|held| Arc::ptr_eq(&held.connection, connection))
        {
            all.remove(machine);
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<MachineName, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn way(target: &Target) -> String {
    format!(
        "{}:{} {} {:?} {:?}",
        target.address, target.port, target.user, target.login, target.host_key
    )
}
