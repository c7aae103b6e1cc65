//! `/metrics` for Prometheus: how the fleet stands and how deliveries go, in numbers without names.
//!
//! Who may read: over the admin socket, root and the server's own user; over HTTPS, whoever brings a token whose SHA-256 stands in the
//! configuration (`[metrics] token_sha256`). Without one, nobody can over HTTPS.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Extension, Router,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};
use ca_api::{ApiError, ErrorCode};
use subtle::ConstantTimeEq as _;

use super::{Peer, Problem};
use crate::{
    admin::Admin,
    ca::{Ca, sha256_hex},
    fleet::{
        pulse::{BUCKETS_MILLIS, Counts},
        standing::{self, Standing},
    },
};

#[derive(Clone)]
struct Sources {
    ca: Arc<Ca>,
    admin: Arc<Admin>,
}

pub(super) fn routes(ca: Arc<Ca>, admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(Sources { ca, admin })
}

async fn metrics(
    State(Sources { ca, admin }): State<Sources>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !may_read(&ca, peer, &headers) {
        return Err(Problem(
            ApiError::new(ErrorCode::Refused, "metrics need a token").hint(
                "put the token's SHA-256 into the configuration ([metrics] token_sha256), or ask over the admin socket",
            ),
        ));
    }
    let now_unix = ca.clock.now().unix_timestamp();
    let standing = ca
        .db
        .snapshot()
        .and_then(|view| Standing::read(&view, now_unix))
        .map_err(|error| {
            tracing::error!(%error, "metrics cannot be read");
            Problem(ApiError::new(
                ErrorCode::Unavailable,
                "the store cannot be read",
            ))
        })?;
    let off_secs = ca.clock.look().1.map_or(0, |doubt| doubt.by_secs);
    let text = text(
        &standing,
        &admin.courier().pulse().counts(),
        now_unix,
        off_secs,
    );
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    Ok((kind, text).into_response())
}

fn may_read(ca: &Ca, peer: Peer, headers: &HeaderMap) -> bool {
    if let Peer::Socket(uid) = peer {
        return uid == 0 || uid == nix::unistd::geteuid().as_raw();
    }
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let Some(token) = token else {
        return false;
    };
    let hash = sha256_hex(token.as_bytes());
    ca.config
        .metrics
        .token_sha256
        .iter()
        .any(|allowed| bool::from(allowed.as_bytes().ct_eq(hash.as_bytes())))
}

/// The exposition format, version 0.0.4.
fn text(standing: &Standing, counts: &Counts, now_unix: i64, off_secs: i64) -> String {
    let mut out = Page::default();
    out.gauge(
        "ssh_ca_machines",
        "Machines in the CA's keeping: proven (KRL and configuration in force, read back), behind, or in trouble (no answer, or a refusal).",
    );
    for (word, state) in [
        ("proven", standing::State::Proven),
        ("behind", standing::State::Behind),
        ("trouble", standing::State::Trouble),
    ] {
        out.line(
            &format!("ssh_ca_machines{{state=\"{word}\"}}"),
            standing.count(state),
        );
    }
    out.one_gauge(
        "ssh_ca_machines_without_krl",
        "Machines that have not proven the KRL in force: what is revoked may work there.",
        standing.without_krl().count(),
    );
    let exposed = standing
        .machines
        .iter()
        .filter_map(|stand| stand.exposed_until_unix);
    out.one_gauge(
        "ssh_ca_exposed_until_timestamp_seconds",
        "When the last revoked certificate ends that would still work on some machine; 0 if none would.",
        exposed.max().unwrap_or(0),
    );
    let never = standing
        .machines
        .iter()
        .filter(|stand| stand.seen.last_seen_unix.is_none());
    out.one_gauge(
        "ssh_ca_machines_never_heard",
        "Machines that never answered the server.",
        never.count(),
    );
    let oldest = standing
        .machines
        .iter()
        .filter_map(|stand| stand.seen.last_seen_unix)
        .min();
    out.one_gauge(
        "ssh_ca_oldest_answer_seconds",
        "How long the machine that was silent for longest has been.",
        oldest.map_or(0, |at| now_unix.saturating_sub(at).max(0)),
    );
    out.one_gauge(
        "ssh_ca_krl_version",
        "The KRL in force.",
        standing.krl_version,
    );
    out.one_gauge(
        "ssh_ca_krl_built_timestamp_seconds",
        "When it was built.",
        standing.krl_built_unix,
    );
    out.one_gauge(
        "ssh_ca_clock_off_seconds",
        "How far the host's clock is from where it is believed; nothing is signed unless this is 0.",
        off_secs,
    );
    out.head(
        "ssh_ca_deliveries_total",
        "Attempts with machines since the server started.",
        "counter",
    );
    for (word, number) in [
        ("proven", counts.proven),
        ("refused", counts.refused),
        ("unreachable", counts.unreachable),
    ] {
        out.line(
            &format!("ssh_ca_deliveries_total{{outcome=\"{word}\"}}"),
            number,
        );
    }
    out.head(
        "ssh_ca_delivery_seconds",
        "How long proven deliveries took, from the first packet to what was read back.",
        "histogram",
    );
    for (most, number) in BUCKETS_MILLIS.iter().zip(counts.within) {
        out.line(
            &format!(
                "ssh_ca_delivery_seconds_bucket{{le=\"{}\"}}",
                seconds(*most)
            ),
            number,
        );
    }
    out.line("ssh_ca_delivery_seconds_bucket{le=\"+Inf\"}", counts.proven);
    out.line("ssh_ca_delivery_seconds_sum", seconds(counts.proven_millis));
    out.line("ssh_ca_delivery_seconds_count", counts.proven);
    out.one_gauge(
        "ssh_ca_deliveries_under_way",
        "Machines that are being spoken to now.",
        counts.under_way,
    );
    out.one_gauge(
        "ssh_ca_connections_kept",
        "Connections to machines that are kept open.",
        counts.kept,
    );
    out.0
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn gauge(&mut self, name: &str, help: &str) {
        self.head(name, help, "gauge");
    }

    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn one_gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.gauge(name, help);
        self.line(name, value);
    }
}
