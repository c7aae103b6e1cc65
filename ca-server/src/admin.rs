//! The admin commands: one function behind every door (P5), each change in one transaction with its ledger entry.

mod break_glass;
mod ca_move;
pub mod change;
pub mod checkup;
mod clock;
pub mod door;
mod employee;
mod grant;
mod look;
pub mod machine;
mod place;
pub mod policy;
mod pool;
mod publish;
mod recovery;
mod revoke;
mod rotation;
mod session;
mod static_keys;
mod team;

use std::sync::Arc;

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminEvent, AdminReply, AdminRequest},
};
use tokio::sync::mpsc;

use crate::{
    ca::Ca,
    fleet::{agent::SyncAgent, courier::Courier, ssh},
    ledger::Actor,
};

/// Carries out admin commands.
pub struct Admin {
    ca: Arc<Ca>,
    agent: Arc<SyncAgent>,
    courier: Arc<Courier>,
}

/// Where progress goes.
pub type Events = mpsc::Sender<AdminEvent>;

impl Admin {
    /// For this CA, speaking to machines through `agent`; starts the work with its fleet.
    #[must_use]
    pub fn new(ca: Arc<Ca>, agent: Arc<SyncAgent>) -> Self {
        let courier = ssh::start(&ca, &agent);
        Self { ca, agent, courier }
    }

    /// Who speaks to the machines.
    #[must_use]
    pub fn courier(&self) -> &Arc<Courier> {
        &self.courier
    }

    /// Carries out one command for `actor`, who was let in by the door.
    ///
    /// # Errors
    /// What went wrong, for the admin.
    pub async fn run(
        &self,
        actor: Actor,
        request: AdminRequest,
        events: &Events,
    ) -> Result<AdminReply, ApiError> {
        use AdminRequest as R;
        let ca = &self.ca;
        match request {
            R::EmployeeAdd {
                email,
                account,
                name,
                pools,
                teams,
                admin,
            } => {
                let new = employee::New {
                    email,
                    account,
                    name,
                    pools,
                    teams,
                    admin,
                };
                employee::add(ca, actor, new).await
            }
            R::EmployeeList {} => look::employees(ca),
            R::EmployeeShow { email } => look::employee(ca, &email),
            R::EmployeeSet {
                email,
                name,
                admin,
                add_pools,
                remove_pools,
            } => {
                let set = employee::Set {
                    name,
                    admin,
                    add_pools,
                    remove_pools,
                };
                employee::set(ca, actor, &email, set).await
            }
            R::EmployeeSuspend { email, reason } => {
                self.end_employee(actor, &email, employee::End::Suspend, reason, events)
                    .await
            }
            R::EmployeeResume { email } => employee::resume(ca, actor, &email).await,
            R::EmployeeReset { email } => {
                let reply = employee::reset(ca, actor, &email).await?;
                // The old certificates are refused as soon as the machines have the new KRL.
                ca.fleet_changed.notify_one();
                Ok(reply)
            }
            R::EmployeeRemove { email, purge } => {
                let end = employee::End::Remove { purge };
                self.end_employee(actor, &email, end, String::new(), events)
                    .await
            }
            R::PoolAdd {
                pool,
                title,
                include,
                employees,
            } => pool::add(ca, actor, &pool, title, &include, &employees).await,
            R::PoolList {} => look::pools(ca),
            R::PoolShow { pool } => look::pool(ca, &pool),
            R::PoolSet { pool, title } => pool::set(ca, actor, &pool, title).await,
            R::PoolRemove { pool, force } => {
                let how = if force {
                    pool::Removal::Forced
                } else {
                    pool::Removal::Safe
                };
                pool::remove(ca, actor, &pool, how).await
            }
            R::PoolInclude { pool, inner } => pool::include(ca, actor, &pool, &inner).await,
            R::PoolExclude { pool, inner } => pool::exclude(ca, actor, &pool, &inner).await,
            R::TeamAdd { team, employees } => team::add(ca, actor, &team, &employees).await,
            R::TeamJoin { team, employees } => team::join(ca, actor, &team, &employees).await,
            R::TeamLeave { team, employees } => team::leave(ca, actor, &team, &employees).await,
            R::TeamList {} => look::teams(ca),
            R::TeamShow { team } => look::team(ca, &team),
            R::TeamRemove { team } => team::remove(ca, actor, &team).await,
            R::GrantAdd(spec) => grant::add(ca, actor, spec).await,
            R::GrantList {} => look::grants(ca),
            R::GrantRemove { id } => grant::remove(ca, actor, id).await,
            R::PolicyPlan { name, text, force } => {
                policy::planned(ca, policy::Asked::new(name, text, force)?).await
            }
            R::PolicyApply {
                name,
                text,
                base,
                force,
            } => {
                let asked = policy::Asked::new(name, text, force)?;
                self.apply(actor, asked, base, events).await
            }
            R::PolicyExport {} => policy::export(ca).await,
            R::PolicyMatrix {
                employees,
                pools,
                machines,
                now,
                csv,
            } => {
                let wanted = look::Part {
                    employees,
                    pools,
                    machines,
                    now,
                };
                look::matrix(ca, &wanted, csv.as_deref())
            }
            R::PolicyExplain {
                email,
                machine,
                account,
                security_key,
            } => {
                let question = look::question(&email, &machine, account.as_deref(), security_key)?;
                look::explain(ca, question)
            }
            R::PolicyImport {
                name,
                text,
                format,
                domain,
            } => {
                let file = policy::File {
                    asked: policy::Asked::new(name, text, false)?,
                    format,
                    domain,
                };
                policy::import(ca, file).await
            }
            R::MachineList {} => look::machines(ca),
            R::MachineShow { machine } => look::machine(ca, &machine),
            R::MachineMove { machine, pools } => machine::put(ca, actor, &machine, &pools).await,
            R::MachineSet { machine, address } => machine::set(ca, actor, &machine, address).await,
            R::MachineEnforce { machine, enforce } => {
                machine::enforce(ca, actor, &machine, enforce).await
            }
            R::MachineRemove {
                machine,
                leave_files,
            } => {
                let files = if leave_files {
                    machine::remove::Files::Leave
                } else {
                    machine::remove::Files::TakeOff
                };
                self.remove_machine(actor, &machine, files).await
            }
            R::MachinePrepare(prepare) => machine::prepare(ca, actor, prepare).await,
            R::MachineProbe {
                machine,
                public_key,
            } => machine::probe(ca, actor, &machine, &public_key).await,
            R::MachineConfirm {
                machine,
                generation,
                krl_version,
            } => {
                self.confirm(actor, &machine, generation, krl_version, events)
                    .await
            }
            R::KrlRevoke {
                target,
                keep_login,
                reason,
            } => self.revoke(actor, target, keep_login, reason, events).await,
            R::KrlShow {} => look::krl(ca).await,
            R::KrlExport {} => look::krl_file(ca).await,
            R::KrlCheck { certificate } => look::krl_check(ca, &certificate).await,
            R::KrlPush {} => self.krl_push(events).await,
            R::Sync { machines, pool } => self.sync(&machines, pool.as_deref(), events).await,
            R::PublishIndex { plain } => self.publish_index(publish::form(plain)).await,
            R::PublishFiles { machine, plain } => {
                self.publish_files(&machine, publish::form(plain)).await
            }
            R::Check {
                machines,
                pool,
                repair,
            } => {
                let repair = if repair {
                    checkup::Repair::Repair
                } else {
                    checkup::Repair::LookOnly
                };
                self.check(&machines, pool.as_deref(), repair, events).await
            }
            R::Keys { machines, pool } => self.static_keys(&machines, pool.as_deref()).await,
            R::PoolEnforce { pool, enforce } => self.enforce_pool(actor, &pool, enforce).await,
            R::SessionList {
                machines,
                pool,
                employee,
            } => {
                self.sessions(&machines, pool.as_deref(), employee.as_deref())
                    .await
            }
            R::SessionEnd { ids } => self.end_sessions(actor, &ids).await,
            R::CaMove { key, signer, pin } => ca_move::move_key(ca, actor, key, &signer, pin).await,
            R::CaList {} => self.ca_list(),
            R::CaRotate {
                key,
                leave_behind,
                pace,
                signer,
                pin,
            } => {
                let place = signer
                    .map(|signer| ca_move::place(&actor, &signer, pin))
                    .transpose()?;
                self.ca_rotate(actor, key, &leave_behind, pace, place, events)
                    .await
            }
            R::CaCompromise { key, reason } => {
                self.ca_compromise(actor, &key, &reason, events).await
            }
            R::CaRetire { key, leave_behind } => {
                self.ca_retire(actor, &key, &leave_behind, events).await
            }
            R::CertList { employee, live } => look::certificates(ca, employee.as_deref(), live),
            R::CertShow { serial } => look::certificate(ca, serial),
            R::AuditList { last, about } => look::ledger(ca, last, about.as_deref()),
            R::AuditVerify { head } => look::verify(ca, head.as_deref()),
            R::AuditExport {} => look::head(ca),
            R::BreakGlassTrust {
                public_key,
                needed,
                shares,
            } => {
                let new = break_glass::New {
                    public_key,
                    needed,
                    shares,
                };
                break_glass::replace(ca, actor, Some(new)).await
            }
            R::BreakGlassRevoke {} => break_glass::replace(ca, actor, None).await,
            R::BreakGlassShow {} => break_glass::show(ca),
            R::ClockShow {} => Ok(clock::show(ca)),
            R::ClockAccept {} => clock::accept(ca, actor).await,
            R::RecoveryShow {} => recovery::show(ca),
            R::RecoveryFinish { unread } => {
                let how = if unread {
                    recovery::Unread::Leave
                } else {
                    recovery::Unread::Refuse
                };
                recovery::finish(ca, actor, how).await
            }
        }
    }
}

/// A name that an admin wrote, parsed.
pub(crate) fn parse<N>(text: &str) -> Result<N, ApiError>
where
    N: std::str::FromStr<Err = policies::NameError>,
{
    text.parse()
        .map_err(|error: policies::NameError| ApiError::new(ErrorCode::Invalid, error.to_string()))
}

/// Names, parsed.
pub(crate) fn parse_all<N, C>(texts: &[String]) -> Result<C, ApiError>
where
    N: std::str::FromStr<Err = policies::NameError>,
    C: FromIterator<N>,
{
    texts.iter().map(|text| parse(text)).collect()
}

/// No such thing.
pub(crate) fn unknown(what: &str, name: impl std::fmt::Display, list: &str) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("there is no {what} {name}"))
        .hint(format!("see `ca-server {list} list`"))
}
