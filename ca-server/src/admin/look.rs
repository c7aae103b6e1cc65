//! What the commands show: nothing here changes anything.

mod explain;
mod ledger;
mod machines;
mod matrix;
mod policy;
mod revocation;

use std::sync::Arc;

use ca_api::{ApiError, admin::AdminReply};

pub use self::{
    explain::{explain, question},
    ledger::{head, ledger, verify},
    machines::{machine, machines, users},
    matrix::{Part, matrix},
    policy::{employee, employee_view, employees, grant, grants, pool, pools, team, teams},
    revocation::{Revocations, certificate, certificates, krl, krl_check, krl_file},
};
use super::change::store_error;
use crate::{
    ca::Ca,
    records::Compiled,
    store::{ReadError, Snapshot},
};

type Reply = Result<AdminReply, ApiError>;

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
