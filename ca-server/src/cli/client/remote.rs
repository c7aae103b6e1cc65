//! A command to a server elsewhere: the pinned fingerprint, the admin session, and the login when that is over.

use ca_api::{
    AdminLogin, AdminSession, ErrorCode, Secret,
    admin::{AdminEvent, AdminReply, AdminRequest},
};

use super::{
    ClientError, ask, call,
    memory::{Known, Memory},
    tls,
};
use crate::cli::args::Url;

/// Asks a person for email, password and TOTP code; gets the email of the last time.
pub type AskLogin<'a> = dyn FnMut(Option<&str>) -> Result<AdminLogin, ClientError> + 'a;

/// A server elsewhere.
#[derive(Debug)]
pub struct Remote {
    url: Url,
    known: Known,
    memory: Memory,
}

impl Remote {
    /// Finds the fingerprint: the one given now, or the remembered one.
    ///
    /// # Errors
    /// Neither is there.
    pub fn new(url: Url, given: Option<String>, memory: Memory) -> Result<Self, ClientError> {
        let remembered = memory.server(&url.to_string()).cloned();
        let known = match (remembered, given) {
            (Some(known), None) => known,
            (Some(known), Some(given)) if known.fingerprint == given => known,
            // Another fingerprint is another server: a session with the old one is not shown to it.
            (_, Some(given)) => Known {
                fingerprint: given,
                ..Known::default()
            },
            (None, None) => {
                return Err(ClientError::NotPinned {
                    url: url.to_string(),
                });
            }
        };
        Ok(Self { url, known, memory })
    }

    /// Asks, logging in first where no session lasts, and once more where the server says that it is over.
    ///
    /// # Errors
    /// The server refuses, cannot be reached, or its answer does not end as it should.
    pub async fn ask(
        &mut self,
        request: &AdminRequest,
        now_unix: i64,
        login: &mut AskLogin<'_>,
        on_event: &mut dyn FnMut(&AdminEvent),
    ) -> Result<AdminReply, ClientError> {
        if let Some(token) = self.known.live_token(now_unix) {
            match self.ask_with(&token, request, on_event).await {
                // Refused before anything ran: the session was ended there, or the server started anew.
                Err(ClientError::Api(error)) if over(error.code) => {}
                answer => return answer,
            }
        }
        let token = self.log_in(login).await?;
        self.ask_with(&token, request, on_event).await
    }

    async fn ask_with(
        &self,
        token: &Secret,
        request: &AdminRequest,
        on_event: &mut dyn FnMut(&AdminEvent),
    ) -> Result<AdminReply, ClientError> {
        let stream = tls::connect(&self.url, &self.known.fingerprint).await?;
        ask(stream, &self.host(), Some(token), request, on_event).await
    }

    async fn log_in(&mut self, login: &mut AskLogin<'_>) -> Result<Secret, ClientError> {
        // Connected first: nobody types a password for a server that is not there, or not the pinned one.
        drop(tls::connect(&self.url, &self.known.fingerprint).await?);
        let credentials = login(self.known.email.as_deref())?;
        // A new connection: typing takes longer than a server waits for a request.
        let stream = tls::connect(&self.url, &self.known.fingerprint).await?;
        let session: AdminSession =
            call(stream, &self.host(), "/v1/admin/login", &credentials).await?;
        self.known.email = Some(credentials.email);
        self.known.token = Some(session.token.clone());
        self.known.ends_unix = session.ends_unix;
        self.memory
            .remember(&self.url.to_string(), self.known.clone())?;
        Ok(session.token)
    }

    fn host(&self) -> String {
        let url = self.url.to_string();
        url.strip_prefix("https://").unwrap_or(&url).to_owned()
    }
}

fn over(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Refused | ErrorCode::SessionOver)
}
