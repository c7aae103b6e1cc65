//! Sends one admin command to the server and hands on its events as they come: over the Unix socket, or over pinned TLS.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use ca_api::{
    ApiError, Secret,
    admin::{AdminEvent, AdminReply, AdminRequest},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    time::timeout,
};

use super::text::scrub;

mod lines;
pub mod memory;
pub mod remote;
pub mod tls;

use lines::Lines;

/// The name of the admin socket inside the data folder.
pub const SOCKET: &str = "admin.sock";

/// How long the server may say nothing before its answer counts as lost.
pub(crate) const SILENCE: Duration = Duration::from_secs(300);

/// The largest body of an answer that is not a stream.
const SMALL_BODY_BYTES: usize = 1024 * 1024;

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No socket in the data folder.
    #[error("no CA runs with the data folder {}", data.display())]
    NoSocket {
        /// The folder.
        data: PathBuf,
    },
    /// The socket is there, but not for us.
    #[error("not allowed to talk to the CA at {}", path.display())]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// A server elsewhere cannot be reached.
    #[error("cannot reach {url}: {source}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        source: io::Error,
    },
    /// Not the server that was pinned, or no TLS 1.3 there.
    #[error("the TLS connection to {url} was refused here: {why}")]
    Tls {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// No fingerprint is known for the server.
    #[error("{url} is not known here yet")]
    NotPinned {
        /// Where.
        url: String,
    },
    /// The stream ended, or was silent, before the end of the answer.
    #[error("{}", cut_message(*durable, why))]
    Cut {
        /// Did the server say before that the decision is durable?
        durable: Durable,
        /// What happened to the stream.
        why: String,
    },
    /// What came is not an answer of a CA.
    #[error("the server's answer cannot be read: {0}")]
    Garbage(String),
    /// The server's own words.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// An admin login is due, and nobody is there to log in.
    #[error("an admin login at {url} is needed, and there is no terminal to ask on")]
    LoginNeeded {
        /// Where.
        url: String,
    },
    /// Asking failed.
    #[error("cannot ask on the terminal: {0}")]
    Ask(#[source] io::Error),
    /// What is remembered of servers.
    #[error(transparent)]
    Memory(#[from] memory::MemoryError),
}

/// Did the server say that the decision is durable?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    /// It said so.
    Said,
    /// Nothing is known (Z2: unknown is never success).
    Unknown,
}

fn cut_message(durable: Durable, why: &str) -> String {
    match durable {
        Durable::Said => format!("{why}: what was reported above holds, the rest is unknown"),
        Durable::Unknown => format!("{why}: it is unknown whether the command was carried out"),
    }
}

impl ClientError {
    /// What to do next; may be empty.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NoSocket { data } => format!(
                "Start it with `ca-server serve --data {}`, or name another folder with --data, or a CA elsewhere with --url.",
                data.display()
            ),
            Self::Denied { .. } => "Run this as root or as the user that runs the CA.".to_owned(),
            Self::Unreachable { .. } => "Is the CA running, and is the address right?".to_owned(),
            Self::Tls { .. } => {
                "If the CA was set up anew, compare the fingerprint that it prints and give it with --fingerprint.".to_owned()
            }
            Self::NotPinned { .. } => {
                "Give its fingerprint once with --fingerprint SHA256:…; `ca-server init` printed it.".to_owned()
            }
            Self::Cut { .. } => "See what happened: ca-server audit list --last 20".to_owned(),
            Self::Garbage(_) => "Is that a CA of this version?".to_owned(),
            Self::Api(error) => error.hint.clone(),
            Self::LoginNeeded { .. } => "Run any admin command with --url on a terminal first; its login lasts 15 minutes.".to_owned(),
            Self::Ask(_) | Self::Memory(_) => String::new(),
        }
    }
}

/// Asks the server that runs with the data folder `data`.
///
/// # Errors
/// The server is not there, refuses, or its answer does not end as it should.
pub async fn ask_socket(
    data: &Path,
    request: &AdminRequest,
    on_event: &mut dyn FnMut(&AdminEvent),
) -> Result<AdminReply, ClientError> {
    ask(connect(data).await?, "localhost", None, request, on_event).await
}

/// Does a server run with the data folder `data`, for whoever asks?
///
/// # Errors
/// It does not.
pub(crate) async fn is_there(data: &Path) -> Result<(), ClientError> {
    connect(data).await.map(drop)
}

async fn connect(data: &Path) -> Result<UnixStream, ClientError> {
    let path = data.join(SOCKET);
    UnixStream::connect(&path)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Denied { path: path.clone() },
            // A socket that nobody listens on is what a killed server leaves behind.
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NoSocket {
                data: data.to_owned(),
            },
            _ => ClientError::Unreachable {
                url: path.display().to_string(),
                source: error,
            },
        })
}

/// Asks the server that runs with the data folder `data` for an answer that is a stream of bytes.
///
/// # Errors
/// The server is not there, or refuses.
pub(crate) async fn stream_socket<A: Serialize>(
    data: &Path,
    path: &str,
    body: &A,
) -> Result<Response<Incoming>, ClientError> {
    let response = post(connect(data).await?, "localhost", path, None, body).await?;
    if response.status() != StatusCode::OK {
        return Err(refusal(response).await);
    }
    Ok(response)
}

/// Asks over an open connection.
///
/// # Errors
/// The server refuses, or its answer does not end as it should.
pub async fn ask<S>(
    stream: S,
    host: &str,
    token: Option<&Secret>,
    request: &AdminRequest,
    on_event: &mut dyn FnMut(&AdminEvent),
) -> Result<AdminReply, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let response = post(stream, host, "/v1/admin", token, request).await?;
    if response.status() != StatusCode::OK {
        return Err(refusal(response).await);
    }
    let mut lines = Lines::default();
    let mut body = response.into_body();
    let mut durable = Durable::Unknown;
    loop {
        while let Some(text) = lines.next_line() {
            let event: AdminEvent = parse(&text)?;
            match event {
                AdminEvent::Done { reply } => return Ok(*reply),
                AdminEvent::Failed { error } => return Err(error.into()),
                AdminEvent::Note { .. } | AdminEvent::Machine { .. } => {
                    durable = Durable::Said;
                    on_event(&event);
                }
            }
        }
        let cut = |why: &str| ClientError::Cut {
            durable,
            why: why.to_owned(),
        };
        let frame = timeout(SILENCE, body.frame())
            .await
            .map_err(|_| cut("the server has been silent for five minutes"))?;
        match frame {
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    lines
                        .push(&bytes)
                        .map_err(|error| ClientError::Garbage(error.to_string()))?;
                }
            }
            Some(Err(_)) => return Err(cut("the connection to the server broke")),
            // The last line may lack its newline.
            None if lines.finish() => {}
            None => return Err(cut("the server ended its answer too early")),
        }
    }
}

/// Sends one JSON body and reads one JSON answer.
///
/// # Errors
/// The server refuses, or its answer cannot be read.
pub(crate) async fn call<S, A, B>(
    stream: S,
    host: &str,
    path: &str,
    body: &A,
) -> Result<B, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Serialize,
    B: DeserializeOwned,
{
    let response = post(stream, host, path, None, body).await?;
    if response.status() != StatusCode::OK {
        return Err(refusal(response).await);
    }
    parse(&small_body(response).await?)
}

async fn post<S, A>(
    stream: S,
    host: &str,
    path: &str,
    token: Option<&Secret>,
    body: &A,
) -> Result<Response<Incoming>, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Serialize,
{
    let cut = |why: String| ClientError::Cut {
        durable: Durable::Unknown,
        why,
    };
    let broke = |_| cut("the connection to the server broke".to_owned());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broke)?;
    tokio::spawn(async move {
        // How it ends shows in the answer's body; the task ends with the connection.
        let _ = connection.await;
    });
    let json = serde_json::to_vec(body).expect("a request of texts and numbers is JSON");
    let mut request = Request::post(path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(json)))
        .expect("the host was parsed, the rest is fixed");
    if let Some(token) = token {
        let mut value = header::HeaderValue::try_from(format!("Bearer {}", token.expose()))
            .map_err(|_| ClientError::Garbage("its session token is not a token".to_owned()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    timeout(SILENCE, sender.send_request(request))
        .await
        .map_err(|_| cut("the server has been silent for five minutes".to_owned()))?
        .map_err(broke)
}

/// What a server says with a status other than 200.
async fn refusal(response: Response<Incoming>) -> ClientError {
    let status = response.status();
    match small_body(response)
        .await
        .and_then(|body| parse::<ApiError>(&body))
    {
        Ok(error) => ClientError::Api(error),
        Err(_) => ClientError::Garbage(format!("HTTP status {}", status.as_u16())),
    }
}

async fn small_body(response: Response<Incoming>) -> Result<Vec<u8>, ClientError> {
    let body = http_body_util::Limited::new(response.into_body(), SMALL_BODY_BYTES);
    match timeout(SILENCE, body.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes().to_vec()),
        _ => Err(ClientError::Garbage(
            "it broke off, or is too large".to_owned(),
        )),
    }
}

/// Parses JSON that came over the wire; every text in it is scrubbed first (C5).
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ClientError> {
    let garbage = |error: serde_json::Error| ClientError::Garbage(error.to_string());
    let mut value: serde_json::Value = serde_json::from_slice(bytes).map_err(garbage)?;
    scrub(&mut value);
    serde_json::from_value(value).map_err(garbage)
}
