//! A machine that is told anew (`--resync`): nothing that it has seen is repeated, and no number goes back (R2).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ca_api::{
    ApiError, ErrorCode,
    admin::{MachinePrepare, MachineSeen},
};
use ca_machine::Bundle;
use policies::MachineName;

use super::unavailable;
use crate::{
    ca::{Ca, sha256_hex},
    records::{FleetRecord, KrlRecord},
    revoke::krl,
};

/// How far ahead of the clock a machine's KRL may be, in seconds: versions follow the clock, and what one machine says lifts those of all.
const FAR_AHEAD: u64 = 24 * 3600;

/// The KRL for a machine that may have seen a newer one than this CA's: then every machine gets a newer one still.
///
/// # Errors
/// When there is none, or the machine's state is not to be believed.
pub(super) async fn krl_for(
    ca: &Ca,
    machine: &MachineName,
    request: &MachinePrepare,
) -> Result<KrlRecord, ApiError> {
    let seen = request.seen.as_ref().filter(|_| !request.dry_run);
    let seen = seen.map(|seen| (seen.krl_version, seen.krl_sha256.as_str()));
    let latest = u64::try_from(ca.clock.now().unix_timestamp()).unwrap_or(0) + FAR_AHEAD;
    if seen.is_some_and(|(version, _)| version > latest) {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            format!(
                "{machine} has a KRL of a version that no CA gave: its state under /var/lib/ssh-ca is not to be believed"
            ),
        )
        .hint(format!(
            "take the CA off it with `bootstrap remove-machine {machine}`, then `bootstrap add-machine {machine}`"
        )));
    }
    krl::newer_than(ca, seen).await.map_err(unavailable)
}

/// What a machine that is to be told anew has seen is not to be repeated: the next generation is above it, and is made in any case (R2).
pub(super) fn outdo(record: &mut FleetRecord, seen: Option<&MachineSeen>) {
    let Some(seen) = seen else { return };
    let same = || {
        STANDARD
            .decode(&record.bundle)
            .is_ok_and(|bytes| sha256_hex(&bytes) == seen.bundle_sha256)
    };
    let anew = seen.generation > record.generation
        || seen.generation == record.generation && seen.generation > 0 && !same();
    if anew {
        // Room is left above it, so that no machine can use the numbers up.
        record.generation = seen.generation.min(Bundle::MAX_NUMBER / 2);
        record.content_sha256 = String::new();
    }
}
