//! The accept loops: deadlines for handshakes and headers, a cap on connections, and an orderly end (W2).

use std::{
    net::IpAddr,
    sync::{Arc, RwLock},
    time::Duration,
};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::watch,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

use super::Peer;
use crate::auth::{
    attempts::network,
    shares::{Share, Shares},
};

/// How long a client may take, part by part (W2).
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For a request's headers; also how long an idle kept connection stays.
    pub headers: Duration,
    /// For a request's body: one that trickles in holds its connection no longer.
    pub body: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(75),
            body: Duration::from_secs(30),
        }
    }
}

/// Requests in flight get this long at the end.
const GRACE: Duration = Duration::from_secs(20);
/// Connections at once over the network.
const CONNECTIONS: usize = 4096;
/// Connections at once from one network: one client cannot take them all, nor can one with a whole IPv6 /64.
const PER_NETWORK: usize = 512;

/// The TLS configuration in force; replaced when the leaf is made anew.
pub type TlsInForce = Arc<RwLock<Arc<ServerConfig>>>;

/// Serves HTTPS until `stop` changes, then lets requests in flight finish.
pub async fn https(
    listener: TcpListener,
    tls: TlsInForce,
    router: Router,
    proxies: Vec<IpAddr>,
    deadlines: Deadlines,
    mut stop: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let places = Shares::new(CONNECTIONS, Share::AtMost(PER_NETWORK));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: give those in use time to end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let address = from.ip().to_canonical();
        let Some(place) = places.enter(network(address)) else {
            continue;
        };
        // Small answers leave at once: a client waits for each.
        drop(stream.set_nodelay(true));
        let acceptor = TlsAcceptor::from(Arc::clone(
            &tls.read().expect("nobody panics while replacing it"),
        ));
        let (router, watcher, proxies) = (router.clone(), graceful.watcher(), proxies.clone());
        tokio::spawn(async move {
            let _held = place;
            if let Ok(Ok(stream)) = timeout(deadlines.handshake, acceptor.accept(stream)).await {
                let serving = serve(stream, Peer::Network(address), router, &proxies, deadlines);
                if let Err(error) = watcher.watch(serving).await {
                    tracing::debug!(%error, "a connection ended badly");
                }
            }
        });
    }
    drop(listener);
    if timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time and were cut off");
    }
}

/// Serves the Unix socket until `stop` changes, then lets requests in flight finish.
pub async fn socket(listener: UnixListener, router: Router, mut stop: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(credentials) = stream.peer_cred() else {
            continue;
        };
        let (router, watcher) = (router.clone(), graceful.watcher());
        tokio::spawn(async move {
            let serving = serve(
                stream,
                Peer::Socket(credentials.uid()),
                router,
                &[],
                Deadlines::default(),
            );
            if let Err(error) = watcher.watch(serving).await {
                tracing::debug!(%error, "a connection on the socket ended badly");
            }
        });
    }
    drop(listener);
    if timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some commands did not finish in time and were cut off");
    }
}

fn serve<S>(
    stream: S,
    peer: Peer,
    router: Router,
    proxies: &[IpAddr],
    deadlines: Deadlines,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + use<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let trusted = matches!(peer, Peer::Network(address) if proxies.contains(&address));
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let peer = if trusted {
            forwarded(&request).unwrap_or(peer)
        } else {
            peer
        };
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(deadlines);
        router.clone().call(request)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(deadlines.headers)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service)
}

/// The address that a trusted proxy added: the last one, since a client can write whatever it likes before it (A8).
fn forwarded(request: &Request<Incoming>) -> Option<Peer> {
    let header = request
        .headers()
        .get_all("x-forwarded-for")
        .iter()
        .next_back()?;
    let last = header.to_str().ok()?.rsplit(',').next()?.trim();
    last.parse().ok().map(Peer::Network)
}
