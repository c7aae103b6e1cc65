//! The admins' door: who may come through, and the stream of events that answers.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    body::{Body as AxumBody, Bytes},
    extract::{DefaultBodyLimit, FromRequest as _, Request, State},
    http::{HeaderMap, header},
    response::Response,
    routing::post,
};
use ca_api::{
    AdminLogin, AdminSession, ApiError, ErrorCode, MAX_ADMIN_BODY_BYTES, NDJSON,
    admin::{AdminEvent, AdminRequest},
};
use serde::de::IgnoredAny;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

use super::{Body, Peer, Problem};
use crate::{
    admin::{Admin, door},
    ca::Ca,
    ledger::Actor,
};

#[derive(Clone)]
struct Doors {
    ca: Arc<Ca>,
    admin: Arc<Admin>,
}

pub(super) fn routes(ca: Arc<Ca>, admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/v1/admin/login", post(login))
        .route("/v1/admin", post(command))
        .with_state(Doors { ca, admin })
}

async fn login(
    State(Doors { ca, .. }): State<Doors>,
    Extension(peer): Extension<Peer>,
    Body(request): Body<AdminLogin>,
) -> Result<Json<AdminSession>, Problem> {
    door::login(&ca, request, peer.address())
        .await
        .map(Json)
        .map_err(Problem::from)
}

async fn command(
    State(Doors { ca, admin }): State<Doors>,
    Extension(peer): Extension<Peer>,
    mut asked: Request,
) -> Result<Response, Problem> {
    // Who asks is looked at before what they ask: a stranger learns nothing from how a body is refused, and only an admin may
    // send a large one (W2).
    let actor = match actor(&ca, peer, asked.headers()) {
        Ok(actor) => actor,
        Err(refused) => {
            // Read away like any other body: an answer before its end would be lost with the connection.
            drop(Body::<IgnoredAny>::from_request(asked, &()).await);
            return Err(refused);
        }
    };
    DefaultBodyLimit::max(MAX_ADMIN_BODY_BYTES).apply(&mut asked);
    let Body(request) = Body::<AdminRequest>::from_request(asked, &()).await?;
    let (events, received) = mpsc::channel(64);
    // The command goes on when whoever asked hangs up: a revocation must not stop half way.
    tokio::spawn(async move {
        let end = match admin.run(actor, request, &events).await {
            Ok(reply) => AdminEvent::Done {
                reply: Box::new(reply),
            },
            Err(error) => AdminEvent::Failed { error },
        };
        drop(events.send(end).await);
    });
    let lines = ReceiverStream::new(received).map(|event| {
        let mut line = serde_json::to_vec(&event).expect("events serialise to JSON");
        line.push(b'\n');
        Ok::<_, std::convert::Infallible>(Bytes::from(line))
    });
    Ok(Response::builder()
        .header(header::CONTENT_TYPE, NDJSON)
        .body(AxumBody::from_stream(lines))
        .expect("a constant header is well formed"))
}

/// Who asks: root or the server's own user over the socket, or an admin with a session over HTTPS (P1).
fn actor(ca: &Ca, peer: Peer, headers: &HeaderMap) -> Result<Actor, Problem> {
    let refuse = || {
        Problem(
            ApiError::new(ErrorCode::Refused, "this needs an admin session")
                .hint("log in as an admin, or run the command on the CA host"),
        )
    };
    match peer {
        Peer::Socket(uid) if uid == 0 || uid == nix::unistd::geteuid().as_raw() => {
            Ok(Actor::Console { uid })
        }
        Peer::Socket(_) => Err(refuse()),
        Peer::Network(address) => {
            let token = headers
                .get(header::AUTHORIZATION)
                .and_then(|value| value.to_str().ok())
                .and_then(|value| value.strip_prefix("Bearer "))
                .ok_or_else(refuse)?;
            match door::session(ca, token) {
                Ok(Some(email)) => Ok(Actor::Admin { email, address }),
                Ok(None) => Err(refuse()),
                Err(error) => Err(Problem::from(crate::session::SessionError::from(error))),
            }
        }
    }
}
