//! Machines that fetch for themselves: who may ask for what, what a report is worth, and what a published tree holds.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ca_api::admin::{AdminReply, KrlView, MachinePrepared, MachineView, RemovalOutcome};
use ca_machine::{
    Bundle, Place,
    pull::{MAX_PULL_REPORT_BYTES, PullSecret, REPORT_NAMESPACE},
};
use serde_json::{Value, json};
use ssh_key::{PrivateKey, PublicKey, SshSig};

use crate::world::{Answer, World, ed25519, sshsig};

/// A machine that was prepared to fetch for itself, and what only it knows.
struct Puller {
    name: String,
    host_key: PrivateKey,
    secret: PullSecret,
    prepared: MachinePrepared,
}

async fn prepare(
    world: &World,
    name: &str,
    key: &PrivateKey,
    pull: Value,
    rebuilt: bool,
) -> MachinePrepared {
    let reply = world
        .verb(json!({
            "verb": "machine_prepare", "machine": name, "address": format!("{name}.corp.example"), "port": 22, "pools": ["web"],
            "host_key": key.public_key().to_openssh().unwrap(), "admin_account": "ssh-admin",
            "sshd_version": "OpenSSH_9.2p1", "facts": "{}", "pull": pull, "rebuilt": rebuilt,
        }))
        .await;
    match reply {
        Ok(AdminReply::MachinePrepared(prepared)) => prepared,
        other => panic!("{other:?}"),
    }
}

impl Puller {
    async fn new(world: &World, name: &str, tree: Option<&str>) -> Self {
        let host_key = ed25519();
        let prepared = prepare(world, name, &host_key, json!({ "tree": tree }), false).await;
        let secret = prepared.pull_secret.as_ref().unwrap().expose();
        Self {
            name: name.to_owned(),
            host_key,
            secret: secret.parse().unwrap(),
            prepared,
        }
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", *self.secret.token())
    }

    async fn get(&self, world: &World, file: &str) -> Answer {
        get(world, &self.name, file, Some(&self.bearer())).await
    }

    /// What it would say of itself, where all is well.
    async fn state(&self, world: &World) -> Value {
        let krl = krl(world).await;
        let sha256 = ca_server::ca::sha256_hex(&world.krl().await);
        json!({
            "step": "state", "machine": self.name, "generation": self.prepared.generation,
            "applied_generation": self.prepared.generation, "krl_version": krl.version, "krl_sha256": sha256, "krl_canaries": "ok",
        })
    }

    async fn signed_by(
        &self,
        world: &World,
        key: &PrivateKey,
        namespace: &str,
        machine: &str,
        lines: &[Value],
    ) -> Vec<u8> {
        let mut text = format!(
            "ssh-ca-pull-report v1\nmachine {machine}\nnonce {}\n",
            world.nonce().await
        );
        for line in lines {
            text.push_str(&format!("{line}\n"));
        }
        [
            sshsig(key, namespace, text.as_bytes()).into_bytes(),
            text.into_bytes(),
        ]
        .concat()
    }

    async fn report(&self, world: &World, lines: &[Value]) -> Answer {
        let body = self
            .signed_by(world, &self.host_key, REPORT_NAMESPACE, &self.name, lines)
            .await;
        post(world, &self.name, Some(&self.bearer()), body).await
    }
}

async fn get(world: &World, machine: &str, file: &str, token: Option<&str>) -> Answer {
    let headers: Vec<(&str, &str)> = token
        .map(|token| ("authorization", token))
        .into_iter()
        .collect();
    world
        .send(
            "GET",
            &format!("/v1/machine/{machine}/{file}"),
            &headers,
            "".into(),
        )
        .await
}

async fn post(world: &World, machine: &str, token: Option<&str>, body: Vec<u8>) -> Answer {
    let mut headers = vec![("content-type", "text/plain")];
    headers.extend(token.map(|token| ("authorization", token)));
    world
        .send(
            "POST",
            &format!("/v1/machine/{machine}/report"),
            &headers,
            body.into(),
        )
        .await
}

async fn krl(world: &World) -> KrlView {
    match world.verb(json!({"verb": "krl_show"})).await {
        Ok(AdminReply::Krl(view)) => view,
        other => panic!("{other:?}"),
    }
}

async fn show(world: &World, machine: &str) -> MachineView {
    match world
        .verb(json!({"verb": "machine_show", "machine": machine}))
        .await
    {
        Ok(AdminReply::Machine(view)) => view,
        other => panic!("{other:?}"),
    }
}

fn done() -> Value {
    json!({"step": "done"})
}

/// Signature and object of a file, and whether a key of the CA's made it.
fn genuine(world: &World, file: &[u8], namespace: &str) -> Vec<u8> {
    let end = b"-----END SSH SIGNATURE-----\n";
    let at = file
        .windows(end.len())
        .position(|part| part == end)
        .unwrap()
        + end.len();
    let signature = SshSig::from_pem(&file[..at]).unwrap();
    let fleet = world.ca.keys().fleet.trusted();
    let verified = fleet
        .iter()
        .any(|key: &PublicKey| key.verify(namespace, &file[at..], &signature).is_ok());
    assert!(verified, "not by the fleet key");
    file[at..].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_machines_files_are_for_its_own_token_alone() {
    let world = World::new().await;
    world.ca.clock.stop();
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let chief = world.an_admin("chief@corp.example", &["web"]).await;
    let session = world.login(&alice).await;
    let (web_1, web_2) = (
        Puller::new(&world, "web-1", None).await,
        Puller::new(&world, "web-2", None).await,
    );
    prepare(&world, "web-3", &ed25519(), Value::Null, false).await;
    let own = web_1.bearer();
    let strangers = [
        ("nobody", None),
        ("an empty token", Some("Bearer ".to_owned())),
        ("another scheme", Some(own.replace("Bearer", "Basic"))),
        ("another machine", Some(web_2.bearer())),
        (
            "its secret instead of its token",
            Some(format!("Bearer {}", *web_1.secret.to_text())),
        ),
        (
            "its place",
            Some(format!("Bearer {}", web_1.secret.place())),
        ),
        ("a token cut short", Some(own[..own.len() - 1].to_owned())),
        (
            "a token in capitals",
            Some(format!("Bearer {}", own[7..].to_uppercase())),
        ),
        ("an employee", Some(format!("Bearer {}", session.secret))),
        (
            "an admin",
            Some(format!("Bearer {}", world.admin_token(&chief).await)),
        ),
    ];
    let body = web_1
        .signed_by(
            &world,
            &web_1.host_key,
            REPORT_NAMESPACE,
            "web-1",
            &[web_1.state(&world).await, done()],
        )
        .await;
    let before = ca_server::store::Read::head(&world.ca.db.snapshot().unwrap());
    let mut answers = Vec::new();
    for (who, token) in &strangers {
        for file in ["head", "krl", "bundle", "successions", "nothing"] {
            answers.push((
                format!("{who} {file}"),
                get(&world, "web-1", file, token.as_deref()).await,
            ));
        }
        answers.push((
            format!("{who} report"),
            post(&world, "web-1", token.as_deref(), body.clone()).await,
        ));
    }
    // A machine that is not there, one that does not fetch, and a name that is none: as if it were there and the token wrong.
    for machine in ["no-such", "web-3", "%2e%2e", "WEB-1", "web-1%00"] {
        answers.push((
            machine.to_owned(),
            get(&world, machine, "krl", Some(&own)).await,
        ));
    }
    let refusal = answers[0].1.text();
    for (what, answer) in &answers {
        assert_eq!(
            (answer.status, answer.text()),
            (401, refusal.clone()),
            "{what}"
        );
    }
    assert_eq!(
        ca_server::store::Read::head(&world.ca.db.snapshot().unwrap()),
        before
    );
    for (file, status) in [
        ("head", 200),
        ("krl", 200),
        ("bundle", 200),
        ("successions", 200),
        ("nothing", 404),
        ("..%2fkrl", 404),
    ] {
        assert_eq!(web_1.get(&world, file).await.status, status, "{file}");
    }
    // What a stranger tried to say with its words is not used up: its nonce is good still.
    assert_eq!(post(&world, "web-1", Some(&own), body).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn r9_what_is_served_is_the_newest_and_signed_for_that_machine() {
    let world = World::new().await;
    world.pool("web").await;
    let machine = Puller::new(&world, "web-1", None).await;
    let bundle = genuine(
        &world,
        &machine.get(&world, "bundle").await.bytes,
        "bundle@ssh-ca",
    );
    let bundle = Bundle::decode(&bundle).unwrap();
    assert_eq!(
        (bundle.machine.as_str(), bundle.generation),
        ("web-1", machine.prepared.generation)
    );
    let settings = String::from_utf8(bundle.files[&Place::PullSettings].clone()).unwrap();
    assert!(
        settings.contains("\nfrom ca\nca https://127.0.0.1:8443\ntrust pinned\n"),
        "{settings}"
    );
    assert!(
        bundle.files.contains_key(&Place::PullTrust) && bundle.files.contains_key(&Place::Puller)
    );
    // C3: the bundle that lies in the store and in plain trees has nothing secret.
    let text = String::from_utf8_lossy(&machine.get(&world, "bundle").await.bytes).into_owned();
    assert!(!text.contains(&*machine.secret.to_text()) && !text.contains(&*machine.secret.token()));
    let head = machine.get(&world, "head").await.text();
    for file in ["krl", "bundle"] {
        let hash = ca_server::ca::sha256_hex(&machine.get(&world, file).await.bytes);
        assert!(head.contains(&format!("\n{file} {hash}\n")), "{head}");
    }
    let parcel = |bytes: &[u8]| {
        ca_machine::KrlParcel::decode(&genuine(&world, bytes, "krl@ssh-ca")).unwrap()
    };
    let first = parcel(&machine.get(&world, "krl").await.bytes);
    let key = format!("SHA256:{}", "A".repeat(43));
    world
        .verb(json!({"verb": "krl_revoke", "target": {"key": key}}))
        .await
        .unwrap();
    let second = parcel(&machine.get(&world, "krl").await.bytes);
    assert!(second.version > first.version);
    assert_ne!(machine.get(&world, "head").await.text(), head);
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_a_machine_that_only_fetches_is_proven_by_its_own_report_and_by_nothing_else() {
    let world = World::new().await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let machine = Puller::new(&world, "web-1", None).await;
    let krl_version = krl(&world).await.version;
    // Nobody is at that address: the CA does not reach it.
    let confirm = json!({"verb": "machine_confirm", "machine": "web-1", "generation": machine.prepared.generation, "krl_version": krl_version});
    world.verb(confirm).await.unwrap();
    let view = show(&world, "web-1").await;
    let pull = view.pull.clone().unwrap();
    assert_eq!(
        (
            pull.reach.as_str(),
            pull.reported_unix,
            view.status.as_str()
        ),
        ("pull only", None, "managed")
    );
    assert_eq!(view.trouble, "");
    world.login(&alice).await;
    let revoked = world
        .verb(json!({"verb": "krl_revoke", "target": {"employee": alice.email}}))
        .await
        .unwrap();
    let AdminReply::Revoked(revocation) = revoked else {
        panic!("{revoked:?}")
    };
    assert!(!revocation.proven(), "nothing was heard of the machine");
    let behind = krl(&world).await.behind;
    assert_eq!(behind.len(), 1);
    assert!(
        behind[0].trouble.contains("fetches for itself") && behind[0].exposed_until_unix.is_some(),
        "{behind:?}"
    );

    let good = machine.state(&world).await;
    let lie = |change: Value| {
        let mut state = good.clone();
        for (key, value) in change.as_object().unwrap() {
            state[key] = value.clone();
        }
        state
    };
    for (what, state, end) in [
        (
            "an older KRL",
            lie(json!({"krl_version": krl_version})),
            done(),
        ),
        (
            "another KRL at that number",
            lie(json!({"krl_sha256": "0".repeat(64)})),
            done(),
        ),
        (
            "a KRL that OpenSSH does not read",
            lie(json!({"krl_canaries": "failed"})),
            done(),
        ),
        (
            "a KRL of the future",
            lie(json!({"krl_version": u64::MAX})),
            done(),
        ),
    ] {
        world.ca.clock.shift(10);
        let answer = machine.report(&world, &[state, end]).await;
        assert_eq!(answer.status, 204, "{what}: {}", answer.text());
        assert_eq!(krl(&world).await.behind.len(), 1, "{what} proves nothing");
    }
    world.ca.clock.stop();
    world.ca.clock.shift(10);
    assert_eq!(
        machine.report(&world, &[good.clone(), done()]).await.status,
        204
    );
    assert!(krl(&world).await.behind.is_empty());
    let view = show(&world, "web-1").await;
    assert_eq!(
        (view.trouble.as_str(), view.krl_version),
        ("", view.krl_wanted)
    );
    assert_eq!(view.pull.unwrap().reported_unix, Some(world.now()));
    // From now on whoever asks hears that it is proven, though nobody could have pushed.
    let AdminReply::Revoked(pushed) = world.verb(json!({"verb": "krl_push"})).await.unwrap() else {
        panic!("another answer")
    };
    assert!(pushed.proven());
    // It says what it refuses, and is no longer told as well.
    world.ca.clock.shift(10);
    let refused = json!({"step": "refused", "code": "invalid-config", "detail": "sshd does\u{1b} not take it"});
    assert_eq!(
        machine
            .report(&world, &[good.clone(), refused])
            .await
            .status,
        204
    );
    let trouble = show(&world, "web-1").await.trouble;
    assert!(
        trouble.contains("invalid-config") && !trouble.contains('\u{1b}'),
        "{trouble}"
    );
    // A tree that lags behind is nothing to a machine that has the newest.
    world.ca.clock.shift(10);
    let old = json!({"step": "refused", "code": "old-generation", "detail": "…"});
    assert_eq!(machine.report(&world, &[good, old]).await.status, 204);
    assert_eq!(show(&world, "web-1").await.trouble, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn r9_a_report_is_the_machines_own_fresh_and_taken_once() {
    let world = World::new().await;
    world.ca.clock.stop();
    world.pool("web").await;
    let (machine, other) = (
        Puller::new(&world, "web-1", None).await,
        Puller::new(&world, "web-2", None).await,
    );
    let lines = [machine.state(&world).await, done()];
    let own = machine.bearer();
    let whole = |bytes: Vec<u8>, from: &str, to: &str| {
        String::from_utf8(bytes)
            .unwrap()
            .replacen(from, to, 1)
            .into_bytes()
    };
    let good = || machine.signed_by(&world, &machine.host_key, REPORT_NAMESPACE, "web-1", &lines);
    let late = good().await;
    for (what, body, status) in [
        (
            "another key",
            machine
                .signed_by(&world, &ed25519(), REPORT_NAMESPACE, "web-1", &lines)
                .await,
            403,
        ),
        (
            "another machine's key",
            machine
                .signed_by(&world, &other.host_key, REPORT_NAMESPACE, "web-1", &lines)
                .await,
            403,
        ),
        (
            "another namespace",
            machine
                .signed_by(&world, &machine.host_key, "file", "web-1", &lines)
                .await,
            403,
        ),
        (
            "another name",
            machine
                .signed_by(&world, &machine.host_key, REPORT_NAMESPACE, "web-2", &lines)
                .await,
            403,
        ),
        (
            "changed on the way",
            whole(good().await, "\"ok\"", "\"OK\""),
            403,
        ),
        (
            "no state",
            machine
                .signed_by(
                    &world,
                    &machine.host_key,
                    REPORT_NAMESPACE,
                    "web-1",
                    &[done()],
                )
                .await,
            400,
        ),
        (
            "no end",
            machine
                .signed_by(
                    &world,
                    &machine.host_key,
                    REPORT_NAMESPACE,
                    "web-1",
                    &lines[..1],
                )
                .await,
            400,
        ),
        ("nothing", Vec::new(), 400),
        ("no text", vec![0xff; 200], 400),
        ("W2: too long", vec![b'a'; MAX_PULL_REPORT_BYTES + 1], 400),
    ] {
        let answer = post(&world, "web-1", Some(&own), body).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert!(
            show(&world, "web-1")
                .await
                .pull
                .unwrap()
                .reported_unix
                .is_none(),
            "{what}"
        );
    }
    let body = good().await;
    assert_eq!(
        post(&world, "web-1", Some(&own), body.clone()).await.status,
        204
    );
    assert_eq!(
        post(&world, "web-1", Some(&own), good().await).await.status,
        429,
        "W2: one in a few seconds"
    );
    world.ca.clock.shift(10);
    assert_eq!(
        post(&world, "web-1", Some(&own), body).await.code(),
        "bad_nonce",
        "the same again"
    );
    world.ca.clock.shift(60);
    assert_eq!(
        post(&world, "web-1", Some(&own), late).await.code(),
        "bad_nonce",
        "too late"
    );
    assert_eq!(
        show(&world, "web-2").await.pull.unwrap().reported_unix,
        None
    );
    // A machine that was made anew has another secret: the old disk reads nothing more, and says nothing more.
    let anew = prepare(&world, "web-1", &ed25519(), Value::Null, true).await;
    assert_ne!(
        anew.pull_secret.unwrap().expose(),
        &*machine.secret.to_text()
    );
    assert_eq!(machine.get(&world, "krl").await.status, 401);
    // And where it is removed, nobody's.
    world
        .verb(json!({"verb": "machine_remove", "machine": "web-2", "leave_files": true}))
        .await
        .unwrap();
    assert_eq!(other.get(&world, "krl").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn h8_a_tree_has_the_same_bytes_until_something_changes_and_only_whose_it_is() {
    let world = World::new().await;
    world.pool("web").await;
    let tree = Some("https://mirror.corp.example/ssh-ca");
    let (web_1, web_2) = (
        Puller::new(&world, "web-1", tree).await,
        Puller::new(&world, "web-2", tree).await,
    );
    Puller::new(&world, "web-3", None).await;
    let index = async |plain: bool| match world
        .verb(json!({"verb": "publish_index", "plain": plain}))
        .await
    {
        Ok(AdminReply::PublishIndex(index)) => index,
        other => panic!("{other:?}"),
    };
    let files = async |machine: &str, plain: bool| match world
        .verb(json!({"verb": "publish_files", "machine": machine, "plain": plain}))
        .await
    {
        Ok(AdminReply::PublishedFiles(files)) => files,
        other => panic!("{other:?}"),
    };
    let first = index(false).await;
    assert_eq!(first, index(false).await);
    let places: Vec<_> = first
        .iter()
        .map(|one| (one.machine.as_str(), one.place.clone()))
        .collect();
    assert_eq!(
        places,
        [
            ("web-1", web_1.secret.place()),
            ("web-2", web_2.secret.place())
        ]
    );
    for machine in &first {
        let got = files(&machine.machine, false).await;
        for ((name, text), listed) in got.files.iter().zip(&machine.files) {
            let bytes = STANDARD.decode(text).unwrap();
            assert_eq!(
                (name, ca_server::ca::sha256_hex(&bytes)),
                (&listed.name, listed.sha256.clone())
            );
            let plain = String::from_utf8_lossy(&bytes).into_owned();
            assert!(
                name == "head" || !plain.contains("ssh-ca-"),
                "{name} says something"
            );
        }
    }
    let plain = files("web-1", true).await;
    assert!(
        STANDARD
            .decode(&plain.files[1].1)
            .unwrap()
            .starts_with(b"-----BEGIN SSH SIGNATURE-----")
    );
    // A new person: another bundle for both, the same KRL.
    world.employee("alice@corp.example", &["web"]).await;
    let second = index(false).await;
    for (old, new) in first.iter().zip(&second) {
        assert_eq!(old.files[1], new.files[1], "krl");
        assert_eq!(old.files[2], new.files[2], "no order waits");
        assert_ne!(old.files[3], new.files[3], "bundle");
    }
    assert!(
        world
            .verb(json!({"verb": "publish_files", "machine": "no-such"}))
            .await
            .is_err()
    );
    let host_key = ed25519();
    for wrong in ["ftp://x", "https://a b", "http://x/$(id)", "file:///etc"] {
        let refused = world
            .verb(json!({
                "verb": "machine_prepare", "machine": "web-9", "address": "web-9", "port": 22, "pools": ["web"],
                "host_key": host_key.public_key().to_openssh().unwrap(), "admin_account": "ssh-admin",
                "sshd_version": "OpenSSH_9.2p1", "facts": "{}", "pull": {"tree": wrong},
            }))
            .await;
        assert!(refused.is_err(), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_the_old_tls_ca_is_retired_when_every_machine_that_fetches_knows_the_next_one() {
    let world = World::new().await;
    world.pool("web").await;
    let machine = Puller::new(&world, "web-1", None).await;
    let krl_version = krl(&world).await.version;
    let confirm = json!({"verb": "machine_confirm", "machine": "web-1", "generation": machine.prepared.generation, "krl_version": krl_version});
    world.verb(confirm).await.unwrap();
    let tls = async |verb: Value| match world.verb(verb).await {
        Ok(AdminReply::CaKeys(keys)) => keys,
        other => panic!("{other:?}"),
    };
    let retire = json!({"verb": "ca_retire", "key": "tls"});
    let begun = tls(json!({"verb": "ca_rotate", "key": "tls"})).await;
    assert!(begun.waits);
    assert_eq!(begun.rotations[0].waits_for[0].who, "web-1");
    let trusted = async || {
        let file = machine.get(&world, "bundle").await;
        let bundle = Bundle::decode(&genuine(&world, &file.bytes, "bundle@ssh-ca")).unwrap();
        let text = bundle.files[&Place::PullTrust].clone();
        String::from_utf8(text).unwrap().matches("BEGIN").count()
    };
    assert_eq!(
        trusted().await,
        2,
        "both, so that it finds a path before and after"
    );
    // It says that it stands where it stood before.
    for _ in 0..2 {
        world.ca.clock.shift(10);
        let state = machine.state(&world).await;
        assert_eq!(machine.report(&world, &[state, done()]).await.status, 204);
        let early = tls(retire.clone()).await;
        assert!(
            early.waits && early.did[0].contains("web-1"),
            "{:?}",
            early.did
        );
        assert!(world.ca.tls.announced().is_some(), "nothing was retired");
    }
    let mut state = machine.state(&world).await;
    for key in ["generation", "applied_generation"] {
        state[key] = show(&world, "web-1").await.generation_wanted.into();
    }
    world.ca.clock.shift(10);
    assert_eq!(machine.report(&world, &[state, done()]).await.status, 204);
    let told = tls(retire.clone()).await;
    assert!(!told.waits && told.rotations.is_empty(), "{told:?}");
    assert_eq!(world.ca.tls.announced(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_a_machine_that_fetches_and_is_left_behind_keeps_no_tls_ca() {
    let world = World::new().await;
    world.pool("web").await;
    let machine = Puller::new(&world, "web-1", None).await;
    let krl_version = krl(&world).await.version;
    let confirm = json!({"verb": "machine_confirm", "machine": "web-1", "generation": machine.prepared.generation, "krl_version": krl_version});
    world.verb(confirm).await.unwrap();
    world
        .verb(json!({"verb": "ca_rotate", "key": "tls"}))
        .await
        .unwrap();
    let left = json!({"verb": "ca_retire", "key": "tls", "leave_behind": ["web-1"]});
    world.verb(left).await.unwrap();
    assert_eq!(world.ca.tls.announced(), None);
}

/// The order that lies there, as text; empty where none does.
async fn order(world: &World, machine: &Puller) -> String {
    let answer = machine.get(world, "order").await;
    assert_eq!(answer.status, 200);
    if answer.bytes.is_empty() {
        return String::new();
    }
    let head = machine.get(world, "head").await.text();
    let hash = ca_server::ca::sha256_hex(&answer.bytes);
    assert!(head.ends_with(&format!("\norder {hash}\n")), "{head}");
    String::from_utf8(genuine(world, &answer.bytes, "order@ssh-ca")).unwrap()
}

fn number(order: &str) -> u64 {
    let line = order.lines().nth(2).unwrap();
    line.strip_prefix("number ").unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn r9_an_order_waits_for_a_machine_that_only_fetches_until_that_says_it_obeyed() {
    let world = World::new().await;
    world.pool("web").await;
    let machine = Puller::new(&world, "web-1", None).await;
    assert_eq!(order(&world, &machine).await, "");
    let confirm = json!({"verb": "machine_confirm", "machine": "web-1", "generation": machine.prepared.generation, "krl_version": krl(&world).await.version});
    world.verb(confirm).await.unwrap();
    let waits = async || show(&world, "web-1").await.pull.unwrap().order;
    let state = async |order: u64| {
        let mut state = machine.state(&world).await;
        state["order"] = json!(order);
        world.ca.clock.shift(10);
        let answer = machine.report(&world, &[state, done()]).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    };

    // The end of a session, and of another one: one order for both, good for a day.
    for id in ["web-1:4711-88", "web-1:4712-99"] {
        let ended = world
            .verb(json!({"verb": "session_end", "ids": [id]}))
            .await;
        let Ok(AdminReply::SessionsEnded(ended)) = ended else {
            panic!("{ended:?}")
        };
        assert!(
            ended.not_reached[0].reason.contains("next fetch"),
            "{ended:?}"
        );
    }
    let both = order(&world, &machine).await;
    assert!(
        both.contains("\nmachine web-1\n") && both.contains("\nverb end-sessions\nuntil "),
        "{both}"
    );
    assert!(
        both.ends_with("\nsession 4711 88\nsession 4712 99\nend\n"),
        "{both}"
    );
    state(number(&both) - 1).await;
    assert_eq!(order(&world, &machine).await, both, "not obeyed yet");
    // A number above it was used up there: what it asks for comes again, higher.
    state(number(&both) + 5).await;
    let again = order(&world, &machine).await;
    assert!(
        number(&again) > number(&both) + 5 && again.contains("session 4711 88"),
        "{again}"
    );
    state(number(&again)).await;
    assert_eq!(
        (order(&world, &machine).await.as_str(), waits().await),
        ("", None)
    );

    // What nobody fetches in time is asked of nobody any more.
    world
        .verb(json!({"verb": "session_end", "ids": ["web-1:4711-88"]}))
        .await
        .unwrap();
    assert!(!order(&world, &machine).await.is_empty());
    world.ca.clock.shift(25 * 3600);
    assert_eq!(order(&world, &machine).await, "");

    // It says that the CA is off, and nobody asked for that.
    let farewell = async |number: u64, key: &PrivateKey| {
        let lines = [
            json!({"step": "did", "name": "removed", "detail": number.to_string()}),
            done(),
        ];
        world.ca.clock.shift(10);
        let body = machine
            .signed_by(&world, key, REPORT_NAMESPACE, "web-1", &lines)
            .await;
        post(&world, "web-1", Some(&machine.bearer()), body)
            .await
            .status
    };
    assert_eq!(farewell(7, &machine.host_key).await, 409);
    let removed = async || {
        let reply = world
            .verb(json!({"verb": "machine_remove", "machine": "web-1"}))
            .await;
        match reply {
            Ok(AdminReply::MachineRemoved(removed)) => removed.outcome,
            other => panic!("{other:?}"),
        }
    };
    let outcome = removed().await;
    assert!(
        matches!(
            outcome,
            RemovalOutcome::Fetches {
                tree: None,
                reported_unix: Some(_),
                ..
            }
        ),
        "{outcome:?}"
    );
    let first = order(&world, &machine).await;
    let bound = format!("\ngeneration {}\nend\n", machine.prepared.generation);
    assert!(
        first.contains("\nverb remove\nuntil ") && first.ends_with(&bound),
        "{first}"
    );
    // Asked again, the same lies there.
    removed().await;
    assert_eq!(order(&world, &machine).await, first);
    assert_eq!(waits().await.unwrap().verb, "remove");
    // It died when it began: its number is there, and so is the CA.
    state(number(&first)).await;
    let second = order(&world, &machine).await;
    assert!(number(&second) > number(&first), "{second}");

    // Added again, it leaves no more: another generation, no order, and its last word is a word too late.
    let back = prepare(&world, "web-1", &machine.host_key, Value::Null, false).await;
    assert!(
        back.generation > machine.prepared.generation,
        "an order that was kept back would mean it"
    );
    assert_eq!(order(&world, &machine).await, "");
    assert_eq!(farewell(number(&second), &machine.host_key).await, 409);
    assert_eq!(show(&world, "web-1").await.status, "preparing");

    // And off for good: only its own host key says so.
    let confirm = json!({"verb": "machine_confirm", "machine": "web-1", "generation": back.generation, "krl_version": krl(&world).await.version});
    world.verb(confirm).await.unwrap();
    removed().await;
    let last = number(&order(&world, &machine).await);
    assert_eq!(farewell(last, &ed25519()).await, 403);
    assert_eq!(
        farewell(last + 1, &machine.host_key).await,
        409,
        "an order that was never made"
    );
    assert_eq!(show(&world, "web-1").await.status, "leaving");
    assert_eq!(farewell(last, &machine.host_key).await, 204);
    assert!(
        world
            .verb(json!({"verb": "machine_show", "machine": "web-1"}))
            .await
            .is_err()
    );
    assert_eq!(machine.get(&world, "krl").await.status, 401);
}
