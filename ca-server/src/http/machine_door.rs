//! The machines' door: each fetches its own files with its own token, and says how it stands, under its host key.
//!
//! Who is let in: whoever brings the token of the machine that the path names. An unknown machine, one that does not fetch, another
//! machine's token, an employee's or an admin's: one and the same refusal.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use ca_api::{ApiError, ErrorCode};
use ca_machine::pull::{Form, MAX_PULL_REPORT_BYTES};
use policies::MachineName;
use tokio::time::timeout;

use super::{Problem, accept::Deadlines};
use crate::{
    admin::machine::remove::forget_reported,
    ca::Ca,
    fleet::{
        deliver::current_record,
        pull::{
            self,
            report::{self, ReportError, Taken},
        },
    },
    records::FleetRecord,
    revoke::krl,
};

pub(super) fn routes(ca: Arc<Ca>) -> Router {
    Router::new()
        .route("/v1/machine/{machine}/{file}", get(file))
        .route(
            "/v1/machine/{machine}/report",
            post(take).layer(DefaultBodyLimit::max(MAX_PULL_REPORT_BYTES)),
        )
        .with_state(ca)
}

fn refused() -> Problem {
    Problem(
        ApiError::new(ErrorCode::Refused, "this needs the token of that machine").hint(
            "run `bootstrap add-machine NAME --pull` again: it brings the machine a token that works",
        ),
    )
}

fn unavailable(error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "a machine that fetches could not be served");
    Problem(ApiError::new(
        ErrorCode::Unavailable,
        "the server cannot say what is wanted there now",
    ))
}

/// The machine that a request is about, if the request brings its token.
fn let_in(
    ca: &Ca,
    machine: &str,
    headers: &HeaderMap,
) -> Result<(MachineName, FleetRecord), Problem> {
    let machine: MachineName = machine.parse().map_err(|_| refused())?;
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(refused)?;
    let record = current_record(ca, &machine).map_err(unavailable)?;
    record
        .filter(|record| pull::opens(record, token))
        .map(|record| (machine, record))
        .ok_or_else(refused)
}

async fn file(
    State(ca): State<Arc<Ca>>,
    Path((machine, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (machine, record) = let_in(&ca, &machine, &headers)?;
    let krl = krl::current(&ca).await.map_err(unavailable)?;
    // TLS hides it on the way, and nobody else has the token.
    let files = pull::files(&ca, &machine, &record, &krl, Form::Plain).map_err(unavailable)?;
    let bytes = files.named(&file).ok_or_else(|| {
        Problem(ApiError::new(
            ErrorCode::NotFound,
            "there is no such file of a machine",
        ))
    })?;
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((kind, Bytes::copy_from_slice(bytes)).into_response())
}

async fn take(
    State(ca): State<Arc<Ca>>,
    Path(machine): Path<String>,
    deadlines: Option<Extension<Deadlines>>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let who = let_in(&ca, &machine, request.headers());
    // Read away in any case: an answer before its end would be lost with the connection (W2: bounded in size and time).
    let within = deadlines.map(|Extension(deadlines)| deadlines);
    let within = within.unwrap_or_default().body;
    let body = axum::body::to_bytes(request.into_body(), MAX_PULL_REPORT_BYTES);
    let body = timeout(within, body).await;
    let (machine, record) = who?;
    let invalid = |what: String| Problem(ApiError::new(ErrorCode::Invalid, what));
    let body = match body {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Err(invalid("the report is longer than 64 KiB".to_owned())),
        Err(_) => return Err(invalid("the report did not come in time".to_owned())),
    };
    match report::take(&ca, &machine, &record, &body).await {
        Ok(Taken::Heard) => Ok(StatusCode::NO_CONTENT),
        Ok(Taken::Off) => {
            forget_reported(&ca, &machine).await.map_err(Problem)?;
            tracing::info!(%machine, "the CA is off it, by its own report: removed");
            Ok(StatusCode::NO_CONTENT)
        }
        Err(error) => {
            tracing::info!(%machine, reason = %error, "a machine's report was not taken");
            let code = match &error {
                ReportError::Parse(_) | ReportError::NoState => ErrorCode::Invalid,
                ReportError::Nonce(_) => ErrorCode::BadNonce,
                ReportError::Foreign | ReportError::Signature => ErrorCode::Forbidden,
                ReportError::TooSoon => ErrorCode::Busy,
                ReportError::NotLeaving => ErrorCode::Conflict,
                ReportError::Krl(_) | ReportError::Store(_) => return Err(unavailable(error)),
            };
            Err(Problem(ApiError::new(code, error.to_string())))
        }
    }
}
