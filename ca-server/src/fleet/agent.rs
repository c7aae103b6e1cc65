//! An ssh-agent inside the server that holds the one key of `ssh-ca-sync`: `ssh` signs with it, and no file ever has it.

use std::{os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc};

use ssh_agent_lib::{
    agent::{Session, listen},
    error::AgentError,
    proto::{Identity, PublicCredential, Request, Response, SignRequest},
};
use ssh_key::{PrivateKey, Signature};
use tokio::{net::UnixListener, task::JoinHandle};

/// The running agent; it ends when this is dropped.
pub struct SyncAgent {
    socket: PathBuf,
    serving: JoinHandle<()>,
    // Removed, with the socket, after the agent has ended.
    _folder: tempfile::TempDir,
}

#[derive(Clone)]
struct OneKey(Arc<PrivateKey>);

#[ssh_agent_lib::async_trait]
impl Session for OneKey {
    async fn request_identities(&mut self) -> Result<Vec<Identity>, AgentError> {
        Ok(vec![Identity {
            credential: PublicCredential::Key(self.0.public_key().key_data().clone()),
            comment: "ssh-ca sync".to_owned(),
        }])
    }

    async fn sign(&mut self, request: SignRequest) -> Result<Signature, AgentError> {
        let mine = PublicCredential::Key(self.0.public_key().key_data().clone());
        if request.credential != mine {
            return Err(AgentError::Failure);
        }
        signature::Signer::try_sign(self.0.as_ref(), &request.data).map_err(AgentError::other)
    }

    // Nothing else is done here. ssh asks for an extension at each connection and goes on without it: the library's own answer
    // would be an error in the server's log each time.
    async fn handle(&mut self, message: Request) -> Result<Response, AgentError> {
        Ok(match message {
            Request::RequestIdentities => {
                Response::IdentitiesAnswer(self.request_identities().await?)
            }
            Request::SignRequest(request) => Response::SignResponse(self.sign(request).await?),
            _ => Response::Failure,
        })
    }
}

impl SyncAgent {
    /// Starts it, in a folder that only this user can enter.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(key: Arc<PrivateKey>) -> std::io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("ssh-ca-sync-").tempdir()?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700))?;
        let socket = folder.path().join("agent");
        let listener = UnixListener::bind(&socket)?;
        let serving = tokio::spawn(async move {
            if let Err(error) = listen(listener, OneKey(key)).await {
                tracing::error!(%error, "the sync agent ended");
            }
        });
        Ok(Self {
            socket,
            serving,
            _folder: folder,
        })
    }

    /// Where `ssh` finds it.
    #[must_use]
    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }
}

impl Drop for SyncAgent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
