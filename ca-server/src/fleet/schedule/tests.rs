//! The schedule with a clock of its own: no machine delays another, whatever it does (R7), and a KRL waits for nothing (R10).

use std::collections::BTreeMap;

use super::{lane::LONGEST_PAUSE, *};

/// Machines as they behave, and a clock that jumps from one event to the next.
struct World {
    schedule: Schedule,
    start: Instant,
    now: Instant,
    machines: BTreeMap<MachineName, Behaviour>,
    pending: BinaryHeap<Reverse<(Instant, u64)>>,
    walks: HashMap<u64, Step>,
    walk: u64,
    /// When each machine proved which KRL.
    proven: BTreeMap<MachineName, (u64, Duration)>,
    tried: BTreeMap<MachineName, Vec<Duration>>,
    answered: Vec<(Ticket, MachineName)>,
    most: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    /// Takes so many milliseconds.
    Well(u64),
    /// Says nothing until the client gives up.
    Hangs,
    /// Refuses what is brought.
    Refuses,
}

const GIVES_UP: Duration = Duration::from_secs(10);
const KNOCK: Duration = Duration::from_secs(5);

fn name(number: usize) -> MachineName {
    format!("m-{number}").parse().unwrap()
}

impl World {
    fn new(bounds: Bounds, machines: impl IntoIterator<Item = Behaviour>) -> Self {
        let start = Instant::now();
        let machines = machines.into_iter().enumerate();
        Self {
            schedule: Schedule::new(bounds),
            start,
            now: start,
            machines: machines.map(|(n, how)| (name(n), how)).collect(),
            pending: BinaryHeap::new(),
            walks: HashMap::new(),
            walk: 0,
            proven: BTreeMap::new(),
            tried: BTreeMap::new(),
            answered: Vec::new(),
            most: 0,
        }
    }

    fn want_krl(&mut self, krl: u64) {
        self.schedule.publish(krl);
        let needs: Vec<_> = self
            .machines
            .keys()
            .map(|machine| {
                let has = self.proven.get(machine).map_or(0, |(krl, _)| *krl);
                let need = Need {
                    krl: if has < krl { krl } else { 0 },
                    ..Need::default()
                };
                (machine.clone(), need)
            })
            .collect();
        self.schedule.want(needs, self.now);
    }

    fn set_out(&mut self) {
        while let Some(step) = self.schedule.next(self.now) {
            let takes = match &step {
                Step::Knock(machine) => match self.machines[machine] {
                    Behaviour::Hangs => KNOCK,
                    _ => Duration::from_millis(1),
                },
                Step::Go(errand) => {
                    let since = self.now - self.start;
                    self.tried
                        .entry(errand.machine.clone())
                        .or_default()
                        .push(since);
                    match self.machines[&errand.machine] {
                        Behaviour::Well(millis) => Duration::from_millis(millis),
                        Behaviour::Refuses => Duration::from_millis(20),
                        Behaviour::Hangs => GIVES_UP,
                    }
                }
            };
            self.walk += 1;
            self.pending.push(Reverse((self.now + takes, self.walk)));
            self.walks.insert(self.walk, step);
        }
        let working = self.schedule.held[0].len() + self.schedule.held[1].len();
        self.most = self.most.max(working);
    }

    /// Until `end` after the start, or until nothing more will happen.
    fn run_until(&mut self, end: Duration) {
        loop {
            self.set_out();
            let ends = self.pending.peek().map(|Reverse((at, _))| *at);
            let Some(next) = [ends, self.schedule.wake_at()].into_iter().flatten().min() else {
                return;
            };
            if next > self.start + end {
                self.now = self.start + end;
                return;
            }
            self.now = self.now.max(next);
            while let Some(Reverse((at, walk))) = self.pending.peek().copied()
                && at <= self.now
            {
                self.pending.pop();
                let step = self.walks.remove(&walk).unwrap();
                self.end(step);
            }
        }
    }

    fn end(&mut self, step: Step) {
        let (machine, tickets) = match step {
            Step::Knock(machine) if self.machines[&machine] == Behaviour::Hangs => {
                let tickets = self.schedule.stayed_silent(&machine, self.now);
                (machine, tickets)
            }
            Step::Knock(machine) => {
                self.schedule.answered(&machine, self.now);
                return;
            }
            Step::Go(errand) => {
                let well = matches!(self.machines[&errand.machine], Behaviour::Well(_));
                let outcome = Outcome {
                    proven: well,
                    answered: self.machines[&errand.machine] != Behaviour::Hangs,
                    krl: if well { errand.krl } else { 0 },
                    generation: if errand.lanes == Lanes::Both { 1 } else { 0 },
                };
                if well {
                    let at = (errand.krl, self.now - self.start);
                    self.proven.insert(errand.machine.clone(), at);
                }
                let tickets = self.schedule.ended(&errand, outcome, self.now);
                (errand.machine, tickets)
            }
        };
        let answers = tickets.into_iter().map(|ticket| (ticket, machine.clone()));
        self.answered.extend(answers);
    }

    fn last_proof(&self, krl: u64) -> Duration {
        self.proven
            .values()
            .filter(|(version, _)| *version == krl)
            .map(|(_, at)| *at)
            .max()
            .unwrap_or_default()
    }
}

fn bounds() -> Bounds {
    Bounds::around(16)
}

/// 200 machines, of which every twentieth hangs: what `hangs` is without.
fn two_hundred(with: Behaviour) -> impl Iterator<Item = Behaviour> {
    (0..200).map(move |n| {
        if n % 20 == 3 {
            with
        } else {
            Behaviour::Well(400)
        }
    })
}

#[test]
fn r7_machines_that_hang_cost_the_others_little_and_once_known_nothing() {
    let mut well = World::new(bounds(), two_hundred(Behaviour::Well(400)));
    well.want_krl(1);
    well.run_until(Duration::from_secs(600));
    let mut hung = World::new(bounds(), two_hundred(Behaviour::Hangs));
    hung.want_krl(1);
    hung.run_until(Duration::from_secs(60));
    assert_eq!(hung.proven.len(), 190);
    // Unknown: each hanging machine holds a turn for as long as is three times usual, and no longer.
    assert!(
        hung.last_proof(1) < well.last_proof(1) + Duration::from_millis(1600),
        "{:?} instead of {:?}",
        hung.last_proof(1),
        well.last_proof(1)
    );
    // Known: they are knocked at, beside the turns.
    hung.want_krl(2);
    let before = hung.now - hung.start;
    hung.run_until(before + Duration::from_secs(60));
    let took = hung.last_proof(2) - before;
    assert!(took <= well.last_proof(1), "{took:?}");
    assert!(hung.most <= bounds().turns, "{}", hung.most);
}

#[test]
fn r10_a_krl_overtakes_configurations_that_are_being_applied_everywhere() {
    let mut world = World::new(bounds(), (0..40).map(|_| Behaviour::Well(5_000)));
    world.schedule.publish(1);
    let needs = |krl| {
        let need = Need {
            krl,
            generation: 1,
            ..Need::default()
        };
        (0..40).map(move |n| (name(n), need)).collect::<Vec<_>>()
    };
    world.schedule.want(needs(0), world.now);
    world.run_until(Duration::from_secs(1));
    assert_eq!(
        world.schedule.held[1].len(),
        16,
        "configurations are under way"
    );
    world.schedule.publish(2);
    world.schedule.want(needs(2), world.now);
    world.set_out();
    let krls = world.walks.values().filter(
        |step| matches!(step, Step::Go(errand) if errand.lanes == Lanes::Krl && errand.krl == 2),
    );
    assert_eq!(krls.count(), 16, "as many KRLs are on their way at once");
}

#[test]
fn at_most_one_errand_of_a_kind_is_under_way_with_a_machine() {
    let mut world = World::new(bounds(), [Behaviour::Well(300)]);
    world.schedule.publish(1);
    for _ in 0..50 {
        let need = Need {
            krl: 1,
            generation: 1,
            look: true,
            ..Need::default()
        };
        world.schedule.want([(name(0), need)], world.now);
        let _ = world.schedule.order([name(0)], Lanes::Krl, world.now);
        let _ = world.schedule.order([name(0)], Lanes::Both, world.now);
        world.set_out();
        let lanes: Vec<Lanes> = world
            .walks
            .values()
            .filter_map(|step| match step {
                Step::Go(errand) => Some(errand.lanes),
                Step::Knock(_) => None,
            })
            .collect();
        assert!(lanes.iter().filter(|lanes| **lanes == Lanes::Krl).count() <= 1);
        assert!(lanes.iter().filter(|lanes| **lanes == Lanes::Both).count() <= 1);
        let end = world.now - world.start + Duration::from_millis(70);
        world.run_until(end);
    }
}

#[test]
fn a_machine_that_was_down_gets_the_krl_before_its_configuration() {
    let mut world = World::new(bounds(), [Behaviour::Well(100)]);
    world.schedule.publish(5);
    let need = Need {
        krl: 5,
        generation: 1,
        ..Need::default()
    };
    world.schedule.want([(name(0), need)], world.now);
    let Some(Step::Go(first)) = world.schedule.next(world.now) else {
        panic!("something is to be done");
    };
    assert_eq!(first.lanes, Lanes::Krl);
    assert_eq!(world.schedule.next(world.now), None);
    let outcome = Outcome {
        proven: true,
        answered: true,
        krl: 5,
        generation: 0,
    };
    let _ = world.schedule.ended(&first, outcome, world.now);
    let Some(Step::Go(second)) = world.schedule.next(world.now) else {
        panic!("the configuration is to be brought");
    };
    assert_eq!(second.lanes, Lanes::Both);
}

#[test]
fn r1_pauses_grow_up_to_a_minute_and_a_new_krl_cuts_them_short() {
    let mut world = World::new(bounds(), [Behaviour::Refuses]);
    world.want_krl(1);
    world.run_until(Duration::from_secs(1000));
    let tries = world.tried[&name(0)].clone();
    let pauses: Vec<Duration> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] < Duration::from_secs(6), "{pauses:?}");
    assert!(
        pauses
            .iter()
            .all(|pause| *pause <= LONGEST_PAUSE + Duration::from_secs(1))
    );
    assert!(
        *pauses.last().unwrap() > Duration::from_secs(40),
        "{pauses:?}"
    );
    let before = tries.len();
    world.want_krl(2);
    world.set_out();
    assert_eq!(
        world.tried[&name(0)].len(),
        before + 1,
        "it is tried at once"
    );
}

#[test]
fn r1_a_machine_that_is_back_is_reached_within_a_minute() {
    let mut world = World::new(bounds(), [Behaviour::Hangs]);
    world.want_krl(1);
    world.run_until(Duration::from_secs(500));
    *world.machines.get_mut(&name(0)).unwrap() = Behaviour::Well(100);
    world.run_until(Duration::from_secs(500 + 67));
    assert_eq!(world.proven[&name(0)].0, 1);
}

#[test]
fn a_krl_that_the_keeper_brings_already_is_the_answer_to_a_revocation_too() {
    let mut world = World::new(bounds(), (0..100).map(|_| Behaviour::Well(200)));
    world.want_krl(7);
    world.run_until(Duration::from_millis(100));
    let all: Vec<_> = world.machines.keys().cloned().collect();
    let ticket = world.schedule.order(all, Lanes::Krl, world.now);
    world.run_until(Duration::from_secs(60));
    assert_eq!(world.answered.len(), 100);
    assert!(world.answered.iter().all(|(answer, _)| *answer == ticket));
    assert!(
        world.tried.values().all(|tries| tries.len() == 1),
        "nobody is asked twice"
    );
}

#[test]
fn who_asks_for_a_sync_is_not_answered_by_an_apply_that_began_before() {
    let mut world = World::new(bounds(), [Behaviour::Well(200)]);
    world.schedule.publish(1);
    let need = Need {
        generation: 1,
        ..Need::default()
    };
    world.schedule.want([(name(0), need)], world.now);
    world.run_until(Duration::from_millis(100));
    let _ = world.schedule.order([name(0)], Lanes::Both, world.now);
    world.run_until(Duration::from_millis(250));
    assert_eq!(world.answered, []);
    world.run_until(Duration::from_secs(5));
    assert_eq!(world.answered.len(), 1);
}

#[test]
fn what_is_wanted_since_is_no_fault_of_an_apply_that_began_before() {
    let mut world = World::new(bounds(), [Behaviour::Well(200)]);
    world.schedule.publish(1);
    let need = |generation| {
        let need = Need {
            generation,
            ..Need::default()
        };
        [(name(0), need)]
    };
    world.schedule.want(need(1), world.now);
    let Some(Step::Go(first)) = world.schedule.next(world.now) else {
        panic!("it begins at once");
    };
    // Somebody changes what is wanted, and asks for it, while the first is being brought.
    world.schedule.want(need(2), world.now);
    let ticket = world.schedule.order([name(0)], Lanes::Both, world.now);
    let brought = |generation| Outcome {
        krl: 1,
        generation,
        answered: true,
        proven: true,
    };
    let answered = world.schedule.ended(&first, brought(1), world.now);
    assert_eq!(answered, Vec::<Ticket>::new());
    // The machine did nothing wrong: the next one goes there at once, and is the answer.
    let Some(Step::Go(second)) = world.schedule.next(world.now) else {
        panic!("no pause");
    };
    assert_eq!(second.lanes, Lanes::Both);
    let answered = world.schedule.ended(&second, brought(2), world.now);
    assert_eq!(answered, [ticket]);
}

#[test]
fn everybody_who_waits_gets_exactly_one_answer_whatever_machines_do() {
    let behaviours = [
        Behaviour::Well(50),
        Behaviour::Hangs,
        Behaviour::Refuses,
        Behaviour::Well(20_000),
    ];
    let mut world = World::new(
        Bounds {
            turns: 2,
            slow: 2,
            knocks: 2,
        },
        (0..40).map(|n| behaviours[n % 4]),
    );
    world.want_krl(1);
    let all: Vec<_> = world.machines.keys().cloned().collect();
    let mut tickets = Vec::new();
    for round in 0..6_u64 {
        let lanes = if round % 2 == 0 {
            Lanes::Krl
        } else {
            Lanes::Both
        };
        world.want_krl(1 + round);
        tickets.push(world.schedule.order(all.clone(), lanes, world.now));
        world.run_until(Duration::from_secs(3 * (round + 1)));
    }
    world.run_until(Duration::from_secs(3600));
    for ticket in tickets {
        let mut machines: Vec<_> = world
            .answered
            .iter()
            .filter(|(answer, _)| *answer == ticket)
            .map(|(_, machine)| machine.clone())
            .collect();
        machines.sort();
        let count = machines.len();
        machines.dedup();
        assert_eq!((machines.len(), count), (40, 40), "ticket {ticket}");
    }
}

#[test]
fn a_machine_that_is_gone_leaves_nothing_behind() {
    let mut world = World::new(bounds(), (0..3).map(|_| Behaviour::Well(10)));
    world.want_krl(1);
    world.run_until(Duration::from_secs(5));
    world.schedule.want([(name(0), Need::default())], world.now);
    assert_eq!(world.schedule.lanes.len(), 1);
    assert_eq!(world.schedule.under_way(), 0);
}

#[test]
fn revocations_that_wait_or_work_are_counted_and_nothing_else() {
    let mut world = World::new(bounds(), (0..100).map(|_| Behaviour::Well(50)));
    assert_eq!(world.schedule.urgent(), 0);
    world.want_krl(1);
    world.set_out();
    assert_eq!(world.schedule.urgent(), 100, "those without a turn too");
    world.run_until(Duration::from_secs(60));
    assert_eq!(world.schedule.urgent(), 0);
    world
        .schedule
        .look(&(0..100).map(name).collect::<Vec<_>>(), world.now);
    world.set_out();
    assert!(world.schedule.under_way() > 0);
    assert_eq!(world.schedule.urgent(), 0, "a look has time");
}
