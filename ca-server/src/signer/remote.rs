//! A signer that lives elsewhere, asked by a thread of its own: it may hang, and the server goes on.
//!
//! A request waits for its answer until its time is over, and no longer. From then on the signer counts as hung: further
//! requests fail at once, and the thread looks now and then whether it answers again. Nothing is signed for somebody who
//! stopped waiting.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use ssh_key::{Signature, public::KeyData};

use super::{Pace, Signer, SignerError, check};

/// How many requests may wait for their turn.
const QUEUE: usize = 256;

/// The first and the longest pause between two looks at a signer that hangs.
const LOOK_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// How long after its deadline a line must have given up; it bounds its own waiting, this is the second bound.
const GRACE: Duration = Duration::from_secs(2);

/// A way to somebody who signs. Used by one thread; every call ends by its deadline.
pub(super) trait Line: Send {
    /// Signs.
    ///
    /// # Errors
    /// [`SignerError::TimedOut`] makes the signer count as hung; anything else is this request's own misfortune.
    fn sign(&mut self, data: &[u8], deadline: Instant) -> Result<Signature, SignerError>;

    /// Looks whether it is there and holds the key, without signing: a look must not want a touch.
    ///
    /// # Errors
    /// When it is not.
    fn look(&mut self, deadline: Instant) -> Result<(), SignerError>;
}

struct Job {
    data: Vec<u8>,
    deadline: Instant,
    answer: SyncSender<Result<Signature, SignerError>>,
}

/// A signer that lives elsewhere.
pub struct RemoteSigner {
    key: KeyData,
    name: String,
    wait: Duration,
    hung: Arc<Mutex<Option<Instant>>>,
    jobs: SyncSender<Job>,
}

impl RemoteSigner {
    /// Starts the thread, which opens the line first; an answer is waited for as long as `wait`.
    ///
    /// The line is opened there because a helper process ends with the thread that started it.
    ///
    /// # Errors
    /// What opening says, or that it took too long.
    pub(super) fn start<L: Line + 'static>(
        name: String,
        wait: Duration,
        open: impl FnOnce(Instant) -> Result<(KeyData, L), SignerError> + Send + 'static,
    ) -> Result<Self, SignerError> {
        let (jobs, todo) = sync_channel(QUEUE);
        let hung = Arc::new(Mutex::new(None));
        let theirs = Arc::clone(&hung);
        let (tell, told) = sync_channel(1);
        let called = name.clone();
        thread::Builder::new()
            .name("signer".to_owned())
            .spawn(move || match open(Instant::now() + wait) {
                Ok((key, line)) => {
                    drop(tell.send(Ok(key)));
                    let worker = Worker {
                        line,
                        name: called,
                        wait,
                        hung: theirs,
                        todo,
                    };
                    worker.work();
                }
                Err(error) => drop(tell.send(Err(error))),
            })
            .map_err(|error| SignerError::Absent {
                signer: name.clone(),
                why: format!("no thread can be started for it: {error}"),
            })?;
        let key = told
            .recv_timeout(wait + GRACE)
            .map_err(|_| SignerError::TimedOut {
                signer: name.clone(),
                waited_secs: wait.as_secs(),
            })??;
        Ok(Self {
            key,
            name,
            wait,
            hung,
            jobs,
        })
    }

    /// The same with a key that is known, at a line that does not answer yet: it counts as hung until it does.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn wait_for<L: Line + 'static>(
        name: String,
        wait: Duration,
        key: KeyData,
        line: L,
    ) -> Result<Self, SignerError> {
        let waiting = Self::start(name, wait, move |_| Ok((key, line)))?;
        locked(&waiting.hung).get_or_insert_with(Instant::now);
        // The thread sleeps until somebody asks: this wakes it, and from then on it looks by itself.
        waiting.wake();
        Ok(waiting)
    }

    fn wake(&self) {
        let (answer, _) = sync_channel(1);
        drop(self.jobs.try_send(Job {
            data: Vec::new(),
            deadline: Instant::now(),
            answer,
        }));
    }

    /// Since when it does not answer.
    #[must_use]
    pub fn hung_since(&self) -> Option<Instant> {
        *locked(&self.hung)
    }

    fn silent(&self, since: Instant) -> SignerError {
        SignerError::Hung {
            signer: self.name.clone(),
            silent_secs: since.elapsed().as_secs(),
        }
    }

    fn late(&self) -> SignerError {
        SignerError::TimedOut {
            signer: self.name.clone(),
            waited_secs: self.wait.as_secs(),
        }
    }
}

fn locked(hung: &Mutex<Option<Instant>>) -> MutexGuard<'_, Option<Instant>> {
    hung.lock().unwrap_or_else(|lock| lock.into_inner())
}

impl Signer for RemoteSigner {
    fn public_key(&self) -> &KeyData {
        &self.key
    }

    fn sign(&self, data: &[u8]) -> Result<Signature, SignerError> {
        if let Some(since) = self.hung_since() {
            return Err(self.silent(since));
        }
        let deadline = Instant::now() + self.wait;
        let (answer, answered) = sync_channel(1);
        let job = Job {
            data: data.to_vec(),
            deadline,
            answer,
        };
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => SignerError::Busy {
                signer: self.name.clone(),
            },
            TrySendError::Disconnected(_) => self.late(),
        })?;
        let signature = match answered.recv_timeout(self.wait + GRACE) {
            Ok(answer) => answer?,
            Err(RecvTimeoutError::Timeout) => {
                locked(&self.hung).get_or_insert_with(Instant::now);
                return Err(self.late());
            }
            Err(RecvTimeoutError::Disconnected) => {
                let hung = self.hung_since();
                return Err(hung.map_or_else(|| self.late(), |since| self.silent(since)));
            }
        };
        // Looked at on this side too: a wrong signature must not leave whatever the line did.
        check(&self.key, data, &signature)?;
        Ok(signature)
    }

    fn pace(&self) -> Pace {
        Pace::Waits
    }

    fn back_end(&self) -> String {
        self.name.clone()
    }
}

struct Worker<L> {
    line: L,
    name: String,
    wait: Duration,
    hung: Arc<Mutex<Option<Instant>>>,
    todo: Receiver<Job>,
}

impl<L: Line> Worker<L> {
    fn work(mut self) {
        let mut pause = LOOK_PAUSES.0;
        loop {
            let job = if locked(&self.hung).is_none() {
                pause = LOOK_PAUSES.0;
                match self.todo.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                }
            } else {
                match self.todo.recv_timeout(pause) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        self.look();
                        pause = (pause * 2).min(LOOK_PAUSES.1);
                        continue;
                    }
                }
            };
            self.answer(job);
        }
    }

    fn answer(&mut self, job: Job) {
        // Dropped unanswered if its asker waits no more: nothing is signed that nobody records as tried.
        if Instant::now() >= job.deadline || locked(&self.hung).is_some() {
            return;
        }
        let answer = self.line.sign(&job.data, job.deadline);
        if matches!(answer, Err(SignerError::TimedOut { .. })) {
            locked(&self.hung).get_or_insert_with(Instant::now);
            tracing::error!(signer = %self.name, "the signer did not answer in time and is not asked until it does");
        }
        // An asker that has gone away is no reason to stop.
        drop(job.answer.try_send(answer));
    }

    fn look(&mut self) {
        match self.line.look(Instant::now() + self.wait) {
            Ok(()) => {
                *locked(&self.hung) = None;
                tracing::info!(signer = %self.name, "the signer answers again");
            }
            Err(error) => tracing::warn!(%error, "the signer still does not sign"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use rand_core::OsRng;
    use ssh_key::{Algorithm, PrivateKey};

    use super::*;

    /// Does what the test says next, one answer at a time.
    struct Script {
        key: PrivateKey,
        steps: Receiver<Step>,
        answers_again: Arc<AtomicBool>,
    }

    enum Step {
        Sign,
        Lie,
        BeLate,
    }

    fn late() -> SignerError {
        SignerError::TimedOut {
            signer: "script".to_owned(),
            waited_secs: 0,
        }
    }

    impl Line for Script {
        fn sign(&mut self, data: &[u8], _: Instant) -> Result<Signature, SignerError> {
            match self.steps.recv().unwrap() {
                Step::Sign => Ok(signature::Signer::try_sign(&self.key, data).unwrap()),
                Step::Lie => Ok(signature::Signer::try_sign(&self.key, b"other").unwrap()),
                Step::BeLate => Err(late()),
            }
        }

        fn look(&mut self, _: Instant) -> Result<(), SignerError> {
            match self.answers_again.load(Ordering::SeqCst) {
                true => Ok(()),
                false => Err(late()),
            }
        }
    }

    struct Stage {
        signer: RemoteSigner,
        steps: SyncSender<Step>,
        answers_again: Arc<AtomicBool>,
    }

    impl Stage {
        fn new() -> Self {
            let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
            let (steps, taken) = sync_channel(16);
            let answers_again = Arc::new(AtomicBool::new(false));
            let line = Script {
                key: key.clone(),
                steps: taken,
                answers_again: Arc::clone(&answers_again),
            };
            let public = key.public_key().key_data().clone();
            let wait = Duration::from_secs(600);
            let signer =
                RemoteSigner::start("script".to_owned(), wait, |_| Ok((public, line))).unwrap();
            Self {
                signer,
                steps,
                answers_again,
            }
        }

        fn recovers(&self) {
            self.answers_again.store(true, Ordering::SeqCst);
            let patience = Instant::now() + Duration::from_secs(300);
            while self.signer.hung_since().is_some() {
                assert!(Instant::now() < patience, "it was never looked at again");
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    #[test]
    fn i4_a_wrong_signature_from_elsewhere_never_comes_back() {
        let stage = Stage::new();
        for (step, right) in [(Step::Sign, true), (Step::Lie, false), (Step::Sign, true)] {
            stage.steps.send(step).unwrap();
            match stage.signer.sign(b"data") {
                Ok(_) => assert!(right),
                Err(SignerError::WrongSignature) => assert!(!right),
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[test]
    fn a_hung_signer_fails_at_once_until_it_answers_again() {
        let stage = Stage::new();
        stage.steps.send(Step::BeLate).unwrap();
        assert!(matches!(
            stage.signer.sign(b"data"),
            Err(SignerError::TimedOut { .. })
        ));
        // No step is left: whoever asked the line now would wait for ten minutes.
        for _ in 0..3 {
            assert!(matches!(
                stage.signer.sign(b"data"),
                Err(SignerError::Hung { .. })
            ));
        }
        stage.recovers();
        stage.steps.send(Step::Sign).unwrap();
        assert!(stage.signer.sign(b"data").is_ok());
    }

    #[test]
    fn nothing_is_signed_for_somebody_who_waits_behind_a_signer_that_hangs() {
        let stage = Stage::new();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert!(stage.signer.sign(b"data").is_err()));
            }
            stage.steps.send(Step::BeLate).unwrap();
        });
        // A step that is still there was taken by none of them.
        stage.steps.send(Step::Sign).unwrap();
        stage.recovers();
        assert!(stage.signer.sign(b"data").is_ok());
    }

    #[test]
    fn a_line_that_cannot_be_opened_says_why() {
        let refused = |_: Instant| -> Result<(KeyData, Script), SignerError> {
            Err(SignerError::NoKey {
                signer: "script".to_owned(),
                why: "it has none".to_owned(),
            })
        };
        assert!(matches!(
            RemoteSigner::start("script".to_owned(), Duration::from_secs(600), refused),
            Err(SignerError::NoKey { .. })
        ));
    }
}
