//! Which machine is spoken to next, and for what: pure, with the clock as an argument.
//!
//! Each machine has a lane of its own. In a lane, a KRL goes before everything else, and at most one errand of a kind is under way: a KRL
//! may overtake a configuration that is still being applied (R10), nothing else overlaps. Turns are bounded:
//!
//! - an errand holds one of a few **turns** while it may be working;
//! - one that takes much longer than others do gives its turn back, and waits on among the **slow** (R7: a machine that hangs costs no CPU);
//! - a machine that was silent the last time is only **knocked** at (a TCP connection and sshd's banner) until it answers.

mod lane;
mod pace;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use policies::MachineName;

use self::{
    lane::{Lane, Queue, Running},
    pace::Pace,
};

/// What an errand brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// The KRL alone: depends on nothing in the configuration (R10).
    Krl,
    /// The bundle, and the KRL to be read back.
    Both,
}

/// How much may be under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Errands that may be working: so many for KRLs, and so many for everything else.
    pub turns: usize,
    /// Errands that take unusually long and only wait.
    pub slow: usize,
    /// Silent machines that are knocked at.
    pub knocks: usize,
}

impl Bounds {
    /// Bounds around `parallel` machines that are worked with at once.
    #[must_use]
    pub fn around(parallel: usize) -> Self {
        Self {
            turns: parallel,
            // Each of them is an `ssh` that waits: memory (1 to 2 MB), no CPU.
            slow: parallel * 4,
            // Each of them is a socket.
            knocks: 256,
        }
    }
}

/// What a machine lacks, as the store tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Need {
    /// It has not proven this KRL version yet; 0 if it has.
    pub krl: u64,
    /// It has not proven this generation yet; 0 if it has.
    pub generation: u64,
    /// It was not asked for long: its KRL is read back.
    pub look: bool,
    /// It did not answer the last time.
    pub silent: bool,
}

/// One thing to do with one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// Its number; later ones have higher numbers.
    pub number: u64,
    /// With which machine.
    pub machine: MachineName,
    /// What is brought.
    pub lanes: Lanes,
    /// The KRL version that is brought.
    pub krl: u64,
}

/// What to start next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// See whether sshd answers at all.
    Knock(MachineName),
    /// Go there.
    Go(Errand),
}

/// What an errand came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Was everything that was brought proven?
    pub proven: bool,
    /// Did the machine answer, if only to refuse?
    pub answered: bool,
    /// The KRL version that stands there now, as far as is known.
    pub krl: u64,
    /// The generation that stands there now, as far as is known.
    pub generation: u64,
}

/// Somebody waits for the result of one errand to each of some machines.
pub type Ticket = u64;

/// All lanes.
#[derive(Debug)]
pub struct Schedule {
    bounds: Bounds,
    krl: u64,
    lanes: HashMap<MachineName, Lane>,
    urgent: VecDeque<MachineName>,
    rest: VecDeque<MachineName>,
    silent: VecDeque<MachineName>,
    pauses: BinaryHeap<Reverse<(Instant, MachineName)>>,
    /// Errands with a turn, oldest first; those that ended are passed over.
    turns: [VecDeque<(Instant, u64)>; 2],
    held: [HashSet<u64>; 2],
    slow: HashSet<u64>,
    knocks: usize,
    pace: [Pace; 2],
    numbers: u64,
}

impl Schedule {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            krl: 0,
            lanes: HashMap::new(),
            urgent: VecDeque::new(),
            rest: VecDeque::new(),
            silent: VecDeque::new(),
            pauses: BinaryHeap::new(),
            turns: Default::default(),
            held: Default::default(),
            slow: HashSet::new(),
            knocks: 0,
            pace: Default::default(),
            numbers: 0,
        }
    }

    /// The KRL that errands bring from now on; an older one changes nothing (R2).
    pub fn publish(&mut self, version: u64) {
        self.krl = self.krl.max(version);
    }

    /// What every machine in the CA's keeping lacks. Lanes of machines that are not named, and for which nobody waits, end.
    pub fn want(&mut self, needs: impl IntoIterator<Item = (MachineName, Need)>, now: Instant) {
        let mut named = HashSet::new();
        for (machine, need) in needs {
            let lane = self.lanes.entry(machine.clone()).or_default();
            lane.learn(need);
            self.queue(&machine, now);
            named.insert(machine);
        }
        self.lanes
            .retain(|machine, lane| named.contains(machine) || lane.is_busy());
    }

    /// These machines are to be read back; those that are not known are passed over.
    pub fn look(&mut self, machines: &[MachineName], now: Instant) {
        for machine in machines {
            if let Some(lane) = self.lanes.get_mut(machine) {
                lane.look();
                self.queue(machine, now);
            }
        }
    }

    /// Somebody waits for an errand to each of these machines: at once, whatever failed before. An errand under way that brings as much counts.
    pub fn order(
        &mut self,
        machines: impl IntoIterator<Item = MachineName>,
        lanes: Lanes,
        now: Instant,
    ) -> Ticket {
        self.numbers += 1;
        let ticket = self.numbers;
        for machine in machines {
            let lane = self.lanes.entry(machine.clone()).or_default();
            lane.wait(ticket, lanes, self.krl);
            self.queue(&machine, now);
        }
        ticket
    }

    /// What to start now; `None` until something ends, something is wanted, or [`Schedule::wake_at`] has come.
    pub fn next(&mut self, now: Instant) -> Option<Step> {
        self.wake(now);
        while self.knocks < self.bounds.knocks {
            let Some(machine) = self.pop(Queue::Silent) else {
                break;
            };
            let Some(lane) = self.lanes.get_mut(&machine) else {
                continue;
            };
            if !lane.is_knocked && lane.startable(self.krl, now).is_some() {
                lane.is_knocked = true;
                self.knocks += 1;
                return Some(Step::Knock(machine));
            }
        }
        for (kind, queue) in [(0, Queue::Urgent), (1, Queue::Rest)] {
            while self.held[kind].len() < self.bounds.turns {
                let Some(machine) = self.pop(queue) else {
                    break;
                };
                let Some(lane) = self.lanes.get_mut(&machine) else {
                    continue;
                };
                let Some(lanes) = lane.startable(self.krl, now) else {
                    continue;
                };
                self.numbers += 1;
                let number = self.numbers;
                let generation = lane.lacks_generation();
                lane.start(
                    lanes,
                    Running {
                        number,
                        krl: self.krl,
                        generation,
                        began: now,
                        kind,
                    },
                );
                self.turns[kind].push_back((now, number));
                self.held[kind].insert(number);
                // What else it lacks may be startable beside it.
                self.queue(&machine, now);
                return Some(Step::Go(Errand {
                    number,
                    machine,
                    lanes,
                    krl: self.krl,
                }));
            }
        }
        None
    }

    /// A machine that was knocked at answered.
    pub fn answered(&mut self, machine: &MachineName, now: Instant) {
        self.knocks = self.knocks.saturating_sub(1);
        if let Some(lane) = self.lanes.get_mut(machine) {
            lane.is_knocked = false;
            lane.is_silent = false;
            self.queue(machine, now);
        }
    }

    /// A machine that was knocked at did not answer. Returns for whom that is a result.
    pub fn stayed_silent(&mut self, machine: &MachineName, now: Instant) -> Vec<Ticket> {
        self.knocks = self.knocks.saturating_sub(1);
        let Some(lane) = self.lanes.get_mut(machine) else {
            return Vec::new();
        };
        lane.is_knocked = false;
        lane.is_silent = true;
        let until = lane.fail(self.krl, machine, now);
        let answered = lane.give_up();
        self.pauses.push(Reverse((until, machine.clone())));
        self.queue(machine, now);
        answered
    }

    /// An errand ended. Returns for whom that is the result.
    pub fn ended(&mut self, errand: &Errand, outcome: Outcome, now: Instant) -> Vec<Ticket> {
        let Some(lane) = self.lanes.get_mut(&errand.machine) else {
            return Vec::new();
        };
        let Some(running) = lane.finish(errand) else {
            return Vec::new();
        };
        self.held[running.kind].remove(&errand.number);
        self.slow.remove(&errand.number);
        if outcome.answered {
            self.pace[running.kind].took(now.saturating_duration_since(running.began));
        }
        lane.is_silent = !outcome.answered;
        let mut answered = lane.settle(errand, outcome);
        if outcome.proven && !lane.is_short(errand, running, outcome) {
            lane.recover();
        } else {
            if outcome.proven {
                // It says that all is well, and lacks what was brought: whoever waits must not wait for ever.
                answered.extend(lane.give_up());
            }
            let until = lane.fail(errand.krl, &errand.machine, now);
            self.pauses.push(Reverse((until, errand.machine.clone())));
        }
        self.queue(&errand.machine, now);
        answered
    }

    /// When [`Schedule::next`] may have something to start although nothing ended and nothing new is wanted.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        let pause = self.pauses.peek().map(|Reverse((at, _))| *at);
        let waiting = [!self.urgent.is_empty(), !self.rest.is_empty()];
        let turn = (0..2)
            .filter(|kind| waiting[*kind] && self.slow.len() < self.bounds.slow)
            .filter_map(|kind| Some(self.turns[kind].front()?.0 + self.pace[kind].patience()))
            .min();
        [pause, turn].into_iter().flatten().min()
    }

    /// How many errands and knocks are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.held[0].len() + self.held[1].len() + self.slow.len() + self.knocks
    }

    /// How many revocations have a turn, or wait for one. What is slow has given its turn back, and does not count.
    #[must_use]
    pub fn urgent(&self) -> usize {
        self.held[0].len() + self.urgent.len()
    }

    /// How long an errand may hold its turn when others wait.
    #[must_use]
    pub fn patience(&self, lanes: Lanes) -> Duration {
        self.pace[usize::from(lanes == Lanes::Both)].patience()
    }

    /// Pauses that are over are queued again, and what takes too long gives its turn to others.
    fn wake(&mut self, now: Instant) {
        while let Some(Reverse((at, _))) = self.pauses.peek()
            && *at <= now
        {
            let Some(Reverse((_, machine))) = self.pauses.pop() else {
                break;
            };
            self.queue(&machine, now);
        }
        for kind in 0..2 {
            let patience = self.pace[kind].patience();
            while let Some((began, number)) = self.turns[kind].front().copied() {
                let over = !self.held[kind].contains(&number);
                let late = began + patience <= now && self.slow.len() < self.bounds.slow;
                if !over && !late {
                    break;
                }
                self.turns[kind].pop_front();
                if !over {
                    self.held[kind].remove(&number);
                    self.slow.insert(number);
                }
            }
        }
    }

    fn queue(&mut self, machine: &MachineName, now: Instant) {
        let Some(lane) = self.lanes.get_mut(machine) else {
            return;
        };
        let Some(queue) = lane.queue(self.krl, now) else {
            return;
        };
        if lane.queued == Some(queue) {
            return;
        }
        // Where it stands in another queue, that place is passed over when its turn comes.
        lane.queued = Some(queue);
        match queue {
            Queue::Urgent => self.urgent.push_back(machine.clone()),
            Queue::Rest => self.rest.push_back(machine.clone()),
            Queue::Silent => self.silent.push_back(machine.clone()),
        }
    }

    fn pop(&mut self, queue: Queue) -> Option<MachineName> {
        loop {
            let machine = match queue {
                Queue::Urgent => self.urgent.pop_front(),
                Queue::Rest => self.rest.pop_front(),
                Queue::Silent => self.silent.pop_front(),
            }?;
            if let Some(lane) = self.lanes.get_mut(&machine)
                && lane.queued == Some(queue)
            {
                lane.queued = None;
                return Some(machine);
            }
        }
    }
}

#[cfg(test)]
mod tests;
