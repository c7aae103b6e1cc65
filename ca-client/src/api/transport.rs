//! Connections and single calls: deadlines, size limits, and the cleaning of what comes back.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use ca_api::{ApiError, ErrorCode, Secret};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::{CallError, Client};
use crate::{
    text,
    trust::{PinVerifier, TrustError, client_config},
    url::ServerUrl,
};

/// The largest answer that is read: a directory of some ten thousand machines.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Where the server is.
#[derive(Debug)]
pub(super) enum Endpoint {
    Https {
        url: ServerUrl,
        verifier: Arc<PinVerifier>,
    },
    Unix(PathBuf),
}

/// A connection that nobody uses right now.
pub(super) type Idle = SendRequest<Full<Bytes>>;

impl Endpoint {
    /// For messages.
    pub(super) fn whom(&self) -> String {
        match self {
            Self::Https { url, .. } => url.to_string(),
            Self::Unix(path) => path.display().to_string(),
        }
    }

    fn authority(&self) -> String {
        match self {
            Self::Https { url, .. } => url.authority(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// The bytes of a request body, wiped when the last holder lets go: it may carry a password.
fn body_of<T: Serialize + ?Sized>(request: &T) -> Bytes {
    let json = serde_json::to_vec(request).expect("wire types are plain data");
    Bytes::from_owner(Zeroizing::new(json))
}

impl Client {
    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    pub(super) async fn send<Q: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        request: &Q,
    ) -> Result<T, CallError> {
        self.call(Method::POST, path, body_of(request)).await
    }

    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        timeout(limit, work).await.unwrap_or_else(|_| {
            Err(CallError::Timeout {
                whom: self.endpoint.whom(),
                secs: limit.as_secs_f32(),
            })
        })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, CallError> {
        self.within(self.deadlines.call, async {
            let (response, connection) = self.exchange(method, path, body, None).await?;
            let status = response.status();
            let body = self.whole_body(response).await?;
            self.put_idle(connection);
            if status.is_success() {
                self.parse(status.as_u16(), &body)
            } else {
                Err(self.refusal(status.as_u16(), &body))
            }
        })
        .await
    }

    /// Sends a request and returns the answer's head with the connection, on which nothing else may be sent until the
    /// body is read.
    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        token: Option<&Secret>,
    ) -> Result<(Response<Incoming>, Idle), CallError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.endpoint.authority())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("ca-client/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .expect("fixed paths and a parsed host make a request");
        if let Some(token) = token {
            // A token that is no header value is no token: the server will say so.
            if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.expose())) {
                value.set_sensitive(true);
                request.headers_mut().insert(AUTHORIZATION, value);
            }
        }
        let broken = |source| CallError::Broken {
            whom: self.endpoint.whom(),
            source,
        };
        while let Some(mut connection) = self.take_idle() {
            if connection.ready().await.is_err() {
                continue;
            }
            match connection.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                // The server closed the kept connection before the request went out: it may be sent again.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(broken(error.into_error())),
                },
            }
        }
        let mut connection = self.open().await?;
        let response = connection.send_request(request).await.map_err(broken)?;
        Ok((response, connection))
    }

    /// Opens a connection and keeps it for the next call.
    pub(super) async fn connect(&self) -> Result<(), CallError> {
        let connection = self.open().await?;
        self.put_idle(connection);
        Ok(())
    }

    async fn open(&self) -> Result<Idle, CallError> {
        let whom = self.endpoint.whom();
        self.within(self.deadlines.connect, async {
            match &self.endpoint {
                Endpoint::Unix(path) => {
                    let stream =
                        UnixStream::connect(path)
                            .await
                            .map_err(|source| CallError::Connect {
                                whom: whom.clone(),
                                source,
                            })?;
                    speak(stream, &whom).await
                }
                Endpoint::Https { url, verifier } => {
                    let stream =
                        TcpStream::connect((url.host(), url.port()))
                            .await
                            .map_err(|source| CallError::Connect {
                                whom: whom.clone(),
                                source,
                            })?;
                    stream
                        .set_nodelay(true)
                        .map_err(|source| CallError::Connect {
                            whom: whom.clone(),
                            source,
                        })?;
                    let connector =
                        TlsConnector::from(Arc::new(client_config(Arc::clone(verifier))));
                    let stream =
                        connector
                            .connect(url.server_name(), stream)
                            .await
                            .map_err(|source| match TrustError::from_handshake(&source) {
                                Some(source) => CallError::Untrusted {
                                    whom: whom.clone(),
                                    source,
                                },
                                None => CallError::Connect {
                                    whom: whom.clone(),
                                    source,
                                },
                            })?;
                    speak(stream, &whom).await
                }
            }
        })
        .await
    }

    async fn whole_body(
        &self,
        response: Response<Incoming>,
    ) -> Result<Zeroizing<Vec<u8>>, CallError> {
        let mut body = response.into_body();
        let mut whole = Zeroizing::new(Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|source| CallError::Broken {
                whom: self.endpoint.whom(),
                source,
            })?;
            if let Some(data) = frame.data_ref() {
                if whole.len() + data.len() > MAX_ANSWER_BYTES {
                    return Err(CallError::TooLarge {
                        whom: self.endpoint.whom(),
                        limit: MAX_ANSWER_BYTES,
                    });
                }
                whole.extend_from_slice(data);
            }
        }
        Ok(whole)
    }

    /// Parses an answer, cleaned: the one door through which text from the server comes in.
    pub(super) fn parse<T: DeserializeOwned>(
        &self,
        status: u16,
        body: &[u8],
    ) -> Result<T, CallError> {
        let foreign = |source| CallError::Foreign {
            whom: self.endpoint.whom(),
            status,
            source,
        };
        let mut value: Value = serde_json::from_slice(body).map_err(foreign)?;
        text::clean_json(&mut value);
        serde_json::from_value(value).map_err(foreign)
    }

    /// What an answer with an error status says.
    pub(super) fn refusal(&self, status: u16, body: &[u8]) -> CallError {
        match self.parse::<ApiError>(status, body) {
            Ok(error) => CallError::Refused(error),
            // A proxy in front of a server that is down speaks its own language.
            Err(_) if matches!(status, 502..=504) => CallError::Refused(ApiError::new(
                ErrorCode::Unavailable,
                format!("the CA is not available (HTTP {status} from what stands in front of it)"),
            )),
            Err(error) => error,
        }
    }
}

/// Begins HTTP on a stream.
async fn speak<S>(stream: S, whom: &str) -> Result<Idle, CallError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) =
        handshake(TokioIo::new(stream))
            .await
            .map_err(|source| CallError::Broken {
                whom: whom.to_owned(),
                source,
            })?;
    // Ends when the sender is dropped or the server closes; errors reach whoever waits for an answer.
    tokio::spawn(connection);
    Ok(sender)
}

/// An error for a stream that ended where it may not.
pub(super) fn ended_early(whom: &str) -> CallError {
    CallError::Connect {
        whom: whom.to_owned(),
        source: io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the answer ended before its last line",
        ),
    }
}

/// The body for an admin request.
pub(super) fn admin_body<T: Serialize>(request: &T) -> Bytes {
    body_of(request)
}
