//! The door through which a backup leaves: the Unix socket alone, as a stream of bounded memory.

use std::{
    io::{self, BufWriter, Write},
    sync::Arc,
};

use axum::{
    Extension, Router,
    body::{Body as AxumBody, Bytes},
    extract::State,
    http::header,
    response::Response,
    routing::post,
};
use ca_api::{ApiError, ErrorCode, admin::BackupRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Body, Peer, Problem};
use crate::{
    backup::{
        dump::{DumpError, Include, Source, about, dump},
        make::ABOUT_HEADER,
    },
    ca::{Ca, unix_ms},
    ledger::{Actor, Event},
    store::ReadError,
};

/// How much is sent at once, in bytes; eight of them wait at most.
const CHUNK_BYTES: usize = 64 * 1024;

pub(super) fn routes(ca: Arc<Ca>) -> Router {
    Router::new()
        .route("/v1/admin/backup", post(backup))
        .with_state(ca)
}

async fn backup(
    State(ca): State<Arc<Ca>>,
    Extension(peer): Extension<Peer>,
    Body(request): Body<BackupRequest>,
) -> Result<Response, Problem> {
    let uid = match peer {
        Peer::Socket(uid) if uid == 0 || uid == nix::unistd::geteuid().as_raw() => uid,
        // Everything that the CA is goes through here: not over a network, whoever asks.
        Peer::Socket(_) | Peer::Network(_) => {
            return Err(Problem(
                ApiError::new(ErrorCode::Refused, "a backup is taken on the CA host only")
                    .hint("run `ca-server backup` there, as root or as the user that runs the CA"),
            ));
        }
    };
    note(&ca, uid, request.with_keys).await?;
    let include = if request.with_keys {
        Include::Keys
    } else {
        Include::PublicOnly
    };
    let snapshot = ca.db.snapshot().map_err(|error| failed(&error))?;
    let (sender, received) = mpsc::channel(8);
    let (told, tells) = tokio::sync::oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let keys = ca.keys();
        let source = Source {
            snapshot: &snapshot,
            folder: ca.key_room.folder(),
            ledger_key: &keys.ledger,
            now_unix: ca.clock.now().unix_timestamp(),
            include,
        };
        let about = match about(&source) {
            Ok(about) => about,
            Err(error) => return drop(told.send(Err(error))),
        };
        drop(told.send(Ok(about.clone())));
        let out = BufWriter::with_capacity(CHUNK_BYTES, Pipe(sender.clone()));
        let dumped =
            dump(&source, about, out).and_then(|mut out| out.flush().map_err(DumpError::from));
        if let Err(error) = dumped {
            tracing::error!(%error, "a backup could not be written to its end");
            // The answer breaks off, and nobody takes it for whole.
            drop(sender.blocking_send(Err(io::Error::other("the backup broke off"))));
        }
    });
    let about = match tells.await {
        Ok(Ok(about)) => about,
        Ok(Err(error)) => return Err(failed(&error)),
        Err(error) => return Err(failed(&error)),
    };
    let about = serde_json::to_string(&about).expect("texts and numbers are JSON");
    Response::builder()
        .header(header::CONTENT_TYPE, "application/x-tar")
        .header(ABOUT_HEADER, about)
        .body(AxumBody::from_stream(ReceiverStream::new(received)))
        .map_err(|error| failed(&error))
}

async fn note(ca: &Ca, uid: u32, with_keys: bool) -> Result<(), Problem> {
    let at = unix_ms(ca.clock.now());
    ca.db
        .write_async(move |txn| {
            txn.record(
                at,
                &Actor::Console { uid },
                &Event::BackupTaken { with_keys },
            );
            Ok::<_, ReadError>(())
        })
        .await
        .map_err(|error| failed(&error))
}

fn failed(error: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%error, "a backup could not be taken");
    Problem(ApiError::new(
        ErrorCode::Unavailable,
        format!("the backup could not be taken: {error}"),
    ))
}

/// Hands what is written to the stream of the answer, and waits where nobody takes it.
struct Pipe(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(CHUNK_BYTES)];
        self.0
            .blocking_send(Ok(Bytes::copy_from_slice(piece)))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
