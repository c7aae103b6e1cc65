//! The lane of one machine: what it lacks, what is under way, and how long it is left alone after a failure.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use policies::MachineName;

use super::{Errand, Lanes, Need, Outcome, Ticket};

/// The longest pause after failures: a machine that is back has its revocations within a minute (R1).
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The pause after the first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// Where a machine waits for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    /// For a KRL.
    Urgent,
    /// For a configuration, or to be looked at.
    Rest,
    /// To be knocked at.
    Silent,
}

/// An errand under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running {
    pub(super) number: u64,
    pub(super) krl: u64,
    /// The generation that was lacked when it began; 0 if none was. One that is wanted since is no fault of this errand's.
    pub(super) generation: u64,
    pub(super) began: Instant,
    /// Whose turns it uses: 0 for KRLs, 1 for the rest.
    pub(super) kind: usize,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    ticket: Ticket,
    lanes: Lanes,
    krl: u64,
}

/// A machine that failed is left alone until then.
#[derive(Debug, Clone, Copy)]
struct Pause {
    failures: u32,
    krl: u64,
    until: Instant,
}

/// One machine.
#[derive(Debug, Default)]
pub(super) struct Lane {
    need: Need,
    waiting: Vec<Waiting>,
    bringing_krl: Option<Running>,
    bringing_both: Option<Running>,
    pause: Option<Pause>,
    pub(super) is_silent: bool,
    pub(super) is_knocked: bool,
    pub(super) queued: Option<Queue>,
}

impl Lane {
    /// What the store says that it lacks.
    pub(super) fn learn(&mut self, need: Need) {
        // What was heard since the server started is newer than what the store remembered then.
        if self.pause.is_none() && !self.is_busy() {
            self.is_silent = need.silent;
        }
        self.need = need;
    }

    /// The generation that it lacks; 0 if none.
    pub(super) fn lacks_generation(&self) -> u64 {
        self.need.generation
    }

    pub(super) fn look(&mut self) {
        self.need.look = true;
    }

    /// Somebody waits for an errand that begins from now on, or brings this KRL anyway.
    pub(super) fn wait(&mut self, ticket: Ticket, lanes: Lanes, krl: u64) {
        self.waiting.push(Waiting { ticket, lanes, krl });
    }

    pub(super) fn is_busy(&self) -> bool {
        self.bringing_krl.is_some()
            || self.bringing_both.is_some()
            || self.is_knocked
            || !self.waiting.is_empty()
    }

    /// Which errand may begin now, if `krl` is in force.
    pub(super) fn startable(&self, krl: u64, now: Instant) -> Option<Lanes> {
        if self.bringing_krl.is_some() || self.is_knocked {
            return None;
        }
        let under_way = |wanted: u64| {
            self.bringing_both
                .is_some_and(|running| running.krl >= wanted)
        };
        let held = self.pause.is_some_and(|pause| now < pause.until);
        // A KRL that was not tried yet does not wait: why the last errand failed may have nothing to do with it (R10).
        let untried = self.pause.is_none_or(|pause| pause.krl < krl);
        let lacks_krl = self.need.krl > 0 && !under_way(self.need.krl) && (!held || untried);
        let asked_krl = self.waits_for(|waiting| {
            !under_way(waiting.krl) && (waiting.lanes == Lanes::Krl || self.need.krl > 0)
        });
        if lacks_krl || asked_krl {
            return Some(Lanes::Krl);
        }
        if self.bringing_both.is_some() {
            return None;
        }
        if self.waits_for(|waiting| waiting.lanes == Lanes::Both) {
            return Some(Lanes::Both);
        }
        if held {
            None
        } else if self.need.generation > 0 {
            Some(Lanes::Both)
        } else {
            self.need.look.then_some(Lanes::Krl)
        }
    }

    fn waits_for(&self, which: impl Fn(&Waiting) -> bool) -> bool {
        self.waiting.iter().any(which)
    }

    /// Where it waits now.
    pub(super) fn queue(&self, krl: u64, now: Instant) -> Option<Queue> {
        let lanes = self.startable(krl, now)?;
        Some(match lanes {
            _ if self.is_silent => Queue::Silent,
            Lanes::Krl if self.need.krl > 0 || !self.waiting.is_empty() => Queue::Urgent,
            Lanes::Krl | Lanes::Both => Queue::Rest,
        })
    }

    pub(super) fn start(&mut self, lanes: Lanes, running: Running) {
        match lanes {
            Lanes::Krl => self.bringing_krl = Some(running),
            Lanes::Both => self.bringing_both = Some(running),
        }
    }

    /// Ends the errand, if it is under way.
    pub(super) fn finish(&mut self, errand: &Errand) -> Option<Running> {
        let place = match errand.lanes {
            Lanes::Krl => &mut self.bringing_krl,
            Lanes::Both => &mut self.bringing_both,
        };
        place.take_if(|running| running.number == errand.number)
    }

    /// Takes in what an errand came to; returns for whom it is the result.
    pub(super) fn settle(&mut self, errand: &Errand, outcome: Outcome) -> Vec<Ticket> {
        if outcome.krl >= self.need.krl {
            self.need.krl = 0;
        }
        if outcome.proven && outcome.generation >= self.need.generation {
            self.need.generation = 0;
        }
        if outcome.answered {
            self.need.look = false;
        }
        let brought = |waiting: &Waiting| match waiting.lanes {
            Lanes::Krl => errand.krl >= waiting.krl,
            // The bundle that is wanted may have been made after an earlier errand began.
            Lanes::Both => errand.number > waiting.ticket && errand.lanes == Lanes::Both,
        };
        // A machine that cannot be reached now is a result for whoever began to wait before the errand did.
        let failed = |waiting: &Waiting| !outcome.proven && errand.number > waiting.ticket;
        self.answer(|waiting| brought(waiting) || failed(waiting))
    }

    /// Everybody who waits has their result: it could not be reached.
    pub(super) fn give_up(&mut self) -> Vec<Ticket> {
        self.answer(|_| true)
    }

    fn answer(&mut self, whom: impl Fn(&Waiting) -> bool) -> Vec<Ticket> {
        let mut answered = Vec::new();
        self.waiting.retain(|waiting| {
            let over = whom(waiting);
            if over {
                answered.push(waiting.ticket);
            }
            !over
        });
        answered
    }

    /// Does it lack what an errand that was called proven should have brought? It must not be asked again and again without a pause.
    pub(super) fn is_short(&self, errand: &Errand, running: Running, outcome: Outcome) -> bool {
        let krl = self.need.krl > 0 && errand.krl >= self.need.krl;
        let bundle = errand.lanes == Lanes::Both && outcome.generation < running.generation;
        krl || bundle
    }

    pub(super) fn recover(&mut self) {
        self.pause = None;
    }

    /// Leaves it alone for a while; returns until when.
    pub(super) fn fail(&mut self, krl: u64, machine: &MachineName, now: Instant) -> Instant {
        let failures = self
            .pause
            .map_or(0, |pause| pause.failures)
            .saturating_add(1);
        let whole = (FIRST_PAUSE * 2_u32.saturating_pow((failures - 1).min(10))).min(LONGEST_PAUSE);
        let until = now + whole.mul_f64(spread(machine, failures));
        let krl = self.pause.map_or(krl, |pause| pause.krl.max(krl));
        self.pause = Some(Pause {
            failures,
            krl,
            until,
        });
        until
    }
}

/// 0.75 to 1, another for each machine and failure: those that went down together are not all tried at the same moment.
fn spread(machine: &MachineName, failures: u32) -> f64 {
    let mut hasher = DefaultHasher::new();
    (machine, failures).hash(&mut hasher);
    0.75 + f64::from((hasher.finish() & 0xffff) as u16) / f64::from(u16::MAX) / 4.0
}
