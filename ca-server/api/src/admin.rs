//! What an admin says to the CA (over the Unix socket, or with an admin session over HTTPS), and hears.
//!
//! One request, then a stream of events, one JSON object a line: progress as it happens, and at the end exactly one
//! [`AdminEvent::Done`] or [`AdminEvent::Failed`].

use serde::{Deserialize, Serialize};

use crate::{ApiError, Secret};

pub mod break_glass;
pub mod clock;
pub mod keys;
pub mod machines;
pub mod policy;
pub mod recovery;
pub mod request;
pub mod spec;
pub mod view;

pub use break_glass::*;
pub use clock::*;
pub use keys::*;
pub use machines::*;
pub use policy::*;
pub use recovery::*;
pub use request::*;
pub use spec::*;
pub use view::*;

/// One line of the answer's stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AdminEvent {
    /// A decision is durable, or something else worth a line.
    Note {
        /// The line.
        text: String,
    },
    /// A machine is done, one way or the other.
    Machine {
        /// How many are done.
        done: usize,
        /// Of how many.
        total: usize,
        /// Which.
        state: MachineDelivery,
    },
    /// The end, well.
    Done {
        /// The answer.
        reply: Box<AdminReply>,
    },
    /// The end, badly.
    Failed {
        /// Why.
        error: ApiError,
    },
}

/// The answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum AdminReply {
    /// A sentence.
    Text(String),
    /// An invitation.
    Invited(Invitation),
    /// One employee.
    Employee(EmployeeView),
    /// All of them.
    Employees(Vec<EmployeeView>),
    /// One pool.
    Pool(PoolView),
    /// All of them.
    Pools(Vec<PoolView>),
    /// One team.
    Team(TeamView),
    /// All of them.
    Teams(Vec<TeamView>),
    /// One grant.
    Grant(GrantView),
    /// All of them.
    Grants(Vec<GrantView>),
    /// What a document would change.
    PolicyPlanned(Box<PolicyPlanned>),
    /// What a document did change.
    PolicyApplied(Box<PolicyApplied>),
    /// The policy as a document.
    PolicyDocument(PolicyDocument),
    /// Who reaches what.
    PolicyMatrix(PolicyMatrix),
    /// Lines of comma-separated values.
    Csv(String),
    /// Why somebody gets in, or not.
    PolicyExplained(Box<PolicyExplained>),
    /// One machine.
    Machine(MachineView),
    /// All of them.
    Machines(Vec<MachineView>),
    /// What came of removing a machine.
    MachineRemoved(MachineRemoved),
    /// What to apply.
    MachinePrepared(MachinePrepared),
    /// Certificates for the proof.
    ProbeCertificates(ProbeCertificates),
    /// A revocation, and what is proven of it.
    Revoked(Revocation),
    /// The KRL's content.
    Krl(KrlView),
    /// The KRL file, base64.
    KrlFile(String),
    /// What OpenSSH says of a certificate with the KRL in force.
    KrlJudged(KrlJudgement),
    /// What a sync did.
    Synced(Vec<MachineDelivery>),
    /// What a published tree holds.
    PublishIndex(Vec<PublishedMachine>),
    /// The files of one machine in it.
    PublishedFiles(PublishedFiles),
    /// What a check-up found.
    Checked(Vec<MachineCheck>),
    /// The static keys of machines.
    Keys(Vec<MachineKeys>),
    /// Live sessions.
    Sessions(SessionsView),
    /// What came of ending sessions.
    SessionsEnded(SessionsEnded),
    /// The CA's own keys.
    CaKeys(CaKeys),
    /// Certificates.
    Certificates(Vec<CertificateView>),
    /// One of them.
    Certificate(CertificateView),
    /// Ledger entries, oldest first.
    Ledger(Vec<LedgerLine>),
    /// The chain is whole.
    Verified(LedgerHead),
    /// The head.
    LedgerHead(LedgerHead),
    /// How the break-glass credentials stand.
    BreakGlass(BreakGlassView),
    /// How it stands after a restore.
    Recovery(RecoveryView),
    /// How the CA's clock stands.
    Clock(ClockView),
}

/// An invitation, told once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invitation {
    /// Whom it is for.
    pub employee: EmployeeView,
    /// The one-time code.
    pub code: Secret,
    /// When it ends.
    pub expires_unix: i64,
    /// The server's URL, as the employee reaches it.
    pub url: String,
    /// `SHA256:…` of the server's TLS CA certificate (DER).
    pub fingerprint: String,
}
