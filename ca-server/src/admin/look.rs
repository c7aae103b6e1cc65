//! What the commands show: nothing here changes anything.

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ca_api::{
    ApiError, ErrorCode,
    admin::{
        AdminReply, CertificateView, EmployeeView, GrantView, KrlEntryView, KrlView, LedgerHead,
        LedgerLine, MachineView, PoolView, TeamView,
    },
};
use policies::{
    Email, Employee, Grant, GrantAccount, Grantee, MachineName, PoolName, Status, Sudo, TeamName,
};
use ssh_key::{Certificate, HashAlg, PublicKey};
use time::OffsetDateTime;

use super::{change::store_error, parse, unknown};
use crate::{
    ca::{Ca, unix_ms},
    ledger::{self, Entry, SignedHead},
    records::{
        CertificateRecord, CertificateState, Compiled, Credentials, FleetRecord, MachineStatus,
        RevocationRecord, Revoked, SeenRecord, fleet, live_certificates, number, open_sessions,
    },
    revoke::krl,
    store::{Direction, KeyRange, Read, ReadError, Snapshot, Table},
};

type Reply = Result<AdminReply, ApiError>;

/// How many ledger entries are shown if nobody says how many.
const LEDGER_LINES: u64 = 50;

fn failed(error: ReadError) -> ApiError {
    store_error(&error.into())
}

fn view(ca: &Ca) -> Result<(Snapshot, Arc<Compiled>), ApiError> {
    let view = ca.db.snapshot().map_err(failed)?;
    let compiled = ca.policy.load(&view).map_err(failed)?;
    Ok((view, compiled))
}

/// The policy as it stands.
pub fn compiled(ca: &Ca) -> Result<Arc<Compiled>, ApiError> {
    Ok(view(ca)?.1)
}

pub fn employees(ca: &Ca) -> Reply {
    let (view, compiled) = view(ca)?;
    let now = ca.clock.now();
    let all = compiled
        .policy
        .employees
        .values()
        .map(|employee| one_employee(&view, &compiled, employee, now))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    Ok(AdminReply::Employees(all))
}

pub fn employee(ca: &Ca, email: &str) -> Reply {
    Ok(AdminReply::Employee(employee_view(ca, &parse(email)?)?))
}

pub fn employee_view(ca: &Ca, email: &Email) -> Result<EmployeeView, ApiError> {
    let (view, compiled) = view(ca)?;
    let employee = compiled
        .policy
        .employees
        .get(email)
        .ok_or_else(|| unknown("employee", email, "employee"))?;
    one_employee(&view, &compiled, employee, ca.clock.now()).map_err(failed)
}

fn one_employee(
    view: &Snapshot,
    compiled: &Compiled,
    employee: &Employee,
    now: OffsetDateTime,
) -> Result<EmployeeView, ReadError> {
    let at = now.unix_timestamp();
    let credentials: Credentials = view
        .get_json(Table::Credentials, employee.email.as_str().as_bytes())?
        .unwrap_or_default();
    let teams = teams_of(compiled, &employee.email);
    let in_force = |grant: &&Grant| grant.until_unix_secs.is_none_or(|until| until > at);
    let theirs = |grant: &&Grant| match &grant.who {
        Grantee::Employee(email) => *email == employee.email,
        Grantee::Team(team) => teams.contains(team),
    };
    let principals: BTreeSet<String> = compiled
        .policy
        .grants
        .values()
        .filter(theirs)
        .filter(in_force)
        .map(|grant| match &grant.account {
            GrantAccount::Own => format!("{}@{}", employee.account, grant.pool),
            GrantAccount::Shared(account) => format!("{account}@{}", grant.pool),
        })
        .collect();
    Ok(EmployeeView {
        email: employee.email.to_string(),
        name: employee.name.clone(),
        account: employee.account.to_string(),
        uid: employee.uid,
        status: status_word(employee.status).to_owned(),
        admin: employee.roles.contains(&policies::Role::Admin),
        epoch: employee.epoch,
        teams: teams.iter().map(ToString::to_string).collect(),
        principals: principals.into_iter().collect(),
        live_certificates: live_certificates(view, &employee.email, at)?.len(),
        sessions: open_sessions(view, &employee.email, at)?.len(),
        last_login_unix: credentials.last_login_unix,
    })
}

/// Teams that somebody is in, through nested ones too.
fn teams_of(compiled: &Compiled, email: &Email) -> BTreeSet<TeamName> {
    let teams = &compiled.policy.teams;
    let mut mine: BTreeSet<TeamName> = teams
        .iter()
        .filter(|(_, team)| team.employees.contains(email))
        .map(|(name, _)| name.clone())
        .collect();
    loop {
        let outer: Vec<TeamName> = teams
            .iter()
            .filter(|(name, team)| !mine.contains(*name) && !team.teams.is_disjoint(&mine))
            .map(|(name, _)| name.clone())
            .collect();
        if outer.is_empty() {
            return mine;
        }
        mine.extend(outer);
    }
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Invited => "invited",
        Status::Active => "active",
        Status::Suspended => "suspended",
        Status::Removed => "removed",
    }
}

pub fn pools(ca: &Ca) -> Reply {
    let compiled = compiled(ca)?;
    let all = compiled
        .policy
        .pools
        .keys()
        .map(|name| one_pool(&compiled, name, ca.clock.now()))
        .collect();
    Ok(AdminReply::Pools(all))
}

pub fn pool(ca: &Ca, pool: &str) -> Reply {
    let name: PoolName = parse(pool)?;
    let compiled = compiled(ca)?;
    super::pool::known(&compiled.policy, &name)?;
    Ok(AdminReply::Pool(one_pool(&compiled, &name, ca.clock.now())))
}

fn one_pool(compiled: &Compiled, name: &PoolName, now: OffsetDateTime) -> PoolView {
    let pool = &compiled.policy.pools[name];
    let who = compiled
        .policy
        .grants
        .values()
        .filter(|grant| grant.pool == *name)
        .filter(|grant| {
            grant
                .until_unix_secs
                .is_none_or(|until| until > now.unix_timestamp())
        })
        .map(|grant| format!("{} as {}", grantee(grant), account(grant)))
        .collect::<BTreeSet<_>>();
    PoolView {
        name: name.to_string(),
        title: pool.title.clone(),
        include: pool.include.iter().map(ToString::to_string).collect(),
        machines: compiled
            .index
            .machines_of(name)
            .into_iter()
            .map(ToString::to_string)
            .collect(),
        who: who.into_iter().collect(),
    }
}

fn grantee(grant: &Grant) -> String {
    match &grant.who {
        Grantee::Employee(email) => email.to_string(),
        Grantee::Team(team) => format!("team {team}"),
    }
}

fn account(grant: &Grant) -> String {
    match &grant.account {
        GrantAccount::Own => "self".to_owned(),
        GrantAccount::Shared(account) => account.to_string(),
    }
}

pub fn teams(ca: &Ca) -> Reply {
    let compiled = compiled(ca)?;
    let all = compiled
        .policy
        .teams
        .keys()
        .map(|name| one_team(&compiled, name))
        .collect();
    Ok(AdminReply::Teams(all))
}

pub fn team(ca: &Ca, team: &str) -> Reply {
    let name: TeamName = parse(team)?;
    let compiled = compiled(ca)?;
    if !compiled.policy.teams.contains_key(&name) {
        return Err(unknown("team", &name, "team"));
    }
    Ok(AdminReply::Team(one_team(&compiled, &name)))
}

fn one_team(compiled: &Compiled, name: &TeamName) -> TeamView {
    let team = &compiled.policy.teams[name];
    TeamView {
        name: name.to_string(),
        employees: team.employees.iter().map(ToString::to_string).collect(),
        teams: team.teams.iter().map(ToString::to_string).collect(),
    }
}

pub fn grants(ca: &Ca) -> Reply {
    let compiled = compiled(ca)?;
    let all = compiled
        .policy
        .grants
        .iter()
        .map(|(id, grant)| one_grant(*id, grant))
        .collect();
    Ok(AdminReply::Grants(all))
}

pub fn grant(ca: &Ca, id: u64) -> Reply {
    let compiled = compiled(ca)?;
    let grant = compiled
        .policy
        .grants
        .get(&id)
        .ok_or_else(|| unknown("grant", id, "grant"))?;
    Ok(AdminReply::Grant(one_grant(id, grant)))
}

fn one_grant(id: u64, grant: &Grant) -> GrantView {
    let conditions = &grant.conditions;
    let mut words = Vec::new();
    if let Some(secs) = conditions.max_lifetime_secs {
        words.push(format!("lifetime {secs} s"));
    }
    if !conditions.sources.is_empty() {
        let from: Vec<&str> = conditions.sources.iter().map(String::as_str).collect();
        words.push(format!("from {}", from.join(", ")));
    }
    if let Some(command) = &conditions.forced_command {
        words.push(format!("only {command:?}"));
    }
    let plain = policies::Conditions::default();
    if conditions.extensions != plain.extensions {
        let allowed: Vec<&str> = conditions
            .extensions
            .iter()
            .map(|extension| extension.openssh_name())
            .collect();
        words.push(if allowed.is_empty() {
            "no terminal".to_owned()
        } else {
            allowed.join(", ")
        });
    }
    if grant.system_account {
        words.push("system account".to_owned());
    }
    GrantView {
        id,
        who: grantee(grant),
        account: account(grant),
        pool: grant.pool.to_string(),
        sudo: match &grant.sudo {
            Sudo::None => "none".to_owned(),
            Sudo::All => "all".to_owned(),
            Sudo::Commands(commands) => commands.iter().cloned().collect::<Vec<_>>().join(","),
        },
        conditions: words.join("; "),
        until_unix: grant.until_unix_secs,
    }
}

pub fn machines(ca: &Ca) -> Reply {
    let (view, compiled) = view(ca)?;
    let all = fleet(&view)
        .map_err(failed)?
        .into_iter()
        .map(|(name, record)| one_machine(&view, &compiled, &name, record, ca.clock.now()))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    Ok(AdminReply::Machines(all))
}

pub fn machine(ca: &Ca, machine: &str) -> Reply {
    let name: MachineName = parse(machine)?;
    let (view, compiled) = view(ca)?;
    let record: Option<FleetRecord> = view
        .get_json(Table::Fleet, name.as_str().as_bytes())
        .map_err(failed)?;
    let record = record.ok_or_else(|| unknown("machine", &name, "machine"))?;
    one_machine(&view, &compiled, &name, record, ca.clock.now())
        .map(AdminReply::Machine)
        .map_err(failed)
}

fn one_machine(
    view: &Snapshot,
    compiled: &Compiled,
    name: &MachineName,
    record: FleetRecord,
    now: OffsetDateTime,
) -> Result<MachineView, ReadError> {
    let seen: SeenRecord = view
        .get_json(Table::Seen, name.as_str().as_bytes())?
        .unwrap_or_default();
    let krl: Option<crate::records::KrlRecord> =
        view.get_json(Table::Krl, crate::records::KRL_CURRENT)?;
    let pools = compiled
        .policy
        .machines
        .get(name)
        .map(|machine| &machine.pools);
    Ok(MachineView {
        name: name.to_string(),
        address: record.address,
        port: record.port,
        pools: pools
            .into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect(),
        status: match record.status {
            MachineStatus::Preparing => "preparing",
            MachineStatus::Managed => "managed",
        }
        .to_owned(),
        observed: record.observed,
        generation_wanted: record.generation,
        generation: seen.generation,
        krl_wanted: krl.map_or(0, |krl| krl.version),
        krl_version: seen.krl_version,
        last_seen_unix: seen.last_seen_unix,
        trouble: seen.trouble,
        host_key: PublicKey::from_openssh(&record.host_key)
            .map(|key| key.fingerprint(HashAlg::Sha256).to_string())
            .unwrap_or_default(),
        host_certificate_until_unix: record.host_certificate_until_unix,
        who: who(compiled, name, now),
    })
}

/// Who reaches a machine, as whom: `alice@corp.example as alice`.
pub fn who(compiled: &Compiled, machine: &MachineName, now: OffsetDateTime) -> Vec<String> {
    let mut who = Vec::new();
    for email in compiled.policy.employees.keys() {
        for cell in policies::reach(&compiled.index, email, now) {
            if cell.machine == *machine {
                who.push(format!("{email} as {}", cell.account));
            }
        }
    }
    who
}

pub async fn krl(ca: &Ca) -> Reply {
    let record = krl::current(ca).await.map_err(krl_failed)?;
    let (view, _) = view(ca)?;
    let mut entries: Vec<KrlEntryView> = view
        .scan_json::<RevocationRecord>(Table::Revocations, &KeyRange::all(), usize::MAX)
        .map_err(failed)?
        .into_iter()
        .map(|(_, entry)| KrlEntryView {
            what: entry.what.describe(),
            at_unix: entry.at_unix,
            until_unix: entry.until_unix,
            reason: entry.reason,
        })
        .collect();
    entries.reverse();
    let (mut machines, mut current) = (0, 0);
    for (name, fleet_record) in fleet(&view).map_err(failed)? {
        if fleet_record.status == MachineStatus::Managed {
            machines += 1;
            let seen: Option<SeenRecord> = view
                .get_json(Table::Seen, name.as_str().as_bytes())
                .map_err(failed)?;
            current += usize::from(seen.is_some_and(|seen| seen.krl_version == record.version));
        }
    }
    let bytes = STANDARD.decode(&record.krl).unwrap_or_default().len();
    Ok(AdminReply::Krl(KrlView {
        version: record.version,
        built_unix: record.built_unix,
        bytes,
        entries,
        machines_current: current,
        machines,
    }))
}

fn krl_failed(error: krl::KrlError) -> ApiError {
    tracing::error!(%error, "the KRL could not be built");
    ApiError::new(ErrorCode::Unavailable, error.to_string())
}

pub async fn krl_file(ca: &Ca) -> Reply {
    let record = krl::current(ca).await.map_err(krl_failed)?;
    Ok(AdminReply::KrlFile(record.krl))
}

/// What OpenSSH itself says of a certificate with the KRL in force.
pub async fn krl_check(ca: &Ca, certificate: &str) -> Reply {
    let parsed = Certificate::from_openssh(certificate)
        .map_err(|_| ApiError::new(ErrorCode::Invalid, "this is not an OpenSSH certificate"))?;
    let record = krl::current(ca).await.map_err(krl_failed)?;
    let failed = |error: std::io::Error| {
        ApiError::new(
            ErrorCode::Unavailable,
            format!("the check cannot be run: {error}"),
        )
    };
    let dir = tempfile::tempdir().map_err(failed)?;
    let (list, file) = (dir.path().join("krl"), dir.path().join("id-cert.pub"));
    std::fs::write(&list, STANDARD.decode(&record.krl).unwrap_or_default()).map_err(failed)?;
    std::fs::write(&file, certificate).map_err(failed)?;
    let says = krl::openssh_says(&list, &file).map_err(failed)?;
    let word = match says {
        Some(true) => "REVOKED",
        Some(false) => "good",
        None => {
            return Err(ApiError::new(
                ErrorCode::Unavailable,
                "OpenSSH cannot read the KRL in force",
            ));
        }
    };
    Ok(AdminReply::Text(format!(
        "serial {} of {}: {word} (KRL {})",
        parsed.serial(),
        parsed.key_id(),
        record.version
    )))
}

pub fn certificates(ca: &Ca, employee: Option<&str>, live: bool) -> Reply {
    let email: Option<Email> = employee.map(parse).transpose()?;
    let (view, compiled) = view(ca)?;
    if let Some(email) = &email
        && !compiled.policy.employees.contains_key(email)
    {
        return Err(unknown("employee", email, "employee"));
    }
    let now = ca.clock.now().unix_timestamp();
    let revoked = Revocations::read(&view).map_err(failed)?;
    let mut all = Vec::new();
    for (key, record) in view
        .scan_json::<CertificateRecord>(Table::Certificates, &KeyRange::all(), usize::MAX)
        .map_err(failed)?
    {
        let holder = record
            .key_id
            .rsplit_once('/')
            .map_or("", |(holder, _)| holder);
        let theirs = email.as_ref().is_none_or(|email| holder == email.as_str());
        if theirs && (!live || record.is_live(now)) {
            let serial = number(Table::Certificates, &key).map_err(failed)?;
            all.push(revoked.view(serial, record));
        }
    }
    all.sort_by_key(|certificate| (certificate.valid_after_unix, certificate.serial));
    Ok(AdminReply::Certificates(all))
}

pub fn certificate(ca: &Ca, serial: u64) -> Reply {
    let (view, _) = view(ca)?;
    let record: Option<CertificateRecord> = view
        .get_json(Table::Certificates, &serial.to_be_bytes())
        .map_err(failed)?;
    let record = record.ok_or_else(|| unknown("certificate with serial", serial, "cert"))?;
    let revoked = Revocations::read(&view).map_err(failed)?;
    Ok(AdminReply::Certificate(revoked.view(serial, record)))
}

/// What is revoked, for looking certificates up.
struct Revocations(BTreeSet<Revoked>);

impl Revocations {
    fn read(view: &Snapshot) -> Result<Self, ReadError> {
        let all =
            view.scan_json::<RevocationRecord>(Table::Revocations, &KeyRange::all(), usize::MAX)?;
        Ok(Self(
            all.into_iter().map(|(_, record)| record.what).collect(),
        ))
    }

    fn view(&self, serial: u64, record: CertificateRecord) -> CertificateView {
        let by_serial = Revoked::Serial {
            ca: record.ca.clone(),
            serial,
        };
        let revoked = self.0.contains(&by_serial)
            || self.0.contains(&Revoked::KeyId(record.key_id.clone()))
            || self.0.contains(&Revoked::Key(record.subject.clone()));
        CertificateView {
            serial,
            key_id: record.key_id,
            key: record.subject,
            principals: record.principals,
            valid_after_unix: i64::try_from(record.valid_after_unix).unwrap_or(i64::MAX),
            valid_before_unix: i64::try_from(record.valid_before_unix).unwrap_or(i64::MAX),
            state: match record.state {
                CertificateState::Intent => "intent",
                CertificateState::Issued => "issued",
                CertificateState::Failed => "failed",
            }
            .to_owned(),
            revoked,
        }
    }
}

pub fn ledger(ca: &Ca, last: Option<u64>, about: Option<&str>) -> Reply {
    let (view, _) = view(ca)?;
    let limit = usize::try_from(last.unwrap_or(LEDGER_LINES)).unwrap_or(usize::MAX);
    let mut lines = Vec::new();
    let mut broken = None;
    view.visit(
        Table::Ledger,
        &KeyRange::all(),
        Direction::Backward,
        &mut |_, bytes| {
            use std::ops::ControlFlow;
            match Entry::from_bytes(bytes) {
                Ok(entry) => {
                    let line = line(&entry);
                    if about.is_none_or(|about| concerns(&entry, &line, about)) {
                        lines.push(line);
                    }
                }
                Err(error) => {
                    broken = Some(error);
                    return ControlFlow::Break(());
                }
            }
            if lines.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        },
    )
    .map_err(failed)?;
    if let Some(error) = broken {
        return Err(failed(error));
    }
    lines.reverse();
    Ok(AdminReply::Ledger(lines))
}

fn line(entry: &Entry) -> LedgerLine {
    LedgerLine {
        seq: entry.seq,
        at_unix: entry.at_unix_ms / 1000,
        actor: ledger::printable(&entry.actor.to_string()),
        event: entry.event.word(),
        about: entry.event.about(),
        detail: entry.event.detail(),
    }
}

fn concerns(entry: &Entry, line: &LedgerLine, about: &str) -> bool {
    line.about == about
        || entry.event.employee().as_deref() == Some(about)
        || line.actor.contains(about)
}

pub fn verify(ca: &Ca, head: Option<&str>) -> Reply {
    let (view, _) = view(ca)?;
    let refused = |what: String| {
        ApiError::new(ErrorCode::Conflict, what)
            .hint("the ledger was changed outside of this CA: keep the data folder as it is, and look who could write there")
    };
    let from = match head {
        None => ledger::Head::genesis(&ca.db.ca_id()),
        Some(text) => text
            .parse::<SignedHead>()
            .and_then(|signed| signed.check(&ca.db.ca_id(), ca.keys.ledger.public_key()))
            .map_err(|error| {
                ApiError::new(
                    ErrorCode::Invalid,
                    format!("the exported head cannot be used: {error}"),
                )
            })?,
    };
    // From the beginning always: an exported head proves that nothing before it was changed since.
    ledger::verify_all(&view, &ca.db.ca_id()).map_err(|error| refused(error.to_string()))?;
    ledger::verify(&view, &from).map_err(|error| refused(error.to_string()))?;
    Ok(AdminReply::Verified(signed_head(ca, &view)?))
}

pub fn head(ca: &Ca) -> Reply {
    let (view, _) = view(ca)?;
    Ok(AdminReply::LedgerHead(signed_head(ca, &view)?))
}

fn signed_head(ca: &Ca, view: &Snapshot) -> Result<LedgerHead, ApiError> {
    let head = view.head();
    let signed = SignedHead::sign(
        &ca.db.ca_id(),
        &head,
        unix_ms(ca.clock.now()),
        &ca.keys.ledger,
    )
    .map_err(|error| ApiError::new(ErrorCode::Unavailable, error.to_string()))?;
    Ok(LedgerHead {
        entries: head.entries,
        hash: data_encoding::HEXLOWER.encode(&head.hash),
        signature: signed.to_string(),
    })
}
