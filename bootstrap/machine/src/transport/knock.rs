//! Does sshd answer at all? One TCP connection and its banner, without a client: what a silent machine costs is a socket.

use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Duration, timeout},
};

use super::{OpenError, Target};

/// Connects and waits for the first bytes that sshd says by itself (RFC 4253 section 4.2).
///
/// # Errors
/// [`OpenError::Unreachable`] or [`OpenError::TimedOut`].
pub async fn knock(target: &Target, within: Duration) -> Result<(), OpenError> {
    let unreachable = |detail: String| OpenError::Unreachable {
        address: target.address.clone(),
        detail,
    };
    let banner = async {
        let mut stream = TcpStream::connect((target.address.as_str(), target.port))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let mut start = [0; 4];
        stream
            .read_exact(&mut start)
            .await
            .map_err(|error| unreachable(format!("it closed the connection: {error}")))?;
        if &start == b"SSH-" {
            Ok(())
        } else {
            Err(unreachable("what answers there is no sshd".to_owned()))
        }
    };
    timeout(within, banner).await.unwrap_or_else(|_| {
        Err(OpenError::TimedOut {
            address: target.address.clone(),
            secs: within.as_secs(),
        })
    })
}
