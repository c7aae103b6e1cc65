//! The typed client of the CA's `/v1` API: over HTTPS with pinned trust, or over the CA host's Unix socket.
//!
//! Every call has a deadline. Every text in an answer is cleaned before the caller sees it (C5): control characters and
//! bidi overrides are gone, line feeds stay. Connections are kept and used again.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ca_api::{
    AdminLogin, AdminSession, ApiError, EnrolFinish, EnrolStart, EnrolStarted, Enrolled, Issued,
    LoggedOut, LoginRequest, LogoutRequest, Nonce, PasswordChanged, PasswordRequest, RenewRequest,
    ServerInfo, Standing, StandingRequest,
};

use crate::{
    trust::{Fingerprint, PinVerifier, Pinned, TrustError},
    url::ServerUrl,
};

mod admin;
mod transport;

pub use admin::AdminError;
use transport::{Endpoint, Idle};

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Name look-up, TCP and TLS together.
    pub connect: Duration,
    /// A whole call, connecting included. A login costs the server an Argon2 run, perhaps behind others.
    pub call: Duration,
    /// Between two events of an admin command.
    pub event: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(30),
            event: Duration::from_secs(180),
        }
    }
}

/// Why a call has no answer. Where the server answered with an error of its own, it is [`CallError::Refused`].
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The name has no address, nobody listens, or the network is down.
    #[error("cannot reach {whom}: {source}")]
    Connect {
        /// URL or socket path.
        whom: String,
        /// Why.
        source: io::Error,
    },
    /// The server is not the one that was pinned.
    #[error("{whom} is not trusted: {source}")]
    Untrusted {
        /// URL.
        whom: String,
        /// Why.
        source: TrustError,
    },
    /// No answer in time; whether the server acted is unknown.
    #[error("{whom} did not answer within {secs} s")]
    Timeout {
        /// URL or socket path.
        whom: String,
        /// The deadline.
        secs: f32,
    },
    /// The connection broke in the middle.
    #[error("the connection to {whom} broke: {source}")]
    Broken {
        /// URL or socket path.
        whom: String,
        /// hyper's words.
        source: hyper::Error,
    },
    /// An answer larger than any real one.
    #[error("{whom} answered with more than {limit} bytes")]
    TooLarge {
        /// URL or socket path.
        whom: String,
        /// What is read at most.
        limit: usize,
    },
    /// An answer that is not of this API.
    #[error(
        "{whom} answered with something that is not this CA's language (HTTP {status}): {source}"
    )]
    Foreign {
        /// URL or socket path.
        whom: String,
        /// HTTP status.
        status: u16,
        /// The parser's words.
        source: serde_json::Error,
    },
    /// The server says no, or cannot; its words are for the person.
    #[error("{0}")]
    Refused(ApiError),
}

impl CallError {
    /// The server's own error, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&ApiError> {
        match self {
            Self::Refused(error) => Some(error),
            _ => None,
        }
    }
}

/// A client of one CA.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    deadlines: Deadlines,
    idle: Mutex<Vec<Idle>>,
}

impl Client {
    /// A client over HTTPS that believes only a server which `pinned` stands for.
    #[must_use]
    pub fn https(url: ServerUrl, pinned: Pinned) -> Self {
        Self::at(Endpoint::Https {
            url,
            verifier: Arc::new(PinVerifier::by_certificate(&pinned)),
        })
    }

    /// A client on the CA host, over the server's Unix socket.
    #[must_use]
    pub fn unix(path: PathBuf) -> Self {
        Self::at(Endpoint::Unix(path))
    }

    /// Connects, looks for the certificate with `fingerprint` in the chain that the server presents, checks that the
    /// chain leads to it and that the name is right, and returns it with the client that trusts it.
    ///
    /// # Errors
    /// When the server cannot be reached, or presents nothing with that fingerprint.
    pub async fn pin(
        url: ServerUrl,
        fingerprint: Fingerprint,
    ) -> Result<(Pinned, Self), CallError> {
        let verifier = Arc::new(PinVerifier::by_fingerprint(fingerprint));
        let probe = Self::at(Endpoint::Https {
            url: url.clone(),
            verifier: Arc::clone(&verifier),
        });
        probe.connect().await?;
        let pinned = verifier
            .found()
            .expect("a finished handshake has been verified");
        Ok((pinned.clone(), Self::https(url, pinned)))
    }

    /// The same client with other deadlines.
    #[must_use]
    pub fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    fn at(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            deadlines: Deadlines::default(),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// The certificate of `pem` as what to pin from now on: if it is not pinned already, and the server that was last spoken to is
    /// vouched for by it as well.
    #[must_use]
    pub fn successor(&self, pem: &str) -> Option<Pinned> {
        let Endpoint::Https { verifier, .. } = &self.endpoint else {
            return None;
        };
        let successor = Pinned::from_pem(pem).ok()?;
        let known = verifier.found()?;
        (successor != known && verifier.also_led_to(&successor)).then_some(successor)
    }

    /// `GET /v1/ca`.
    ///
    /// # Errors
    /// As [`CallError`] says; so for all calls below.
    pub async fn server_info(&self) -> Result<ServerInfo, CallError> {
        self.read("/v1/ca").await
    }

    /// `GET /v1/nonce`.
    ///
    /// # Errors
    /// As [`CallError`] says.
    pub async fn nonce(&self) -> Result<Nonce, CallError> {
        self.read("/v1/nonce").await
    }

    /// `POST /v1/enrol/start`.
    ///
    /// # Errors
    /// As [`CallError`] says.
    pub async fn enrol_start(&self, request: &EnrolStart) -> Result<EnrolStarted, CallError> {
        self.send("/v1/enrol/start", request).await
    }

    /// `POST /v1/enrol/finish`.
    ///
    /// # Errors
    /// As [`CallError`] says.
    pub async fn enrol_finish(&self, request: &EnrolFinish) -> Result<Enrolled, CallError> {
        self.send("/v1/enrol/finish", request).await
    }

    /// `POST /v1/login`.
    ///
    /// # Errors
    /// As [`CallError`] says.
    pub async fn login(&self, request: &LoginRequest) -> Result<Issued, CallError> {
        self.send("/v1/login", request).await
    }

    /// `POST /v1/renew`.
    ///
    /// # Errors
    /// As [`CallError`] says.
    pub async fn renew(&self, request: &RenewRequest) -> Result<Issued, CallError> {
        self.send("/v1/renew", request).await
    }

    /// `POST /v1/standing`.
    ///
    /// # Errors
    /// As [`CallError`] says.
    pub async fn standing(&self, request: &StandingRequest) -> Result<Standing, CallError> {
        self.send("/v1/standing", request).await
    }

    /// `POST /v1/logout`.
    ///
    /// # Errors
    /// As [`CallError`] says.
    pub async fn logout(&self, request: &LogoutRequest) -> Result<LoggedOut, CallError> {
        self.send("/v1/logout", request).await
    }

    /// `POST /v1/password`.
    ///
    /// # Errors
    /// As [`CallError`] says.
    pub async fn password(&self, request: &PasswordRequest) -> Result<PasswordChanged, CallError> {
        self.send("/v1/password", request).await
    }

    /// `POST /v1/admin/login`: a session of 15 minutes that serves many [`Client::admin`] calls.
    ///
    /// # Errors
    /// As [`CallError`] says.
    pub async fn admin_login(&self, request: &AdminLogin) -> Result<AdminSession, CallError> {
        self.send("/v1/admin/login", request).await
    }

    fn take_idle(&self) -> Option<Idle> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(|connection| !connection.is_closed())
    }

    fn put_idle(&self, connection: Idle) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
    }
}
