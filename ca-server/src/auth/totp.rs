//! The second factor: TOTP (RFC 6238), six digits, SHA-1, 30 seconds, one step of slack to either side.

use totp_rs::{Algorithm, Builder, Secret as TotpSecret, Totp};
use zeroize::Zeroizing;

/// A step's length, in seconds.
const STEP_SECS: u64 = 30;

/// The step of a moment.
#[must_use]
pub fn step_at(unix: i64) -> u64 {
    u64::try_from(unix).unwrap_or(0) / STEP_SECS
}

/// The secret cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the TOTP secret of {0} is not usable: `ca-server employee reset {0}` invites them anew")]
pub struct TotpError(String);

/// A fresh secret of 160 bits (RFC 4226 section 4, R6).
#[must_use]
pub fn new_secret() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(TotpSecret::generate().as_bytes().to_vec())
}

/// The `otpauth://` URL and the base32 text of a secret.
///
/// # Errors
/// When the secret is too short or the email cannot stand in a URL.
pub fn describe(secret: &[u8], email: &str) -> Result<(String, String), TotpError> {
    let totp = build(secret, email)?;
    let url = totp.to_url().map_err(|_| TotpError(email.to_owned()))?;
    let text = TotpSecret::new(secret.to_vec().into_boxed_slice()).to_base32();
    Ok((url, text))
}

/// The step that `code` belongs to, if it is a code of this secret around `now_unix` and later than `last_step`.
///
/// A code is exactly six ASCII digits: nothing is trimmed, and no other digits count (A2). The step must be later than
/// the last one that was accepted (A3); the caller checks that again where it stores the step.
///
/// # Errors
/// When the secret is not usable.
pub fn matching_step(
    secret: &[u8],
    email: &str,
    code: &str,
    now_unix: i64,
    last_step: u64,
) -> Result<Option<u64>, TotpError> {
    let well_formed = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
    let now = u64::try_from(now_unix).unwrap_or(0);
    let totp = build(secret, email)?;
    // The work is done for a malformed code too, so that its form cannot be told from its value by time.
    let step = totp.check(if well_formed { code } else { "000000" }, now);
    Ok(step.filter(|step| well_formed && *step > last_step))
}

fn build(secret: &[u8], email: &str) -> Result<Totp, TotpError> {
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_skew(1)
        .with_step_duration(STEP_SECS)
        .with_secret(TotpSecret::new(secret.to_vec().into_boxed_slice()))
        .with_account_name(email)
        .with_issuer(Some("ssh-ca"))
        .build()
        .map_err(|_| TotpError(email.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn code(secret: &[u8], at: i64) -> String {
        build(secret, "a@b")
            .unwrap()
            .generate(u64::try_from(at).unwrap())
            .to_string()
    }

    #[test]
    fn a2_a_code_is_exactly_six_ascii_digits() {
        let secret = new_secret();
        let right = code(&secret, NOW);
        let check = |code: &str| matching_step(&secret, "a@b", code, NOW, 0).unwrap();
        assert!(check(&right).is_some());
        for wrong in [
            format!(" {right}"),
            format!("{right} "),
            format!("{right}\n"),
            format!("{right}0"),
            right[..5].to_owned(),
            format!("{} {}", &right[..3], &right[3..]),
            right
                .chars()
                .map(|c| char::from_u32(0x0660 + c as u32 - 48).unwrap())
                .collect(),
            right
                .chars()
                .map(|c| char::from_u32(0xff10 + c as u32 - 48).unwrap())
                .collect(),
            String::new(),
            "-12345".to_owned(),
            "+12345".to_owned(),
        ] {
            assert_eq!(check(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a3_a_step_at_or_before_the_last_one_is_refused() {
        let secret = new_secret();
        let step = matching_step(&secret, "a@b", &code(&secret, NOW), NOW, 0)
            .unwrap()
            .unwrap();
        assert_eq!(step, u64::try_from(NOW).unwrap() / STEP_SECS);
        assert_eq!(
            matching_step(&secret, "a@b", &code(&secret, NOW), NOW, step).unwrap(),
            None
        );
        // The code of the step before is still within the slack, but it is older than the last one.
        assert_eq!(
            matching_step(&secret, "a@b", &code(&secret, NOW - 30), NOW, step).unwrap(),
            None
        );
        assert!(
            matching_step(&secret, "a@b", &code(&secret, NOW - 30), NOW, 0)
                .unwrap()
                .is_some()
        );
        assert_eq!(
            matching_step(&secret, "a@b", &code(&secret, NOW - 90), NOW, 0).unwrap(),
            None
        );
    }

    #[test]
    fn rfc_6238_appendix_b_sha1() {
        // The appendix prints eight digits; six-digit codes are their last six.
        let secret = b"12345678901234567890";
        for (at, eight) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (20_000_000_000, "65353130"),
        ] {
            assert!(
                matching_step(secret, "a@b", &eight[2..], at, 0)
                    .unwrap()
                    .is_some(),
                "{at}"
            );
        }
    }
}
