//! What people and admins do in such a world.

use bytes::Bytes;
use ca_api::{
    ApiError, Issued,
    admin::{AdminEvent, AdminReply, AdminRequest, EmployeeView},
    proof,
};
use ca_server::{ledger::Actor, revoke::krl};
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use serde_json::{Value, json};
use ssh_key::PrivateKey;

use super::{Answer, World, blob, code_at, connect, ed25519, keygen_says, send, sshsig};

/// Somebody who enrolled.
#[derive(Clone)]
pub struct Person {
    pub email: String,
    pub password: String,
    pub totp: Vec<u8>,
    pub key: PrivateKey,
}

/// A day session as its owner holds it.
#[derive(Clone)]
pub struct Session {
    pub id: String,
    pub secret: String,
    pub ends_unix: i64,
    pub key: PrivateKey,
    pub issued: Issued,
}

impl World {
    /// An admin command, over the console.
    pub async fn command(&self, request: AdminRequest) -> Result<AdminReply, ApiError> {
        let (events, mut received) = tokio::sync::mpsc::channel(1024);
        let drain = tokio::spawn(async move { while received.recv().await.is_some() {} });
        let reply = self
            .admin
            .run(Actor::Console { uid: 0 }, request, &events)
            .await;
        drop(events);
        drain.await.unwrap();
        reply.map(over_the_wire)
    }

    /// The same, written as JSON.
    pub async fn verb(&self, request: Value) -> Result<AdminReply, ApiError> {
        self.command(serde_json::from_value(request).unwrap()).await
    }

    pub async fn pool(&self, pool: &str) {
        self.verb(json!({"verb": "pool_add", "pool": pool}))
            .await
            .unwrap();
    }

    /// Invites somebody; returns the code.
    pub async fn invite(&self, email: &str, pools: &[&str], admin: bool) -> String {
        let reply = self
            .verb(json!({"verb": "employee_add", "email": email, "pools": pools, "admin": admin}))
            .await
            .unwrap();
        code_of(reply)
    }

    /// Invites and enrols somebody with their own account on `pools`.
    pub async fn employee(&self, email: &str, pools: &[&str]) -> Person {
        let code = self.invite(email, pools, false).await;
        self.enrol(email, &code).await
    }

    pub async fn an_admin(&self, email: &str, pools: &[&str]) -> Person {
        let code = self.invite(email, pools, true).await;
        self.enrol(email, &code).await
    }

    pub async fn enrol(&self, email: &str, code: &str) -> Person {
        let started = self.post("/v1/enrol/start", &json!({"code": code})).await;
        assert_eq!(started.status, 200, "{}", started.text());
        let text = started.json()["totp_secret"].as_str().unwrap().to_owned();
        let totp = data_encoding::BASE32_NOPAD.decode(text.as_bytes()).unwrap();
        let person = Person {
            email: email.to_owned(),
            password: format!("wobbly-lantern-eats-41-figs-{}", email.len()),
            totp,
            key: ed25519(),
        };
        let finish = json!({
            "code": code, "password": person.password, "totp": self.fresh_code(&person),
        });
        let finished = self.post("/v1/enrol/finish", &finish).await;
        assert_eq!(finished.status, 200, "{}", finished.text());
        person
    }

    /// The code that the authenticator shows now.
    pub fn code(&self, person: &Person) -> String {
        code_at(&person.totp, self.now())
    }

    /// A code of a step that was never used: time goes on.
    pub fn fresh_code(&self, person: &Person) -> String {
        self.ca.clock.shift(31);
        self.code(person)
    }

    /// A whole and right login request, with the code of a step that was never used: time goes on.
    pub async fn login_body(&self, person: &Person) -> Value {
        self.ca.clock.shift(31);
        self.login_body_now(person).await
    }

    /// The same with the code that the authenticator shows now.
    pub async fn login_body_now(&self, person: &Person) -> Value {
        let totp = self.code(person);
        let nonce = self.nonce().await;
        let ca_id = self.ca.keys().ca_id();
        let message = proof::login_message(&ca_id, &nonce, &person.email, &blob(&person.key));
        json!({
            "email": person.email,
            "password": person.password,
            "totp": totp,
            "public_key": person.key.public_key().to_openssh().unwrap(),
            "nonce": nonce,
            "proof": sshsig(&person.key, proof::LOGIN_NAMESPACE, &message),
        })
    }

    pub async fn try_login(&self, person: &Person) -> Answer {
        let body = self.login_body(person).await;
        self.post("/v1/login", &body).await
    }

    pub async fn login(&self, person: &Person) -> Session {
        let issued = self.try_login(person).await.issued();
        let grant = issued.session.clone().unwrap();
        Session {
            id: grant.id,
            secret: grant.secret.expose().to_owned(),
            ends_unix: grant.ends_unix,
            key: person.key.clone(),
            issued,
        }
    }

    /// A whole and right renewal request.
    pub async fn renew_body(&self, session: &Session) -> Value {
        let nonce = self.nonce().await;
        self.renew_with(session, &nonce)
    }

    pub fn renew_with(&self, session: &Session, nonce: &str) -> Value {
        let ca_id = self.ca.keys().ca_id();
        let message = proof::renew_message(&ca_id, nonce, &session.id, &blob(&session.key));
        json!({
            "session_id": session.id,
            "session_secret": session.secret,
            "nonce": nonce,
            "proof": sshsig(&session.key, proof::RENEW_NAMESPACE, &message),
        })
    }

    pub async fn renew(&self, session: &Session) -> Answer {
        let body = self.renew_body(session).await;
        self.post("/v1/renew", &body).await
    }

    pub async fn nonce(&self) -> String {
        self.ca.nonces.issue(self.now())
    }

    pub async fn admin_token(&self, admin: &Person) -> String {
        let body = json!({
            "email": admin.email, "password": admin.password, "totp": self.fresh_code(admin),
        });
        let answer = self.post("/v1/admin/login", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    pub async fn connect(&self) -> SendRequest<Full<Bytes>> {
        connect(self.address, &self.client).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], body.to_string().into()).await
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Answer {
        let mut connection = self.connect().await;
        send(&mut connection, method, path, headers, body).await
    }

    /// The KRL in force, as the server builds it.
    pub async fn krl(&self) -> Vec<u8> {
        use base64::Engine as _;
        let record = krl::current(&self.ca).await.unwrap();
        base64::engine::general_purpose::STANDARD
            .decode(record.krl)
            .unwrap()
    }

    /// Whether OpenSSH finds each of the certificates revoked by the KRL in force.
    pub async fn revoked(&self, certificates: &[String]) -> Vec<bool> {
        let list = self.krl().await;
        certificates
            .iter()
            .map(|text| keygen_says(&list, text))
            .collect()
    }

    pub async fn show(&self, email: &str) -> EmployeeView {
        match self
            .verb(json!({"verb": "employee_show", "email": email}))
            .await
        {
            Ok(AdminReply::Employee(view)) => view,
            other => panic!("{other:?}"),
        }
    }

    /// The newest ledger entries, oldest first, as `event: detail`.
    pub async fn ledger(&self, last: u64) -> Vec<ca_api::admin::LedgerLine> {
        match self.verb(json!({"verb": "audit_list", "last": last})).await {
            Ok(AdminReply::Ledger(lines)) => lines,
            other => panic!("{other:?}"),
        }
    }
}

/// An answer as a client has it: written as a line of JSON, and read again.
fn over_the_wire(reply: AdminReply) -> AdminReply {
    let event = AdminEvent::Done {
        reply: Box::new(reply),
    };
    let line: Value = serde_json::from_str(&serde_json::to_string(&event).unwrap()).unwrap();
    match serde_json::from_value(line).unwrap() {
        AdminEvent::Done { reply } => *reply,
        other => panic!("{other:?}"),
    }
}

pub fn code_of(reply: AdminReply) -> String {
    match reply {
        AdminReply::Invited(invitation) => invitation.code.expose().to_owned(),
        other => panic!("{other:?}"),
    }
}
