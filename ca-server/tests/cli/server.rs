//! A small real HTTP/1 server over any stream, which answers as a test tells it to and keeps what it was asked.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{Request, Response, body::Frame, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixListener,
    sync::{Notify, mpsc},
};
use tokio_stream::wrappers::ReceiverStream;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub line: String,
    pub host: String,
    pub content_type: String,
    pub authorization: String,
    pub body: Value,
}

/// A piece of an answer.
#[derive(Debug, Clone)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Wait until the test says so.
    Wait(Arc<Notify>),
    /// Break the connection.
    Break,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub pieces: Vec<Piece>,
}

impl Answer {
    /// Events, one a line.
    pub fn events(events: &[Value]) -> Self {
        Self {
            status: 200,
            pieces: events.iter().map(event).collect(),
        }
    }

    /// A JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            pieces: vec![Piece::Bytes(body.to_string().into_bytes())],
        }
    }

    /// `Done` with this reply.
    pub fn done(kind: &str, data: &Value) -> Self {
        Self::events(&[done(kind, data)])
    }
}

pub fn event(event: &Value) -> Piece {
    Piece::Bytes(format!("{event}\n").into_bytes())
}

pub fn done(kind: &str, data: &Value) -> Value {
    json!({ "event": "done", "reply": { "kind": kind, "data": data } })
}

pub fn note(text: &str) -> Value {
    json!({ "event": "note", "text": text })
}

/// What the server was asked, and what it answers: the answers in turn, the last one for ever.
#[derive(Debug, Clone)]
pub struct Script {
    answers: Arc<Mutex<Vec<Answer>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Script {
    pub fn new(answers: Vec<Answer>) -> Self {
        Self {
            answers: Arc::new(Mutex::new(answers)),
            asked: Arc::default(),
        }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no test panicked in here").clone()
    }

    async fn respond(
        self,
        request: Request<Incoming>,
    ) -> Result<
        Response<StreamBody<ReceiverStream<Result<Frame<Bytes>, std::io::Error>>>>,
        std::convert::Infallible,
    > {
        let header = |name: &str| {
            let value = request.headers().get(name);
            value.map_or(String::new(), |value| {
                value.to_str().expect("ASCII").to_owned()
            })
        };
        let mut asked = Asked {
            line: format!("{} {}", request.method(), request.uri()),
            host: header("host"),
            content_type: header("content-type"),
            authorization: header("authorization"),
            body: Value::Null,
        };
        let body = request
            .into_body()
            .collect()
            .await
            .expect("a whole body")
            .to_bytes();
        asked.body = serde_json::from_slice(&body).expect("a JSON body");
        self.asked
            .lock()
            .expect("no test panicked in here")
            .push(asked);
        let answer = {
            let mut answers = self.answers.lock().expect("no test panicked in here");
            if answers.len() > 1 {
                answers.remove(0)
            } else {
                answers[0].clone()
            }
        };
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            for piece in answer.pieces {
                let frame = match piece {
                    Piece::Bytes(bytes) => Ok(Frame::data(Bytes::from(bytes))),
                    Piece::Wait(notify) => {
                        notify.notified().await;
                        continue;
                    }
                    Piece::Break => Err(std::io::Error::other("broken on purpose")),
                };
                if sender.send(frame).await.is_err() {
                    return;
                }
            }
        });
        let response = Response::builder()
            .status(answer.status)
            .body(StreamBody::new(ReceiverStream::new(receiver)));
        Ok(response.expect("a good status"))
    }

    /// Serves one connection to its end.
    pub async fn serve<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(move |request| self.clone().respond(request));
        // A broken connection is what some tests are about.
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    /// Serves `admin.sock` in `folder` until the runtime ends.
    pub fn listen(&self, folder: &Path) {
        let listener = UnixListener::bind(folder.join("admin.sock")).expect("the socket binds");
        let script = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(script.clone().serve(stream));
            }
        });
    }
}
