//! A revocation for 1,000, 3,000 and 10,000 machines that exist in memory only: the real schedule and courier, carried by nobody.
//!
//! Two lines a size: what planning costs by itself (the schedule with a clock of its own), and the whole way through the courier, where
//! each machine takes 40 ms, one in twenty is off and one in twenty hangs. `cargo bench -p ca-server --bench fleet`

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ca_api::admin::{DeliveryOutcome, MachineDelivery};
use ca_server::{
    fleet::{
        courier::{Attempt, Carrier, Courier, Walk},
        schedule::{Bounds, Errand, Lanes, Need, Outcome, Schedule, Step},
    },
    records::{KrlRecord, SeenRecord},
};
use policies::MachineName;

const SIZES: [usize; 3] = [1_000, 3_000, 10_000];

fn names(count: usize) -> Vec<MachineName> {
    (0..count)
        .map(|n| format!("machine-{n}").parse().expect("a machine's name"))
        .collect()
}

/// Memory of this process, in KiB.
fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Every machine once: wanted, started, ended.
fn plan(count: usize) {
    let names = names(count);
    let before = resident_kib();
    let mut schedule = Schedule::new(Bounds::around(64));
    let settled = names.iter().map(|name| (name.clone(), Need::default()));
    schedule.want(settled, Instant::now());
    let memory = resident_kib().saturating_sub(before);
    let began = Instant::now();
    schedule.publish(7);
    let ticket = schedule.order(names.iter().cloned(), Lanes::Krl, began);
    let need = Need {
        krl: 7,
        ..Need::default()
    };
    schedule.want(names.iter().map(|name| (name.clone(), need)), began);
    let ordered = began.elapsed();
    let mut answers = 0;
    while let Some(step) = schedule.next(began) {
        let Step::Go(errand) = step else {
            unreachable!("no machine is silent")
        };
        let outcome = Outcome {
            proven: true,
            answered: true,
            krl: 7,
            generation: 0,
        };
        answers += schedule
            .ended(&errand, outcome, began)
            .iter()
            .filter(|one| **one == ticket)
            .count();
    }
    let whole = began.elapsed();
    assert_eq!(answers, count);
    println!(
        "{count:>6} machines  planned in {:>6.2} ms, all steps together {:>7.2} ms ({:.2} µs a machine), {memory:>5} KiB of lanes",
        millis(ordered),
        millis(whole),
        whole.as_secs_f64() * 1e6 / count as f64
    );
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Machines in memory: 40 ms each, one in twenty off, one in twenty hanging.
struct Memory {
    asked: AtomicU64,
}

fn number(machine: &MachineName) -> usize {
    let digits = machine.as_str().rsplit('-').next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

impl Carrier for Memory {
    fn knock<'a>(&'a self, machine: &'a MachineName) -> Walk<'a, Result<(), Attempt>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Err(Attempt::failed(
                machine,
                "silent".to_owned(),
                SeenRecord::default(),
            ))
        })
    }

    fn carry<'a>(&'a self, errand: &'a Errand, krl: &'a Arc<KrlRecord>) -> Walk<'a, Attempt> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let machine = &errand.machine;
            let failed =
                |reason: &str| Attempt::failed(machine, reason.to_owned(), SeenRecord::default());
            match number(machine) % 20 {
                3 => {
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    failed("No route to host")
                }
                13 => {
                    tokio::time::sleep(Duration::from_secs(10)).await;
                    failed("it does not answer")
                }
                _ => {
                    tokio::time::sleep(Duration::from_millis(40)).await;
                    proven(machine, krl.version)
                }
            }
        })
    }
}

fn proven(machine: &MachineName, krl_version: u64) -> Attempt {
    Attempt {
        delivery: MachineDelivery {
            machine: machine.to_string(),
            outcome: DeliveryOutcome::Proven {
                krl_version,
                generation: 1,
                sessions_ended: Vec::new(),
                sessions_open: Vec::new(),
            },
            millis: 40,
            changes: Vec::new(),
        },
        seen: SeenRecord {
            krl_version,
            generation: 1,
            ..SeenRecord::default()
        },
        answered: true,
    }
}

fn krl(version: u64) -> KrlRecord {
    KrlRecord {
        version,
        built_unix: 0,
        covers: 0,
        ca_keys: Vec::new(),
        krl: String::new(),
        krl_sha256: String::new(),
        parcel: String::new(),
        signature: String::new(),
    }
}

async fn carry(count: usize) {
    let names = names(count);
    let before = resident_kib();
    let memory = Arc::new(Memory {
        asked: AtomicU64::new(0),
    });
    let carrier: Arc<dyn Carrier> = Arc::clone(&memory) as _;
    let courier = Courier::start(carrier, Bounds::around(64));
    for (version, what) in [(1, "the dead unknown"), (2, "the dead known")] {
        let cpu = cpu_millis();
        let began = Instant::now();
        courier.publish(&krl(version));
        let mut results = courier.order(names.clone(), Lanes::Krl);
        let mut times = Vec::with_capacity(count);
        let mut missed = 0;
        while let Some(attempt) = results.recv().await {
            match attempt.delivery.outcome {
                DeliveryOutcome::Proven { .. } => times.push(began.elapsed()),
                DeliveryOutcome::NotReached { .. } => missed += 1,
            }
        }
        assert_eq!(times.len() + missed, count);
        let rank = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1];
        println!(
            "{count:>6} machines  {what}: {} proven, half within {:.1} s, 99 % {:.1} s, all {:.1} s; the {missed} dead told after {:.1} s; \
             CPU {:.0} ms; {} KiB",
            times.len(),
            rank(50).as_secs_f64(),
            rank(99).as_secs_f64(),
            rank(100).as_secs_f64(),
            began.elapsed().as_secs_f64(),
            cpu_millis() - cpu,
            resident_kib().saturating_sub(before)
        );
    }
}

fn cpu_millis() -> f64 {
    use nix::sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike as _,
    };
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own usage");
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e3
}

fn main() {
    for count in SIZES {
        plan(count);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    for count in SIZES {
        runtime.block_on(carry(count));
    }
}
