//! Admin commands: one request, a stream of events, one end.

use ca_api::{
    ApiError, Secret,
    admin::{AdminEvent, AdminReply, AdminRequest},
};
use http_body_util::BodyExt;
use hyper::Method;
use zeroize::Zeroizing;

use super::{
    CallError, Client,
    transport::{admin_body, ended_early},
};

/// The longest event: a KRL of some ten million entries.
const MAX_EVENT_BYTES: usize = 256 * 1024 * 1024;

/// Why an admin command has no reply.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The call itself failed or was refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The command began, and ended badly.
    #[error("{0}")]
    Failed(ApiError),
}

impl Client {
    /// `POST /v1/admin`: sends a command, hands every event before the last to `on_event` as it happens, and returns
    /// the reply. `token` is [`ca_api::AdminSession::token`]; over the Unix socket none is needed.
    ///
    /// # Errors
    /// When the CA cannot be reached, refuses, falls silent for longer than [`super::Deadlines::event`], or the command
    /// fails.
    pub async fn admin(
        &self,
        token: Option<&Secret>,
        request: &AdminRequest,
        mut on_event: impl FnMut(AdminEvent) + Send,
    ) -> Result<AdminReply, AdminError> {
        let silence = self.deadlines.event;
        let head = self.exchange(Method::POST, "/v1/admin", admin_body(request), token);
        let (response, connection) = self.within(silence, head).await?;
        let status = response.status();
        let whom = self.endpoint.whom();
        let mut body = response.into_body();
        let mut buffer = Zeroizing::new(Vec::new());
        let mut end = None;
        loop {
            let frame = async {
                body.frame()
                    .await
                    .transpose()
                    .map_err(|source| CallError::Broken {
                        whom: whom.clone(),
                        source,
                    })
            };
            let Some(frame) = self.within(silence, frame).await? else {
                break;
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if buffer.len() + data.len() > MAX_EVENT_BYTES {
                return Err(CallError::TooLarge {
                    whom,
                    limit: MAX_EVENT_BYTES,
                }
                .into());
            }
            let mut seen = buffer.len();
            buffer.extend_from_slice(&data);
            if !status.is_success() {
                continue;
            }
            let mut start = 0;
            while let Some(length) = buffer[seen..].iter().position(|byte| *byte == b'\n') {
                let line = &buffer[start..seen + length];
                if !line.is_empty() {
                    self.deliver(line, &mut on_event, &mut end)?;
                }
                start = seen + length + 1;
                seen = start;
            }
            buffer.drain(..start);
        }
        if !status.is_success() {
            return Err(self.refusal(status.as_u16(), &buffer).into());
        }
        if !buffer.is_empty() {
            self.deliver(&buffer, &mut on_event, &mut end)?;
        }
        self.put_idle(connection);
        match end {
            Some(end) => end.map_err(AdminError::Failed),
            None => Err(ended_early(&whom).into()),
        }
    }

    fn deliver(
        &self,
        line: &[u8],
        on_event: &mut impl FnMut(AdminEvent),
        end: &mut Option<Result<AdminReply, ApiError>>,
    ) -> Result<(), CallError> {
        match self.parse(200, line)? {
            AdminEvent::Done { reply } => *end = Some(Ok(*reply)),
            AdminEvent::Failed { error } => *end = Some(Err(error)),
            event @ (AdminEvent::Note { .. } | AdminEvent::Machine { .. }) => on_event(event),
        }
        Ok(())
    }
}
