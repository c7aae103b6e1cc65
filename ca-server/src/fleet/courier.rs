//! Runs the schedule: the one place that speaks to machines, whoever wants something of them.

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc, time::Instant};

use ca_api::admin::{DeliveryOutcome, MachineDelivery};
use policies::MachineName;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    pulse::Pulse,
    schedule::{Bounds, Errand, Lanes, Need, Outcome, Schedule, Step, Ticket},
};
use crate::records::{KrlRecord, SeenRecord};

/// What an attempt came to.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// For people.
    pub delivery: MachineDelivery,
    /// For the store.
    pub seen: SeenRecord,
    /// Did the machine answer, if only to refuse?
    pub answered: bool,
}

impl Attempt {
    /// An attempt that came to nothing, with what was known of the machine before.
    #[must_use]
    pub fn failed(machine: &MachineName, reason: String, before: SeenRecord) -> Self {
        Self {
            delivery: MachineDelivery {
                machine: machine.to_string(),
                outcome: DeliveryOutcome::NotReached {
                    reason: reason.clone(),
                    krl_version: before.krl_version,
                    exposed_until_unix: None,
                },
                millis: 0,
                changes: Vec::new(),
            },
            seen: SeenRecord {
                trouble: reason,
                ..before
            },
            answered: false,
        }
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            proven: matches!(self.delivery.outcome, DeliveryOutcome::Proven { .. }),
            answered: self.answered,
            krl: self.seen.krl_version,
            generation: self.seen.generation,
        }
    }
}

/// Work that goes on by itself.
pub type Walk<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How machines are reached. What an attempt came to is durable before it is returned: a server that is killed forgets nothing.
pub trait Carrier: Send + Sync + 'static {
    /// Does sshd answer there at all?
    fn knock<'a>(&'a self, machine: &'a MachineName) -> Walk<'a, Result<(), Attempt>>;

    /// Brings what `errand` says, and reads back.
    fn carry<'a>(&'a self, errand: &'a Errand, krl: &'a Arc<KrlRecord>) -> Walk<'a, Attempt>;
}

enum Message {
    Publish(Arc<KrlRecord>),
    Want(Vec<(MachineName, Need)>),
    Look(Vec<MachineName>),
    Order {
        machines: Vec<MachineName>,
        lanes: Lanes,
        results: mpsc::UnboundedSender<Attempt>,
    },
}

/// The way to hand it work. The work ends when the last handle is dropped.
pub struct Courier {
    inbox: mpsc::UnboundedSender<Message>,
    pulse: Arc<Pulse>,
}

impl Courier {
    /// Starts working.
    #[must_use]
    pub fn start(carrier: Arc<dyn Carrier>, bounds: Bounds) -> Self {
        let (inbox, messages) = mpsc::unbounded_channel();
        let pulse = Arc::new(Pulse::default());
        let round = Round {
            carrier,
            pulse: Arc::clone(&pulse),
            schedule: Schedule::new(bounds),
            krl: None,
            tickets: HashMap::new(),
            walks: JoinSet::new(),
            under_way: HashMap::new(),
        };
        tokio::spawn(round.run(messages));
        Self { inbox, pulse }
    }

    /// From now on this KRL is brought; an older one is passed over.
    pub fn publish(&self, krl: &KrlRecord) {
        self.send(Message::Publish(Arc::new(krl.clone())));
    }

    /// What every machine in the CA's keeping lacks; what failed is tried again by itself.
    pub fn want(&self, needs: Vec<(MachineName, Need)>) {
        self.send(Message::Want(needs));
    }

    /// These machines are read back when there is time.
    pub fn look(&self, machines: Vec<MachineName>) {
        self.send(Message::Look(machines));
    }

    /// One attempt for each of these machines, at once. Results come as they are there; the channel closes after the last.
    #[must_use]
    pub fn order(
        &self,
        machines: Vec<MachineName>,
        lanes: Lanes,
    ) -> mpsc::UnboundedReceiver<Attempt> {
        let (results, received) = mpsc::unbounded_channel();
        self.send(Message::Order {
            machines,
            lanes,
            results,
        });
        received
    }

    /// What was done so far, in numbers.
    #[must_use]
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    fn send(&self, message: Message) {
        if self.inbox.send(message).is_err() {
            tracing::error!("nobody works for the fleet any more");
        }
    }
}

struct Waiting {
    results: mpsc::UnboundedSender<Attempt>,
    left: usize,
    since: Instant,
}

enum Walked {
    Knocked(MachineName, Result<(), Attempt>),
    Went(Errand, Attempt),
}

struct Round {
    carrier: Arc<dyn Carrier>,
    pulse: Arc<Pulse>,
    schedule: Schedule,
    krl: Option<Arc<KrlRecord>>,
    tickets: HashMap<Ticket, Waiting>,
    walks: JoinSet<Walked>,
    /// For the case that a walk panics: its lane must not stay shut.
    under_way: HashMap<tokio::task::Id, Step>,
}

impl Round {
    async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        loop {
            while let Some(step) = self.schedule.next(Instant::now()) {
                self.set_out(step);
            }
            self.pulse.under_way(self.schedule.under_way());
            self.pulse.urgent(self.schedule.urgent());
            let wake = self.schedule.wake_at();
            let pause = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
                Some(walked) = self.walks.join_next_with_id() => self.walked(walked),
                () = pause => {}
            }
        }
    }

    fn take(&mut self, message: Message) {
        let now = Instant::now();
        match message {
            Message::Publish(krl) => {
                if self
                    .krl
                    .as_ref()
                    .is_none_or(|old| old.version < krl.version)
                {
                    self.schedule.publish(krl.version);
                    self.krl = Some(krl);
                }
            }
            Message::Want(needs) => self.schedule.want(needs, now),
            Message::Look(machines) => self.schedule.look(&machines, now),
            Message::Order {
                machines,
                lanes,
                results,
            } => {
                let left = machines.len();
                let ticket = self.schedule.order(machines, lanes, now);
                if left > 0 {
                    let waiting = Waiting {
                        results,
                        left,
                        since: now,
                    };
                    self.tickets.insert(ticket, waiting);
                }
            }
        }
    }

    fn set_out(&mut self, step: Step) {
        let carrier = Arc::clone(&self.carrier);
        let walk = match step.clone() {
            Step::Knock(machine) => self.walks.spawn(async move {
                let answer = carrier.knock(&machine).await;
                Walked::Knocked(machine, answer)
            }),
            Step::Go(errand) => {
                let krl = Arc::clone(
                    self.krl
                        .as_ref()
                        .expect("a KRL is published before anything is wanted"),
                );
                self.walks.spawn(async move {
                    let attempt = carrier.carry(&errand, &krl).await;
                    Walked::Went(errand, attempt)
                })
            }
        };
        self.under_way.insert(walk.id(), step);
    }

    fn walked(&mut self, walked: Result<(tokio::task::Id, Walked), tokio::task::JoinError>) {
        let now = Instant::now();
        let walked = match walked {
            Ok((id, walked)) => {
                self.under_way.remove(&id);
                walked
            }
            Err(error) => {
                tracing::error!(%error, "a delivery ended without a result");
                let broken = |machine: &MachineName| {
                    let reason = "the delivery failed inside the server: see its log".to_owned();
                    Attempt::failed(machine, reason, SeenRecord::default())
                };
                match self.under_way.remove(&error.id()) {
                    Some(Step::Knock(machine)) => {
                        let attempt = broken(&machine);
                        Walked::Knocked(machine, Err(attempt))
                    }
                    Some(Step::Go(errand)) => {
                        let attempt = broken(&errand.machine);
                        Walked::Went(errand, attempt)
                    }
                    None => return,
                }
            }
        };
        match walked {
            Walked::Knocked(machine, Ok(())) => self.schedule.answered(&machine, now),
            Walked::Knocked(machine, Err(attempt)) => {
                let tickets = self.schedule.stayed_silent(&machine, now);
                self.pulse.count(&attempt);
                self.tell(&tickets, &attempt);
            }
            Walked::Went(errand, attempt) => {
                let tickets = self.schedule.ended(&errand, attempt.outcome(), now);
                self.pulse.count(&attempt);
                self.tell(&tickets, &attempt);
            }
        }
    }

    /// Whoever waits hears how long it took since they asked, with the time in a queue.
    fn tell(&mut self, tickets: &[Ticket], attempt: &Attempt) {
        for ticket in tickets {
            let Some(waiting) = self.tickets.get_mut(ticket) else {
                continue;
            };
            let mut attempt = attempt.clone();
            attempt.delivery.millis =
                u64::try_from(waiting.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            // Whoever asked may be gone: the work goes on.
            drop(waiting.results.send(attempt));
            waiting.left -= 1;
            if waiting.left == 0 {
                self.tickets.remove(ticket);
            }
        }
    }
}
