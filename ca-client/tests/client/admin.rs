//! The admin API as `bootstrap` uses it on the CA host: events as they happen, over the Unix socket, in any pieces.

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    thread,
    time::Duration,
};

use ca_api::admin::{AdminEvent, AdminReply, AdminRequest};
use ca_client::api::{AdminError, CallError, Client, Deadlines};

/// Answers one request with these pieces, each a chunk of its own, and then stays silent if `hold`.
fn answer_once(pieces: Vec<String>, hold: Duration) -> (tempfile::TempDir, Client) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0; 1];
        while !request.ends_with(b"}") {
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        assert!(request.starts_with(b"POST /v1/admin HTTP/1.1\r\n"));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        for piece in pieces {
            write!(stream, "{:x}\r\n{piece}\r\n", piece.len()).unwrap();
        }
        thread::sleep(hold);
        let _ = stream.write_all(b"0\r\n\r\n");
    });
    (folder, Client::unix(path))
}

fn run(client: &Client) -> (Result<AdminReply, AdminError>, Vec<String>) {
    let mut notes = Vec::new();
    let request = AdminRequest::KrlShow {};
    let reply = tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(client.admin(None, &request, |event| {
            if let AdminEvent::Note { text } = event {
                notes.push(text);
            }
        }));
    (reply, notes)
}

const STREAM: &str = "{\"event\":\"note\",\"text\":\"one\\u001b[2J\"}\n{\"event\":\"note\",\"text\":\"two\"}\n{\"event\":\"done\",\"reply\":{\"kind\":\"text\",\"data\":\"fine\"}}\n";

#[test]
fn c5_events_come_whole_and_clean_however_they_are_cut() {
    for size in [1, 7, 41, STREAM.len()] {
        let pieces = STREAM
            .as_bytes()
            .chunks(size)
            .map(|piece| String::from_utf8(piece.to_vec()).unwrap())
            .collect();
        let (_folder, client) = answer_once(pieces, Duration::ZERO);
        let (reply, notes) = run(&client);
        assert!(
            matches!(reply, Ok(AdminReply::Text(text)) if text == "fine"),
            "{size}"
        );
        assert_eq!(notes, ["one[2J", "two"], "{size}");
    }
}

#[test]
fn a_stream_that_ends_early_or_falls_silent_is_never_success() {
    let cut = STREAM[..STREAM.len() - 20].to_owned();
    let (_folder, client) = answer_once(vec![cut], Duration::ZERO);
    assert!(matches!(
        run(&client).0,
        Err(AdminError::Call(CallError::Foreign { .. }))
    ));
    let (_folder, client) = answer_once(
        vec![STREAM.lines().next().unwrap().to_owned() + "\n"],
        Duration::ZERO,
    );
    assert!(matches!(
        run(&client).0,
        Err(AdminError::Call(CallError::Connect { .. }))
    ));
    let (_folder, client) = answer_once(vec!["{".to_owned()], Duration::from_secs(120));
    let event = Duration::from_millis(200);
    let client = client.with_deadlines(Deadlines {
        event,
        ..Deadlines::default()
    });
    assert!(matches!(
        run(&client).0,
        Err(AdminError::Call(CallError::Timeout { .. }))
    ));
}

#[test]
fn a_command_that_fails_says_why() {
    let failed =
        "{\"event\":\"failed\",\"error\":{\"code\":\"conflict\",\"message\":\"no\\u0007\"}}"
            .to_owned();
    let (_folder, client) = answer_once(vec![failed], Duration::ZERO);
    assert!(matches!(run(&client).0, Err(AdminError::Failed(error)) if error.message == "no"));
}
