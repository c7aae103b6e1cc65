//! Passwords: Argon2id at rest, bounded in memory, and a policy that refuses what attackers try first.

use std::{
    fs,
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use argon2::{
    Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version,
    password_hash::SaltString,
};
use ca_api::Secret;
use rand_core::OsRng;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    attempts::network,
    shares::{self, Share, Shares},
};
use crate::config::Argon2Config;

/// The longest password that is hashed, in bytes; a longer one is refused, never cut (A10).
pub const MAX_BYTES: usize = 512;

/// The shortest password, in characters.
pub const MIN_CHARS: usize = 12;

/// How many verifications may wait for their turn before further ones are turned away (A10).
const QUEUE: usize = 256;

/// Whose share it is when somebody who has proven who they are needs a hash.
const KNOWN: &str = "known";

/// A password cannot be hashed or compared now.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Too many at once.
    #[error("too many logins at once")]
    Busy,
    /// Longer than [`MAX_BYTES`].
    #[error("the password is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Argon2 refused its parameters.
    #[error("argon2: {0}")]
    Argon2(argon2::password_hash::Error),
}

/// Hashes and verifies passwords, a bounded number at a time.
#[derive(Clone)]
pub struct Hasher {
    argon2: Argon2<'static>,
    turns: Arc<Semaphore>,
    queue: Arc<Shares>,
    /// A hash of nobody's password: an unknown email costs the same work as a known one (A7).
    decoy: Arc<str>,
}

/// A place in the queue.
pub struct Place(shares::Place);

impl Hasher {
    /// A hasher of the configured cost.
    ///
    /// # Errors
    /// When Argon2 does not take the parameters.
    pub fn new(config: Argon2Config) -> Result<Self, HashError> {
        let params = Params::new(config.memory_kib, config.passes, 1, None)
            .map_err(|error| HashError::Argon2(error.into()))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let decoy = hash(&argon2, "nobody has this password")?;
        Ok(Self {
            argon2,
            turns: Arc::new(Semaphore::new(config.parallel)),
            queue: Shares::new(QUEUE, Share::AsManyAsAreFree),
            decoy: decoy.into(),
        })
    }

    /// Takes a place in the queue: before an attempt is counted, so that whoever is turned away loses none.
    ///
    /// # Errors
    /// When too many wait, or too many of the same network.
    pub fn enter(&self, from: IpAddr) -> Result<Place, HashError> {
        self.place(network(from))
    }

    fn place(&self, network: String) -> Result<Place, HashError> {
        self.queue.enter(network).map(Place).ok_or(HashError::Busy)
    }

    /// Hashes a new password: a PHC string.
    ///
    /// # Errors
    /// When it is too long, or too many wait.
    pub async fn hash(&self, password: &Secret) -> Result<String, HashError> {
        let password = bounded(password)?;
        let turn = self.turn(self.place(KNOWN.to_owned())?).await?;
        let argon2 = self.argon2.clone();
        tokio::task::spawn_blocking(move || {
            let _held = turn;
            hash(&argon2, password.expose())
        })
        .await
        .map_err(|_| HashError::Busy)?
    }

    /// Waits for a turn. It goes along with the work, which goes on when whoever asked hangs up: were it given back then,
    /// a client that connects and cuts could run any number at once (A10).
    async fn turn(
        &self,
        Place(place): Place,
    ) -> Result<(shares::Place, OwnedSemaphorePermit), HashError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        Ok((place, turn.map_err(|_| HashError::Busy)?))
    }

    /// Is `password` the one behind `stored`? Without `stored`, does the same work and says no.
    ///
    /// # Errors
    /// When too many wait. A password that is too long is simply wrong, after the same work.
    pub async fn verify(
        &self,
        password: &Secret,
        stored: Option<&str>,
    ) -> Result<Verdict, HashError> {
        self.verify_at(self.place(KNOWN.to_owned())?, password, stored)
            .await
    }

    /// [`Self::verify`] with a place that was taken before.
    ///
    /// # Errors
    /// When the server ends.
    pub async fn verify_at(
        &self,
        place: Place,
        password: &Secret,
        stored: Option<&str>,
    ) -> Result<Verdict, HashError> {
        let turn = self.turn(place).await?;
        let (known, phc): (bool, Arc<str>) = match stored {
            Some(phc) => (true, phc.into()),
            None => (false, Arc::clone(&self.decoy)),
        };
        let (fits, password) = match bounded(password) {
            Ok(password) => (true, password),
            Err(_) => (false, Secret::new("too long to be anybody's".to_owned())),
        };
        let argon2 = self.argon2.clone();
        let same = tokio::task::spawn_blocking(move || {
            let _held = turn;
            PasswordHash::new(&phc).is_ok_and(|parsed| {
                argon2
                    .verify_password(password.expose().as_bytes(), &parsed)
                    .is_ok()
            })
        })
        .await
        .map_err(|_| HashError::Busy)?;
        Ok(if same && known && fits {
            Verdict::Right
        } else {
            Verdict::Wrong
        })
    }
}

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is theirs.
    Right,
    /// It is not, or there is nobody.
    Wrong,
}

fn bounded(password: &Secret) -> Result<Secret, HashError> {
    if password.expose().len() > MAX_BYTES {
        return Err(HashError::TooLong);
    }
    Ok(password.clone())
}

fn hash(argon2: &Argon2<'_>, password: &str) -> Result<String, HashError> {
    let salt = SaltString::generate(&mut OsRng);
    argon2
        .hash_password(password.as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(HashError::Argon2)
}

/// Why a new password is not taken; the text is for the person who chose it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Weak {
    /// Too short.
    #[error("it has {0} characters; at least {MIN_CHARS} are needed")]
    Short(usize),
    /// Too long.
    #[error("it is longer than {MAX_BYTES} bytes")]
    Long,
    /// zxcvbn guesses it quickly.
    #[error("it is easy to guess{0}")]
    Guessable(String),
    /// It stands in the list of breached passwords.
    #[error("it is in a list of stolen passwords")]
    Breached,
}

/// Takes a new password, or says why not. `about` is what an attacker would try first: email, name, account.
///
/// # Errors
/// The rule it breaks.
pub fn check_new(
    password: &Secret,
    about: &[&str],
    breached: Option<&Breached>,
) -> Result<(), Weak> {
    let text = password.expose();
    let chars = text.chars().count();
    if chars < MIN_CHARS {
        return Err(Weak::Short(chars));
    }
    if text.len() > MAX_BYTES {
        return Err(Weak::Long);
    }
    let estimate = zxcvbn::zxcvbn(text, about);
    if estimate.score() < zxcvbn::Score::Three {
        let mut why = String::new();
        if let Some(feedback) = estimate.feedback() {
            if let Some(warning) = feedback.warning() {
                why.push_str(": ");
                why.push_str(&warning.to_string());
            }
            if let Some(suggestion) = feedback.suggestions().first() {
                why.push_str(if why.is_empty() { ": " } else { " " });
                why.push_str(&suggestion.to_string());
            }
        }
        return Err(Weak::Guessable(why));
    }
    if breached.is_some_and(|list| list.contains(text)) {
        return Err(Weak::Breached);
    }
    Ok(())
}

/// A file of breached passwords as "Have I Been Pwned" publishes it: lines `SHA1HEX:COUNT`, ordered by hash. It stays on
/// disk (tens of gigabytes) and is searched by bisection.
#[derive(Debug, Clone)]
pub struct Breached {
    path: PathBuf,
}

impl Breached {
    /// Uses the file at `path`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::File::open(path)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Is the password in the list? A file that cannot be read says no: the other rules still hold.
    fn contains(&self, password: &str) -> bool {
        use sha1::{Digest, Sha1};
        let wanted = data_encoding::HEXUPPER.encode(&Sha1::digest(password.as_bytes()));
        self.search(&wanted).unwrap_or_else(|error| {
            tracing::error!(path = %self.path.display(), %error, "the list of breached passwords cannot be read");
            false
        })
    }

    fn search(&self, wanted: &str) -> io::Result<bool> {
        let mut file = BufReader::with_capacity(256, fs::File::open(&self.path)?);
        let (mut low, mut high) = (0, file.get_ref().metadata()?.len());
        // Invariant: a line with `wanted` begins in low..high.
        while low < high {
            let middle = low + (high - low) / 2;
            let mut line = String::new();
            let mut start = middle;
            if middle > low {
                // The rest of a line that began before `middle` belongs to the lower half. Read from the byte before, so
                // that a line which begins at `middle` itself is not taken for such a rest.
                start -= 1;
                file.seek(SeekFrom::Start(start))?;
                start += file.read_line(&mut line)? as u64;
                line.clear();
            } else {
                file.seek(SeekFrom::Start(start))?;
            }
            let length = file.read_line(&mut line)? as u64;
            if start >= high || length == 0 {
                high = middle;
                continue;
            }
            let hash = line.split(':').next().unwrap_or_default().trim();
            match hash.to_ascii_uppercase().as_str().cmp(wanted) {
                std::cmp::Ordering::Equal => return Ok(true),
                std::cmp::Ordering::Less => low = start + length,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap() -> Hasher {
        Hasher::new(Argon2Config {
            memory_kib: 64,
            passes: 1,
            parallel: 2,
        })
        .unwrap()
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn a10_an_oversize_password_is_refused_never_cut() {
        let hasher = cheap();
        let long = "x".repeat(MAX_BYTES + 1);
        assert!(matches!(
            hasher.hash(&secret(&long)).await,
            Err(HashError::TooLong)
        ));
        let stored = hasher.hash(&secret(&long[..MAX_BYTES])).await.unwrap();
        assert_eq!(
            hasher
                .verify(&secret(&long[..MAX_BYTES]), Some(&stored))
                .await
                .unwrap(),
            Verdict::Right
        );
        assert_eq!(
            hasher.verify(&secret(&long), Some(&stored)).await.unwrap(),
            Verdict::Wrong
        );
    }

    #[tokio::test]
    async fn a10_a_flood_is_turned_away_while_a_bounded_number_waits() {
        let hasher = cheap();
        let turns = hasher.turns.acquire_many(2).await.unwrap();
        let from = |n: u8| IpAddr::from([192, 0, n, 1]);
        let places: Vec<_> = (0..u8::MAX)
            .flat_map(|n| std::iter::from_fn(move || Some(n)).take(QUEUE))
            .map_while(|n| (hasher.queue.free() > 0).then(|| hasher.enter(from(n))))
            .filter_map(Result::ok)
            .collect();
        assert_eq!(places.len(), QUEUE);
        let waiting: Vec<_> = places
            .into_iter()
            .map(|place| {
                let hasher = hasher.clone();
                tokio::spawn(async move { hasher.verify_at(place, &secret("x"), None).await })
            })
            .collect();
        assert!(matches!(hasher.enter(from(255)), Err(HashError::Busy)));
        assert!(matches!(
            hasher.verify(&secret("x"), None).await,
            Err(HashError::Busy)
        ));
        drop(turns);
        for one in waiting {
            assert_eq!(one.await.unwrap().unwrap(), Verdict::Wrong);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a10_whoever_hangs_up_does_not_make_room_while_their_work_goes_on() {
        let hasher = Hasher::new(Argon2Config {
            memory_kib: 64 * 1024,
            // Long enough that it is at work yet when it is looked at below, on a busy machine too.
            passes: 32,
            parallel: 1,
        })
        .unwrap();
        let asking = hasher.clone();
        let task = tokio::spawn(async move { asking.verify(&secret("x"), None).await });
        while hasher.turns.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(hasher.turns.available_permits(), 0);
        assert_eq!(
            hasher.verify(&secret("x"), None).await.unwrap(),
            Verdict::Wrong
        );
        assert_eq!(hasher.turns.available_permits(), 1);
    }

    #[tokio::test]
    async fn a7_nobody_never_matches_even_with_the_decoys_password() {
        assert_eq!(
            cheap()
                .verify(&secret("nobody has this password"), None)
                .await
                .unwrap(),
            Verdict::Wrong
        );
    }

    #[test]
    fn weak_passwords_are_refused_with_the_rule() {
        let check = |text: &str| check_new(&secret(text), &["alice@corp.example", "alice"], None);
        assert_eq!(check("short"), Err(Weak::Short(5)));
        assert!(matches!(check("password1234"), Err(Weak::Guessable(_))));
        assert!(matches!(
            check("alice@corp.example"),
            Err(Weak::Guessable(_))
        ));
        assert_eq!(check(&"é".repeat(300)), Err(Weak::Long));
        assert_eq!(check("wobbly-lantern-eats-41-figs"), Ok(()));
    }

    #[test]
    fn breached_passwords_are_found_by_bisection() {
        use sha1::{Digest, Sha1};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pwned.txt");
        let words: Vec<String> = (0..500)
            .map(|n| format!("stolen-password-number-{n}"))
            .collect();
        let mut lines: Vec<String> = words
            .iter()
            .map(|word| {
                format!(
                    "{}:7\r\n",
                    data_encoding::HEXUPPER.encode(&Sha1::digest(word.as_bytes()))
                )
            })
            .collect();
        lines.sort();
        fs::write(&path, lines.concat()).unwrap();
        let list = Breached::open(&path).unwrap();
        for word in &words {
            assert!(
                check_new(&secret(word), &[], Some(&list)).is_err(),
                "{word}"
            );
            assert!(list.contains(word), "{word}");
        }
        for n in 500..1000 {
            assert!(!list.contains(&format!("stolen-password-number-{n}")));
        }
    }
}
