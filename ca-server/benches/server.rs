//! What a certificate costs: in process, over the API, and at the login's door beside the least it could cost.
//!
//! Figures are printed side by side in one run. The store lies in the temporary folder (`TMPDIR`): point it at the disk in
//! question. Renewals run against a child process, so that the server's CPU time and the clients' can be told apart.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a bench that fails should stop; it shares the world of the tests and uses a part of it"
)]

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use ca_server::{
    config::Argon2Config,
    issue::{self, RecordError, SignedBy},
    ledger::{Actor, CertificateKind},
    session::{
        plan::{Planned, plan},
        possession::ProvenKey,
    },
};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ssh_key::PrivateKey;

#[path = "../tests/server/world.rs"]
mod world;

use world::{CHEAP, Session, World};

/// Clients of the renewals, and tasks of the issuance in process.
const CLIENTS: usize = 64;
/// How long each figure is measured.
const MEASURED: Duration = Duration::from_secs(5);
/// Makes this program the server of the renewals.
const SERVER: &str = "SSH_CA_BENCH_SERVER";

fn main() {
    // `cargo test --benches` passes no `--bench`: nothing to measure then.
    if std::env::var_os(SERVER).is_some() {
        return multi().block_on(serve());
    }
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!(
        "{:<44} {:>9} {:>12} {:>12} {:>9} {:>9}",
        "", "per s", "server ms", "client ms", "p50 ms", "p99 ms"
    );
    one_thread().block_on(issuance());
    renewals();
    multi().block_on(logins());
}

fn multi() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

fn one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

struct Figures {
    what: String,
    took: Duration,
    millis: Vec<f64>,
    server_cpu: Duration,
    client_cpu: Duration,
}

impl Figures {
    fn print(mut self) {
        self.millis.sort_by(f64::total_cmp);
        let count = self.millis.len();
        let each = |cpu: Duration| cpu.as_secs_f64() * 1000.0 / count as f64;
        println!(
            "{:<44} {:>9.0} {:>12.3} {:>12.3} {:>9.2} {:>9.2}",
            self.what,
            count as f64 / self.took.as_secs_f64(),
            each(self.server_cpu),
            each(self.client_cpu),
            self.millis[count / 2],
            self.millis[count * 99 / 100],
        );
    }
}

/// CPU time of this process, all threads.
fn own_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let part = |time: nix::sys::time::TimeVal| {
        Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000)
    };
    part(usage.user_time()) + part(usage.system_time())
}

/// CPU time of another process, all threads, in the kernel's ticks of 10 ms.
fn cpu_of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Decision, rehearsal, intent, signature, second parse, outcome: one thread that issues, and the store's writer.
async fn issuance() {
    for (what, world) in [
        ("issuance in process, memory", World::in_memory(CHEAP).await),
        ("issuance in process, redb", World::new().await),
    ] {
        world.pool("web").await;
        let alice = world.employee("alice@corp.example", &["web"]).await;
        let proven = Arc::new(ProvenKey {
            key: alice.key.public_key().clone(),
            kind: policies::KeyKind::Plain,
            subject: policies::acceptable_subject(alice.key.public_key(), []).unwrap(),
        });
        let email: policies::Email = alice.email.parse().unwrap();
        let (started, cpu) = (Instant::now(), own_cpu());
        let tasks: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (ca, proven, email) =
                    (Arc::clone(&world.ca), Arc::clone(&proven), email.clone());
                tokio::spawn(async move {
                    let mut millis = Vec::new();
                    while started.elapsed() < MEASURED {
                        let began = Instant::now();
                        let moment = ca.clock.steady().unwrap();
                        let now = moment.at();
                        let narrow = policies::Narrow::default();
                        let Planned::Orders(plan) =
                            plan(&ca, &email, None, &narrow, &proven, moment).unwrap()
                        else {
                            panic!("nothing granted")
                        };
                        let by = SignedBy::current(&plan.keys, CertificateKind::User);
                        let linted = plan.linted.clone();
                        let at = ca_server::ca::unix_ms(now);
                        let recorded = ca
                            .db
                            .write_async(move |txn| {
                                issue::record(txn, &linted, &by, &Actor::Server, at)
                            })
                            .await
                            .map_err(|error: ca_server::store::WriteError<RecordError>| {
                                error.to_string()
                            })
                            .unwrap();
                        let issued = issue::sign_and_conclude(&ca, recorded, Actor::Server).await;
                        assert_eq!(issued.unwrap().into_texts().len(), 1);
                        millis.push(began.elapsed().as_secs_f64() * 1000.0);
                    }
                    millis
                })
            })
            .collect();
        let mut millis = Vec::new();
        for task in tasks {
            millis.extend(task.await.unwrap());
        }
        let (took, spent) = (started.elapsed(), own_cpu() - cpu);
        let a_core = millis.len() as f64 / spent.as_secs_f64();
        Figures {
            what: format!("{what} ({a_core:.0} a CPU second)"),
            took,
            millis,
            server_cpu: spent,
            client_cpu: Duration::ZERO,
        }
        .print();
    }
}

/// What the server's process tells the clients'.
#[derive(Serialize, Deserialize)]
struct Setting {
    address: SocketAddr,
    tls_ca: String,
    ca_id: String,
    sessions: Vec<Held>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Held {
    id: String,
    secret: String,
    key: String,
    tag: String,
    nonce: String,
}

/// The server's process: 64 people logged in, then it serves until its standard input ends.
async fn serve() {
    let world = World::new().await;
    world.pool("web").await;
    let mut sessions = Vec::new();
    for n in 0..CLIENTS {
        let person = world
            .employee(&format!("p{n}@corp.example"), &["web"])
            .await;
        let Session {
            id, secret, issued, ..
        } = world.login(&person).await;
        sessions.push(Held {
            id,
            secret,
            key: person
                .key
                .to_openssh(ssh_key::LineEnding::LF)
                .unwrap()
                .to_string(),
            tag: issued.directory_tag,
            nonce: String::new(),
        });
    }
    for held in &mut sessions {
        held.nonce = world.nonce().await;
    }
    let setting = Setting {
        address: world.address,
        tls_ca: String::from_utf8(world::template().tls_ca.clone()).unwrap(),
        ca_id: world.ca.keys().ca_id(),
        sessions,
    };
    println!("{}", serde_json::to_string(&setting).unwrap());
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
        .await
        .unwrap()
        .unwrap();
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Connections {
    Kept,
    Resumed,
    Fresh,
}

fn renewals() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(SERVER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let mut setting: Setting = serde_json::from_str(&line).unwrap();
    let runtime = one_thread();
    for (what, connections) in [
        ("renewals, 64 clients on kept TLS", Connections::Kept),
        (
            "renewals, a resumed TLS connection each",
            Connections::Resumed,
        ),
        ("renewals, a new TLS connection each", Connections::Fresh),
    ] {
        runtime.block_on(clients(what, connections, &mut setting, child.id()));
    }
    drop(child.stdin.take());
    child.wait().unwrap();
}

async fn clients(what: &str, connections: Connections, setting: &mut Setting, server: u32) {
    let mut config = Arc::unwrap_or_clone(world::trusting(setting.tls_ca.as_bytes()));
    if connections != Connections::Resumed {
        config.resumption = rustls::client::Resumption::disabled();
    }
    let config = Arc::new(config);
    let (started, mine, theirs) = (Instant::now(), own_cpu(), cpu_of(server));
    let tasks: Vec<_> = setting
        .sessions
        .iter()
        .map(|held| {
            let (held, config) = (held.clone(), Arc::clone(&config));
            let (address, ca_id) = (setting.address, setting.ca_id.clone());
            tokio::spawn(client(held, config, address, ca_id, connections, started))
        })
        .collect();
    let mut millis = Vec::new();
    for (task, held) in tasks.into_iter().zip(&mut setting.sessions) {
        let (after, took) = task.await.unwrap();
        *held = after;
        millis.extend(took);
    }
    Figures {
        what: what.to_owned(),
        took: started.elapsed(),
        millis,
        server_cpu: cpu_of(server) - theirs,
        client_cpu: own_cpu() - mine,
    }
    .print();
}

async fn client(
    mut held: Held,
    config: Arc<rustls::ClientConfig>,
    address: SocketAddr,
    ca_id: String,
    connections: Connections,
    started: Instant,
) -> (Held, Vec<f64>) {
    let key = PrivateKey::from_openssh(&held.key).unwrap();
    let blob = world::blob(&key);
    let mut kept = None;
    let mut millis = Vec::new();
    while started.elapsed() < MEASURED {
        let began = Instant::now();
        let message = ca_api::proof::renew_message(&ca_id, &held.nonce, &held.id, &blob);
        let body = json!({
            "session_id": held.id, "session_secret": held.secret, "nonce": held.nonce,
            "proof": world::sshsig(&key, ca_api::proof::RENEW_NAMESPACE, &message),
            "directory_tag": held.tag,
        });
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => world::connect(address, &config).await,
        };
        let bytes = body.to_string().into();
        let answer = world::send(&mut connection, "POST", "/v1/renew", &[], bytes).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer: Value = serde_json::from_slice(&answer.bytes).unwrap();
        held.nonce = answer["next_nonce"].as_str().unwrap().to_owned();
        assert!(answer["certificates"][0].is_string());
        // The first renewal after the last person came brings a directory; from then on it is known.
        held.tag = answer["directory_tag"].as_str().unwrap().to_owned();
        if connections == Connections::Kept {
            kept = Some(connection);
        }
        millis.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    (held, millis)
}

/// A whole login beside its floor: a TLS handshake, one Argon2 run, one durable commit; interleaved, at the default cost.
async fn logins() {
    let world = World::with(Argon2Config::default()).await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let stored = world
        .ca
        .hasher
        .hash(&ca_api::Secret::new(alice.password.clone()))
        .await
        .unwrap();
    let mut config = rustls::ClientConfig::clone(&world.client);
    config.resumption = rustls::client::Resumption::disabled();
    let config = Arc::new(config);
    let (mut floors, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..40 {
        let began = Instant::now();
        drop(world::connect(world.address, &config).await);
        let password = ca_api::Secret::new(alice.password.clone());
        world
            .ca
            .hasher
            .verify(&password, Some(&stored))
            .await
            .unwrap();
        let version = "a bench".to_owned();
        world
            .ca
            .db
            .write_async(move |txn| {
                let version = version.clone();
                let event = ca_server::ledger::Event::ServerStarted { version };
                txn.record(0, &Actor::Server, &event);
                Ok::<_, ca_server::store::ReadError>(())
            })
            .await
            .unwrap();
        floors.push(began.elapsed());

        let body = world.login_body(&alice).await.to_string();
        let began = Instant::now();
        let mut connection = world::connect(world.address, &config).await;
        let answer = world::send(&mut connection, "POST", "/v1/login", &[], body.into()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        whole.push(began.elapsed());
    }
    floors.sort();
    whole.sort();
    let ms = |all: &[Duration], at: usize| all[all.len() * at / 100].as_secs_f64() * 1000.0;
    println!(
        "\nlogin p50 {:.1} ms, its floor p50 {:.1} ms: {:.2} × the floor (p10 {:.2} ×, p90 {:.2} ×)",
        ms(&whole, 50),
        ms(&floors, 50),
        ms(&whole, 50) / ms(&floors, 50),
        ms(&whole, 10) / ms(&floors, 10),
        ms(&whole, 90) / ms(&floors, 90),
    );
}
