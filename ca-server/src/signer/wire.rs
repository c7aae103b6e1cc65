//! The few messages of the ssh-agent protocol (draft-ietf-sshm-ssh-agent) that a CA key needs, with bounds in size and time.
//!
//! Written here rather than taken from a library because a listing must not *parse* foreign identities: one key type of
//! tomorrow in the same agent would otherwise stop the CA. The helper of the PKCS#11 back end speaks the same protocol.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

pub(super) const FAILURE: u8 = 5;
pub(super) const REQUEST_IDENTITIES: u8 = 11;
pub(super) const IDENTITIES_ANSWER: u8 = 12;
pub(super) const SIGN_REQUEST: u8 = 13;
pub(super) const SIGN_RESPONSE: u8 = 14;
/// `SSH_AGENTC_EXTENSION`: how the PKCS#11 helper is told what to open.
pub(super) const EXTENSION: u8 = 27;

/// The largest message either way: a listing of thousands of identities. A certificate has a few hundred bytes, a bundle's hash
/// 64.
pub(super) const MAX_BYTES: u32 = 4 * 1024 * 1024;

/// Why there was no answer.
#[derive(Debug)]
pub(super) enum WireError {
    /// The socket failed, or the other side closed it.
    Io(io::Error),
    /// The deadline passed.
    TimedOut,
    /// Too long, too short, or of another kind than was asked for.
    Foreign(&'static str),
    /// It said no; the PKCS#11 helper says why.
    Refused(Refusal),
}

/// A refusal: an agent gives no reason, the PKCS#11 helper a word for the program and a sentence for people.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    pub(super) word: String,
    pub(super) why: String,
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Io(error),
        }
    }
}

/// A message in the making; it may carry a PIN or a private key.
pub(super) struct Message(Zeroizing<Vec<u8>>);

impl Message {
    /// Of this kind, with room for `bytes`, so that growing leaves no copy of a secret behind.
    pub(super) fn new(kind: u8, bytes: usize) -> Self {
        let mut message = Zeroizing::new(Vec::with_capacity(bytes + 64));
        message.push(kind);
        Self(message)
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.0.extend(number.to_be_bytes());
    }

    pub(super) fn string(&mut self, bytes: &[u8]) {
        // What is longer than 4 GiB is refused when it is sent, whatever its length says.
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.extend(bytes);
    }

    /// "No", with a reason.
    pub(super) fn refusal(word: &str, why: &str) -> Self {
        let mut message = Self::new(FAILURE, word.len() + why.len());
        message.string(word.as_bytes());
        message.string(why.as_bytes());
        message
    }

    /// A request for a signature over `data` by the key with this blob.
    pub(super) fn sign_request(blob: &[u8], data: &[u8]) -> Self {
        let mut message = Self::new(SIGN_REQUEST, blob.len() + data.len());
        message.string(blob);
        message.string(data);
        message.u32(0);
        message
    }

    /// Writes it.
    pub(super) fn send(&self, to: &mut impl Write) -> io::Result<()> {
        let length = u32::try_from(self.0.len())
            .ok()
            .filter(|length| *length <= MAX_BYTES)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "too long to be signed"))?;
        // One write: two would wake the other side twice.
        let mut framed = Zeroizing::new(Vec::with_capacity(self.0.len() + 4));
        framed.extend(length.to_be_bytes());
        framed.extend(self.0.iter());
        to.write_all(&framed)
    }
}

/// Reads one message: its kind and body. `None` where the other side closed between two.
pub(super) fn receive(from: &mut impl Read) -> Result<Option<Zeroizing<Vec<u8>>>, WireError> {
    let mut length = [0; 4];
    match from.read(&mut length)? {
        0 => return Ok(None),
        read => from.read_exact(&mut length[read..])?,
    }
    let length = u32::from_be_bytes(length);
    if length == 0 || length > MAX_BYTES {
        return Err(WireError::Foreign("a message of impossible length"));
    }
    let mut message = Zeroizing::new(vec![0; length as usize]);
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

/// Asks and waits for an answer of the kind `wanted`, until `deadline`; its body comes back.
///
/// After any failure but a refusal the stream is out of step and must be closed.
pub(super) fn ask(
    stream: &UnixStream,
    message: &Message,
    wanted: u8,
    deadline: Instant,
) -> Result<Zeroizing<Vec<u8>>, WireError> {
    let mut bounded = Bounded { stream, deadline };
    message.send(&mut bounded)?;
    let answer = receive(&mut bounded)?.ok_or_else(|| {
        WireError::Io(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it closed the connection",
        ))
    })?;
    match answer.split_first() {
        Some((kind, body)) if *kind == wanted => Ok(Zeroizing::new(body.to_vec())),
        Some((&FAILURE, mut body)) => Err(WireError::Refused(refusal(&mut body))),
        _ => Err(WireError::Foreign("an answer of another kind")),
    }
}

fn refusal(body: &mut &[u8]) -> Refusal {
    let mut text = || Some(String::from_utf8_lossy(take_string(body).ok()?).into_owned());
    match (text(), text()) {
        (Some(word), Some(why)) => Refusal { word, why },
        _ => Refusal::default(),
    }
}

/// A stream whose every read and write ends by one deadline, however slowly bytes drip.
struct Bounded<'a> {
    stream: &'a UnixStream,
    deadline: Instant,
}

impl Bounded<'_> {
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        // Zero would mean for ever.
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(left)
    }
}

impl Read for Bounded<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(into)
    }
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Blobs and comments of a listing; nothing in them is parsed.
pub(super) fn identities(mut body: &[u8]) -> Result<Vec<(Vec<u8>, String)>, WireError> {
    let rest = &mut body;
    let mut listed = Vec::new();
    for _ in 0..take_u32(rest)? {
        let blob = take_string(rest)?.to_owned();
        let comment = String::from_utf8_lossy(take_string(rest)?).into_owned();
        listed.push((blob, comment));
    }
    Ok(listed)
}

pub(super) fn take_u32(rest: &mut &[u8]) -> Result<u32, WireError> {
    let (head, tail) = rest
        .split_first_chunk()
        .ok_or(WireError::Foreign("a message that is cut off"))?;
    *rest = tail;
    Ok(u32::from_be_bytes(*head))
}

pub(super) fn take_string<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], WireError> {
    let length = take_u32(rest)? as usize;
    let (head, tail) = rest
        .split_at_checked(length)
        .ok_or(WireError::Foreign("a message that is cut off"))?;
    *rest = tail;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(bytes: &'static [u8]) -> Result<Zeroizing<Vec<u8>>, WireError> {
        let (near, mut far) = UnixStream::pair().unwrap();
        let answering = std::thread::spawn(move || {
            let mut asked = [0; 5];
            far.read_exact(&mut asked).unwrap();
            far.write_all(bytes).unwrap();
            far
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        let answer = ask(
            &near,
            &Message::new(REQUEST_IDENTITIES, 0),
            IDENTITIES_ANSWER,
            deadline,
        );
        drop(answering.join().unwrap());
        answer
    }

    #[test]
    fn w3_nonsense_from_an_agent_is_an_error_and_never_a_panic() {
        assert_eq!(
            *answered(&[0, 0, 0, 5, 12, 0, 0, 0, 0]).unwrap(),
            [0, 0, 0, 0]
        );
        assert!(matches!(
            answered(&[0, 0, 0, 0]),
            Err(WireError::Foreign(_))
        ));
        assert!(matches!(
            answered(&[0xff, 0xff, 0xff, 0xff, 12]),
            Err(WireError::Foreign(_))
        ));
        assert!(matches!(
            answered(&[0, 0, 0, 1, 6]),
            Err(WireError::Foreign(_))
        ));
        assert!(matches!(
            answered(&[0, 0, 0, 1, 5]),
            Err(WireError::Refused(_))
        ));
        for cut in [
            &[0, 0, 0, 9][..],
            &[0, 0, 0, 1, 0, 0, 0, 5, 1],
            &[0xff; 4],
            &[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(identities(cut).is_err(), "{cut:?}");
        }
    }

    #[test]
    fn an_answer_that_never_comes_ends_at_the_deadline() {
        let (near, _far) = UnixStream::pair().unwrap();
        let deadline = Instant::now() + Duration::from_millis(50);
        assert!(matches!(
            ask(
                &near,
                &Message::new(REQUEST_IDENTITIES, 0),
                IDENTITIES_ANSWER,
                deadline
            ),
            Err(WireError::TimedOut)
        ));
    }
}
