//! The client over a real Unix socket, against a server that also misbehaves.

use std::sync::Arc;

use ca_api::{
    ErrorCode,
    admin::{AdminEvent, AdminReply, AdminRequest},
};
use ca_server::cli::client::{ClientError, Durable, ask_socket};
use serde_json::json;
use tokio::sync::Notify;

use crate::server::{Answer, Piece, Script, done, event, note};

async fn ask(answer: Answer) -> (Result<AdminReply, ClientError>, Vec<AdminEvent>) {
    let folder = tempfile::tempdir().expect("a folder");
    Script::new(vec![answer]).listen(folder.path());
    let mut events = Vec::new();
    let reply = ask_socket(folder.path(), &AdminRequest::KrlPush {}, &mut |event| {
        events.push(event.clone());
    })
    .await;
    (reply, events)
}

#[tokio::test]
async fn the_request_is_one_post_of_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = Script::new(vec![Answer::done("text", &json!("done"))]);
    script.listen(folder.path());
    let request = AdminRequest::PoolShow {
        pool: "web".to_owned(),
    };
    let reply = ask_socket(folder.path(), &request, &mut |_| {})
        .await
        .expect("an answer");
    assert!(matches!(reply, AdminReply::Text(text) if text == "done"));
    let asked = script.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, "POST /v1/admin");
    assert_eq!(asked[0].host, "localhost");
    assert_eq!(asked[0].content_type, "application/json");
    assert_eq!(asked[0].authorization, "");
    assert_eq!(asked[0].body, json!({ "verb": "pool_show", "pool": "web" }));
}

#[tokio::test]
async fn r1_the_first_line_comes_while_the_rest_is_still_under_way() {
    let folder = tempfile::tempdir().expect("a folder");
    // The server goes on only after the client has shown the note: a client that waits for the end never returns.
    let seen = Arc::new(Notify::new());
    let script = Script::new(vec![Answer {
        status: 200,
        pieces: vec![
            event(&note("durable")),
            Piece::Wait(Arc::clone(&seen)),
            event(&done("text", &json!("end"))),
        ],
    }]);
    script.listen(folder.path());
    let mut on_event = |event: &AdminEvent| {
        assert!(matches!(event, AdminEvent::Note { text } if text == "durable"));
        seen.notify_one();
    };
    let answer = ask_socket(folder.path(), &AdminRequest::KrlPush {}, &mut on_event);
    let reply = tokio::time::timeout(std::time::Duration::from_secs(180), answer)
        .await
        .expect("the note was shown before the end");
    assert!(reply.is_ok());
}

#[tokio::test]
async fn an_answer_may_come_in_any_pieces() {
    let text = format!("{}\n{}", note("zwölf"), done("text", &json!("Ende")));
    for size in [1, 2, 7, 64, text.len()] {
        let pieces = text
            .as_bytes()
            .chunks(size)
            .map(|piece| Piece::Bytes(piece.to_vec()))
            .collect();
        let (reply, events) = ask(Answer {
            status: 200,
            pieces,
        })
        .await;
        assert!(
            matches!(reply, Ok(AdminReply::Text(text)) if text == "Ende"),
            "pieces of {size}"
        );
        assert!(matches!(&events[..], [AdminEvent::Note { text }] if text == "zwölf"));
    }
}

#[tokio::test]
async fn z2_a_broken_answer_is_unknown_and_never_success() {
    let cases = [
        (vec![], Durable::Unknown),
        (vec![Piece::Break], Durable::Unknown),
        (vec![event(&note("durable"))], Durable::Said),
        (vec![event(&note("durable")), Piece::Break], Durable::Said),
        (
            vec![event(&note("durable")), Piece::Bytes(b"   \n".to_vec())],
            Durable::Said,
        ),
    ];
    for (pieces, expected) in cases {
        let (reply, _) = ask(Answer {
            status: 200,
            pieces: pieces.clone(),
        })
        .await;
        let error = reply.expect_err("no end came");
        match (&error, expected) {
            (ClientError::Cut { durable, .. }, expected) => {
                assert_eq!(*durable, expected, "{pieces:?}")
            }
            // Without a single byte of the body, the headers may be lost with it.
            other => panic!("{pieces:?}: {other:?}"),
        }
        assert!(error.to_string().contains("unknown"), "{error}");
        assert!(error.hint().contains("audit list"), "{}", error.hint());
    }
}

#[tokio::test]
async fn refusals_keep_the_servers_words() {
    let error =
        json!({ "code": "conflict", "message": "web is taken", "hint": "take another name" });
    let failed = Answer::events(&[json!({ "event": "failed", "error": error })]);
    for answer in [failed, Answer::json(409, &error)] {
        let (reply, _) = ask(answer).await;
        match reply {
            Err(ClientError::Api(error)) => {
                assert_eq!(error.code, ErrorCode::Conflict);
                assert_eq!(error.message, "web is taken");
                assert_eq!(error.hint, "take another name");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn w3_nonsense_is_an_error() {
    let bytes = |status, bytes: &[u8]| Answer {
        status,
        pieces: vec![Piece::Bytes(bytes.to_vec())],
    };
    let cases = [
        bytes(200, b"<html>hello</html>\n"),
        bytes(200, b"{\"event\":\"dance\"}\n"),
        bytes(
            200,
            b"{\"event\":\"done\",\"reply\":{\"kind\":\"pool\",\"data\":7}}\n",
        ),
        bytes(200, b"\xff\xfe\n"),
        bytes(502, b"<html>bad gateway</html>"),
        bytes(500, b""),
    ];
    for answer in cases {
        let (reply, _) = ask(answer.clone()).await;
        assert!(
            matches!(reply, Err(ClientError::Garbage(_))),
            "{answer:?}: {reply:?}"
        );
    }
}

#[tokio::test]
async fn c5_what_the_server_says_is_scrubbed_on_arrival() {
    let hostile = "a\u{1b}]0;x\u{7}b\u{9b}c";
    let (reply, events) = ask(Answer::events(&[
        note(hostile),
        done("text", &json!(hostile)),
    ]))
    .await;
    assert!(matches!(&events[..], [AdminEvent::Note { text }] if text == "a]0;xbc"));
    assert!(matches!(reply, Ok(AdminReply::Text(text)) if text == "a]0;xbc"));
    let (reply, _) = ask(Answer::json(
        403,
        &json!({ "code": "forbidden", "message": hostile }),
    ))
    .await;
    assert!(matches!(reply, Err(ClientError::Api(error)) if error.message == "a]0;xbc"));
}

#[tokio::test]
async fn a_ca_that_does_not_run_is_one_clear_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = ask_socket(folder.path(), &AdminRequest::KrlPush {}, &mut |_| {}).await;
    // What a killed server leaves behind: a socket without anybody.
    drop(std::os::unix::net::UnixListener::bind(folder.path().join("admin.sock")).expect("bound"));
    let stale = ask_socket(folder.path(), &AdminRequest::KrlPush {}, &mut |_| {}).await;
    for reply in [missing, stale] {
        let error = reply.expect_err("nobody there");
        assert!(
            error
                .to_string()
                .starts_with("no CA runs with the data folder /"),
            "{error}"
        );
        assert!(
            error.hint().contains("ca-server serve --data"),
            "{}",
            error.hint()
        );
    }
}
