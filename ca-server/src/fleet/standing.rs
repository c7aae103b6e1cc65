//! How the fleet stands: what `machine list`, `krl show` and the metrics tell, from the store alone.

use std::collections::BTreeMap;

use policies::MachineName;

use crate::{
    records::{KRL_CURRENT, KrlRecord, MachineStatus, SeenRecord, fleet},
    revoke::exposure::Exposures,
    store::{KeyRange, Read, ReadError, Table},
};

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    /// Which.
    pub machine: MachineName,
    /// What was heard of it.
    pub seen: SeenRecord,
    /// What is the matter, if anything is.
    pub state: State,
    /// Until when something revoked would still work there; absent where nothing would.
    pub exposed_until_unix: Option<i64>,
    /// Does the CA log in there? Else only its own reports say how it stands.
    pub pushed_to: bool,
}

/// What is the matter with a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// KRL and generation are those in force, read back.
    Proven,
    /// It answers, and something is on its way to it.
    Behind,
    /// It did not answer, or did not do what was asked, the last time.
    Trouble,
}

/// All machines in the CA's keeping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The KRL version in force.
    pub krl_version: u64,
    /// When it was built.
    pub krl_built_unix: i64,
    /// Each of them, by name.
    pub machines: Vec<Stand>,
}

impl Standing {
    /// As the store has it.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn read<R: Read>(source: &R, now_unix: i64) -> Result<Self, ReadError> {
        let krl: Option<KrlRecord> = source.get_json(Table::Krl, KRL_CURRENT)?;
        let (krl_version, krl_built_unix) = krl.map_or((0, 0), |krl| (krl.version, krl.built_unix));
        let mut seen: BTreeMap<Vec<u8>, SeenRecord> = source
            .scan_json(Table::Seen, &KeyRange::all(), usize::MAX)?
            .into_iter()
            .collect();
        let mut machines = Vec::new();
        for (machine, record) in fleet(source)? {
            if record.status == MachineStatus::Preparing {
                continue;
            }
            let seen = seen.remove(machine.as_str().as_bytes()).unwrap_or_default();
            let leaving = record.status == MachineStatus::Leaving;
            let current =
                seen.krl_version == krl_version && !leaving && seen.generation == record.generation;
            let state = match (seen.trouble.is_empty(), current) {
                (true, true) => State::Proven,
                (true, false) => State::Behind,
                (false, _) => State::Trouble,
            };
            machines.push(Stand {
                machine,
                seen,
                state,
                exposed_until_unix: None,
                pushed_to: record.is_pushed_to(),
            });
        }
        let mut standing = Self {
            krl_version,
            krl_built_unix,
            machines,
        };
        standing.expose(source, now_unix)?;
        Ok(standing)
    }

    fn expose<R: Read>(&mut self, source: &R, now_unix: i64) -> Result<(), ReadError> {
        let krl_version = self.krl_version;
        let behind = |stand: &&mut Stand| stand.seen.krl_version != krl_version;
        let covered = self.machines.iter_mut().filter(behind);
        let Some(oldest) = covered.map(|stand| stand.seen.krl_covers).min() else {
            return Ok(());
        };
        let exposures = Exposures::since(source, oldest, now_unix)?;
        for stand in self.machines.iter_mut().filter(behind) {
            stand.exposed_until_unix = exposures.until(stand.seen.krl_covers);
        }
        Ok(())
    }

    /// How many are in this state.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        self.machines
            .iter()
            .filter(|stand| stand.state == state)
            .count()
    }

    /// Those that have not proven the KRL in force.
    pub fn without_krl(&self) -> impl Iterator<Item = &Stand> {
        self.machines
            .iter()
            .filter(|stand| stand.seen.krl_version != self.krl_version)
    }
}
