//! A web server as small as one can be, in the fleet's network, that serves well or behaves badly on purpose.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use ca_machine::pull::Files;
use e2e::{CA_ADDRESS, Fleet};

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Well,
    /// Takes the request and says nothing.
    Hang,
    /// Sends bytes without an end.
    Endless,
    /// Promises the whole file, sends half of it, and closes.
    Half,
    /// Has nothing.
    Empty,
    /// A page for people, with status 200.
    Page,
    /// Sends whoever asks somewhere else.
    Elsewhere,
}

/// The server; it ends when this is dropped.
pub struct Web {
    state: Arc<State>,
    address: SocketAddr,
}

struct State {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    manner: Mutex<Manner>,
    asked: Mutex<Vec<String>>,
    over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Web {
    pub fn start(fleet: &Fleet) -> Result<Self> {
        let listener = fleet.enter(|| TcpListener::bind((CA_ADDRESS, 0)))?;
        listener.set_nonblocking(true)?;
        let state = Arc::new(State {
            files: Mutex::default(),
            manner: Mutex::new(Manner::Well),
            asked: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let address = listener.local_addr()?;
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            while !shared.over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let shared = Arc::clone(&shared);
                        std::thread::spawn(move || drop(answer(&shared, stream)));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Ok(Self { state, address })
    }

    /// Where its tree is.
    pub fn url(&self) -> String {
        format!("http://{}/tree", self.address)
    }

    /// Puts a machine's files there.
    pub fn put(&self, place: &str, files: &Files) {
        for name in ca_machine::pull::FILES {
            let bytes = files.named(name).expect("each name has a file").to_vec();
            self.put_file(place, name, bytes);
        }
    }

    pub fn put_file(&self, place: &str, name: &str, bytes: Vec<u8>) {
        lock(&self.state.files).insert(format!("/tree/v1/{place}/{name}"), bytes);
    }

    pub fn behave(&self, manner: Manner) {
        *lock(&self.state.manner) = manner;
    }

    /// The names of files that were asked for since the last look.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.state.asked))
    }

    /// Whether any file says these words to whoever reads it.
    pub fn says(&self, words: &str) -> bool {
        let files = lock(&self.state.files);
        files.values().any(|bytes| {
            bytes
                .windows(words.len())
                .any(|part| part == words.as_bytes())
        })
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
    }
}

fn answer(state: &State, mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    lock(&state.asked).push(name);
    let manner = *lock(&state.manner);
    let found = lock(&state.files).get(&path).cloned();
    let whole = |stream: &mut TcpStream, status: &str, length: usize, body: &[u8]| {
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        )?;
        stream.write_all(body)?;
        stream.flush()
    };
    match (manner, found) {
        (Manner::Hang, _) => {
            while !state.over.load(Ordering::Relaxed) && *lock(&state.manner) == Manner::Hang {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }
        (Manner::Endless, _) => {
            write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            let block = vec![b'a'; 65536];
            while !state.over.load(Ordering::Relaxed) {
                stream.write_all(&block)?;
            }
            Ok(())
        }
        (Manner::Page, _) => {
            let page = b"<html>Please log in to this network</html>";
            whole(&mut stream, "200 OK", page.len(), page)
        }
        (Manner::Elsewhere, _) => {
            write!(
                stream,
                "HTTP/1.1 302 Found\r\nlocation: http://{CA_ADDRESS}:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
        }
        (Manner::Half, Some(bytes)) => whole(
            &mut stream,
            "200 OK",
            bytes.len(),
            &bytes[..bytes.len() / 2],
        ),
        (Manner::Well, Some(bytes)) => whole(&mut stream, "200 OK", bytes.len(), &bytes),
        _ => whole(&mut stream, "404 Not Found", 2, b"no"),
    }
}
