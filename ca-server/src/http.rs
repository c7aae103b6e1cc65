//! The doors: HTTPS for employees and admins, the Unix socket for admins on the CA host.

pub mod accept;
mod admin_door;
mod backup_door;
mod machine_door;
mod metrics;
mod status;

use std::{net::IpAddr, sync::Arc};

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, FromRequest, Request, State, rejection::JsonRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use ca_api::{ApiError, ErrorCode, MAX_BODY_BYTES, Nonce, ServerInfo};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;

use crate::{
    admin::Admin,
    ca::Ca,
    enrol,
    session::{SessionError, login, password, renew, standing},
};

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub enum Peer {
    /// Over TLS, from this address (A8: the socket's own, unless that is a configured proxy).
    Network(IpAddr),
    /// Over the Unix socket, as this uid.
    Socket(u32),
}

impl Peer {
    fn address(self) -> IpAddr {
        match self {
            Self::Network(address) => address,
            Self::Socket(_) => IpAddr::from([127, 0, 0, 1]),
        }
    }
}

/// An error on its way out: a body for the caller, a line for the log.
pub struct Problem(pub ApiError);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (status::of(self.0.code), Json(self.0)).into_response()
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        match &error {
            SessionError::Issue(_) | SessionError::Hash(_) | SessionError::Unsteady => {
                tracing::error!(%error, "a request failed");
            }
            other => tracing::info!(reason = %other, "a request was refused"),
        }
        Self(ApiError::from(&error))
    }
}

/// A JSON body; anything else is refused in the one shape of errors (W2).
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let deadlines = request.extensions().get::<accept::Deadlines>();
        let within = deadlines.copied().unwrap_or_default().body;
        match timeout(within, Json::<T>::from_request(request, state)).await {
            Ok(Ok(Json(body))) => Ok(Self(body)),
            Ok(Err(rejection)) => Err(Problem(unreadable(&rejection))),
            Err(_) => Err(Problem(ApiError::new(
                ErrorCode::Invalid,
                "the request's body did not come in time",
            ))),
        }
    }
}

fn unreadable(rejection: &JsonRejection) -> ApiError {
    let what = match rejection {
        JsonRejection::JsonDataError(_) => {
            "the request has a field that is missing, unknown, or of another type"
        }
        JsonRejection::JsonSyntaxError(_) => "the request is not JSON",
        JsonRejection::MissingJsonContentType(_) => {
            "the request must have content type application/json"
        }
        _ => "the request cannot be read, or is too large",
    };
    // serde's own words would quote what was sent: it may hold a password.
    ApiError::new(ErrorCode::Invalid, what).hint("are client and server of the same version?")
}

type Answer<T> = Result<Json<T>, Problem>;

fn json<T: Serialize>(result: Result<T, SessionError>) -> Answer<T> {
    result.map(Json).map_err(Problem::from)
}

/// The routes that everybody may try.
fn employee_routes() -> Router<Arc<Ca>> {
    Router::new()
        .route("/v1/ca", get(info))
        .route("/v1/nonce", get(nonce))
        .route("/v1/enrol/start", post(enrol_start))
        .route("/v1/enrol/finish", post(enrol_finish))
        .route("/v1/login", post(login_door))
        .route("/v1/renew", post(renew_door))
        .route("/v1/standing", post(standing_door))
        .route("/v1/logout", post(logout_door))
        .route("/v1/password", post(password_door))
}

/// Every route of the server, for both kinds of peers; the [`Peer`] of a connection is an extension of its requests.
pub fn router(ca: Arc<Ca>, admin: Arc<Admin>) -> Router {
    employee_routes()
        .with_state(Arc::clone(&ca))
        .merge(metrics::routes(Arc::clone(&ca), Arc::clone(&admin)))
        .merge(backup_door::routes(Arc::clone(&ca)))
        .merge(machine_door::routes(Arc::clone(&ca)))
        .merge(admin_door::routes(ca, admin))
        .fallback(async || Problem(ApiError::new(ErrorCode::NotFound, "there is no such door")))
        .method_not_allowed_fallback(async || {
            Problem(ApiError::new(
                ErrorCode::Invalid,
                "this door is not opened like that",
            ))
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(axum::middleware::map_response(quiet))
}

/// Answers are nobody's to keep.
async fn quiet(mut response: Response) -> Response {
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        return Problem(ApiError::new(ErrorCode::Unavailable, "the server failed")).into_response();
    }
    response
}

async fn info(State(ca): State<Arc<Ca>>) -> Json<ServerInfo> {
    let keys = ca.keys();
    Json(ServerInfo {
        ca_id: keys.ca_id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now_unix: ca.clock.now().unix_timestamp(),
        user_cas: keys.user_ca.trusted_texts(),
        host_cas: keys.host_ca.trusted_texts(),
    })
}

async fn nonce(State(ca): State<Arc<Ca>>) -> Json<Nonce> {
    Json(Nonce {
        nonce: ca.nonces.issue(ca.clock.now().unix_timestamp()),
    })
}

async fn enrol_start(
    State(ca): State<Arc<Ca>>,
    Extension(peer): Extension<Peer>,
    Body(request): Body<ca_api::EnrolStart>,
) -> Answer<ca_api::EnrolStarted> {
    json(enrol::start(&ca, request, peer.address()).await)
}

async fn enrol_finish(
    State(ca): State<Arc<Ca>>,
    Extension(peer): Extension<Peer>,
    Body(request): Body<ca_api::EnrolFinish>,
) -> Answer<ca_api::Enrolled> {
    json(enrol::finish(&ca, request, peer.address()).await)
}

async fn login_door(
    State(ca): State<Arc<Ca>>,
    Extension(peer): Extension<Peer>,
    Body(request): Body<ca_api::LoginRequest>,
) -> Answer<ca_api::Issued> {
    json(login::login(&ca, request, peer.address()).await)
}

async fn renew_door(
    State(ca): State<Arc<Ca>>,
    Extension(peer): Extension<Peer>,
    Body(request): Body<ca_api::RenewRequest>,
) -> Answer<ca_api::Issued> {
    json(renew::renew(&ca, request, peer.address()).await)
}

async fn standing_door(
    State(ca): State<Arc<Ca>>,
    Body(request): Body<ca_api::StandingRequest>,
) -> Answer<ca_api::Standing> {
    json(standing::standing(&ca, &request))
}

async fn logout_door(
    State(ca): State<Arc<Ca>>,
    Extension(peer): Extension<Peer>,
    Body(request): Body<ca_api::LogoutRequest>,
) -> Answer<ca_api::LoggedOut> {
    json(renew::logout(&ca, request, peer.address()).await)
}

async fn password_door(
    State(ca): State<Arc<Ca>>,
    Extension(peer): Extension<Peer>,
    Body(request): Body<ca_api::PasswordRequest>,
) -> Answer<ca_api::PasswordChanged> {
    json(password::change(&ca, request, peer.address()).await)
}
