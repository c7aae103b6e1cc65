//! Answers for people: pure functions from an answer and a clock to text, with colour only where it carries meaning.
//!
//! Colour is written as ANSI sequences; whoever prints strips them where nobody can see them (`anstream`).

use ca_api::admin::{AdminReply, Invitation};

use super::{
    text::{line, shell_word},
    time::Clock,
};

pub mod audit;
pub mod backup;
pub mod break_glass;
pub mod ca;
pub mod cert;
pub mod checkup;
pub mod clock;
pub mod delivery;
pub mod employee;
pub mod explain;
pub mod grant;
pub mod keys;
pub mod krl;
pub mod machine;
pub mod matrix;
pub mod policy;
pub mod pool;
pub mod recovery;
pub mod revocation;
pub mod session;
pub mod setup;
pub mod table;
pub mod team;

/// What a rendering may depend on beside the answer.
#[derive(Debug, Clone)]
pub struct Context {
    /// The moment and the zone.
    pub clock: Clock,
    /// The employee whom the command was about, if it was about one who can come back.
    pub employee: Option<String>,
    /// How wide the terminal is; `None` where there is none.
    pub width: Option<usize>,
}

/// Any answer, for people.
#[must_use]
pub fn reply(reply: &AdminReply, context: &Context) -> String {
    let clock = context.clock;
    match reply {
        AdminReply::Text(text) => format!("{}\n", super::text::block(text).trim_end()),
        AdminReply::Invited(invitation) => format!("{}\n", paste_line(invitation)),
        AdminReply::Employee(one) => employee::one(one, clock),
        AdminReply::Employees(all) => employee::all(all, clock),
        AdminReply::Pool(one) => pool::one(one),
        AdminReply::Pools(all) => pool::all(all),
        AdminReply::Team(one) => team::one(one),
        AdminReply::Teams(all) => team::all(all),
        AdminReply::Grant(one) => grant::all(std::slice::from_ref(one), clock),
        AdminReply::Grants(all) => grant::all(all, clock),
        AdminReply::PolicyPlanned(planned) => {
            policy::planned(planned, policy::Then::SayNext, clock)
        }
        AdminReply::PolicyApplied(applied) => policy::applied(applied, clock),
        AdminReply::PolicyDocument(document) => super::text::block(&document.text),
        AdminReply::PolicyMatrix(table) => matrix::table(table, context.width),
        AdminReply::Csv(text) => text.clone(),
        AdminReply::PolicyExplained(explained) => explain::explained(explained, clock),
        AdminReply::Machine(one) => machine::one(one, clock),
        AdminReply::Machines(all) => machine::all(all, clock),
        AdminReply::MachineRemoved(removed) => machine::removed(removed, context.clock),
        AdminReply::Revoked(revocation) => revocation::revoked(revocation, context),
        AdminReply::Krl(view) => krl::view(view, clock),
        AdminReply::KrlJudged(judged) => format!(
            "serial {} of {}: {} (KRL {})\n",
            judged.serial,
            line(&judged.key_id),
            if judged.revoked { "REVOKED" } else { "good" },
            judged.krl_version
        ),
        AdminReply::KrlFile(base64) => format!("{}\n", line(base64)),
        AdminReply::Synced(machines) => delivery::synced(machines, clock),
        AdminReply::Checked(machines) => checkup::checked(machines),
        AdminReply::Keys(machines) => keys::all(machines, clock),
        AdminReply::Sessions(view) => session::all(view, clock),
        AdminReply::SessionsEnded(outcome) => session::ended(outcome),
        AdminReply::CaKeys(all) => ca::keys(all, clock),
        AdminReply::Certificates(all) => cert::all(all, clock),
        AdminReply::Certificate(one) => cert::one(one, clock),
        AdminReply::Ledger(lines) => audit::lines(lines, clock),
        AdminReply::Verified(head) => audit::verified(head),
        AdminReply::LedgerHead(head) => audit::signed_head(head),
        AdminReply::BreakGlass(view) => break_glass::view(view, clock),
        AdminReply::Recovery(view) => recovery::view(view, clock),
        AdminReply::Clock(view) => clock::view(view, clock),
        AdminReply::PublishIndex(_) | AdminReply::PublishedFiles(_) => {
            "The answer is meant for `ca-server publish`; --json shows it.\n".to_owned()
        }
        AdminReply::MachinePrepared(_) | AdminReply::ProbeCertificates(_) => {
            "The answer is meant for `bootstrap`; --json shows it.\n".to_owned()
        }
    }
}

/// The one line that an invited employee pastes.
#[must_use]
pub fn paste_line(invitation: &Invitation) -> String {
    format!(
        "ca-client setup {} --fingerprint {} && ca-client enrol {}",
        shell_word(&invitation.url),
        shell_word(&invitation.fingerprint),
        shell_word(invitation.code.expose()),
    )
}

/// What stands around that line: before it, and after it.
#[must_use]
pub fn around_paste_line(invitation: &Invitation, clock: Clock) -> (String, String) {
    let employee = &invitation.employee;
    let reach = if employee.principals.is_empty() {
        "They reach no machine yet: `ca-server grant add` or `employee set --pool` gives them one."
            .to_owned()
    } else {
        format!(
            "They will reach: {}.",
            line(&employee.principals.join(", "))
        )
    };
    let before = format!(
        "{} is invited; account {} (uid {}). {reach}\n\
         Hand them this line over a way that only they can read. It works once, until {}:\n\n",
        line(&employee.email),
        line(&employee.account),
        employee.uid,
        clock.until(invitation.expires_unix),
    );
    let after = format!(
        "\nLost, or too late? `ca-server employee reset {}` makes a new one.\n",
        line(&employee.email)
    );
    (before, after)
}
