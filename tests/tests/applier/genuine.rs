//! Only genuine bundles and KRLs are taken, and neither goes back.

use anyhow::{Result, ensure};
use ca_machine::{Namespace, Report, Request, Signed};

use crate::bench::{Ca, done, key, refusal};

/// Everything that a refused request could have changed.
const LOOK: &str = "find /etc/ssh /etc/sudoers.d /etc/pam.d /etc/cron.d /etc/passwd /var/lib/ssh-ca -type f -not -path '*/work.*' | LC_ALL=C sort | xargs stat -c '%n %a %u %g %s' && \
     find /etc/ssh /etc/sudoers.d /etc/pam.d /etc/cron.d /etc/passwd /var/lib/ssh-ca -type f -not -path '*/work.*' | LC_ALL=C sort | xargs sha256sum";

#[test]
fn r9_only_genuine_bundles_are_applied() -> Result<()> {
    let bench = bench!("r9_only_genuine_bundles_are_applied");
    let ca = &bench.ca;
    let mut spec = ca.spec("web-1")?;
    bench.settle(&spec, 5, 1)?;
    let before = bench.machine.run(&["sh", "-c", LOOK])?.stdout;
    spec.accounts.pop();
    let stranger = key();
    let mut other_machine = spec.clone();
    other_machine.machine = "web-2".parse()?;
    let object = ca.bundle(&spec, 6)?.encode();
    let mut tampered = sync_bytes(&bench.sync_apply(None, Some(ca.signed(&spec, 6)?)));
    let last = tampered.len() - 1;
    tampered[last] ^= 1;
    let mut cut = sync_bytes(&bench.sync_apply(None, Some(ca.signed(&spec, 6)?)));
    cut.truncate(cut.len() / 2);
    let stale = ca_machine::render(&spec, 6, 1, 2)?.sign(&ca.fleet_key)?;
    let krl_as_bundle = Signed::sign(&ca.fleet_key, Namespace::Krl, object.clone())?;
    let by_stranger = Signed::sign(&stranger, Namespace::Bundle, object)?;
    for (what, code, request) in [
        ("a changed byte", "bad-signature", tampered),
        ("half of it", "bad-request", cut),
        (
            "a stranger's signature",
            "bad-signature",
            sync_bytes(&bench.sync_apply(None, Some(by_stranger))),
        ),
        (
            "a signature for something else",
            "bad-signature",
            sync_bytes(&bench.sync_apply(None, Some(krl_as_bundle))),
        ),
        (
            "another machine's",
            "wrong-machine",
            sync_bytes(&bench.sync_apply(None, Some(ca.signed(&other_machine, 6)?))),
        ),
        (
            "an older generation",
            "old-generation",
            sync_bytes(&bench.sync_apply(None, Some(ca.signed(&spec, 4)?))),
        ),
        (
            "the same generation, other content",
            "other-hash",
            sync_bytes(&bench.sync_apply(None, Some(ca.signed(&spec, 5)?))),
        ),
        (
            "a stale one",
            "stale",
            sync_bytes(&bench.sync_apply(None, Some(stale))),
        ),
    ] {
        // As an admin's login does it, and as ssh-ca-sync: neither takes it.
        let report = bench.send_bytes(&request)?;
        ensure!(refusal(&report) == code, "{what}: {report:?}");
        let output = bench
            .machine
            .exec_with_stdin(&["/var/lib/ssh-ca/applier"], &request)?;
        ensure!(
            String::from_utf8_lossy(&output.stdout).contains(code),
            "{what}: {output:?}"
        );
    }
    let after = bench.machine.run(&["sh", "-c", LOOK])?.stdout;
    ensure!(before == after, "something changed:\n{before}\n{after}");
    done(bench.sync(&bench.sync_apply(None, Some(ca.signed(&spec, 6)?)))?)?;
    Ok(())
}

fn sync_bytes(request: &Request) -> Vec<u8> {
    request.encode()
}

#[test]
fn r9_one_flipped_bit_anywhere_is_refused() -> Result<()> {
    let bench = bench!("r9_one_flipped_bit_anywhere_is_refused");
    let ca = &bench.ca;
    let mut spec = ca.spec("web-1")?;
    bench.settle(&spec, 5, 1)?;
    let before = bench.machine.run(&["sh", "-c", LOOK])?.stdout;
    spec.accounts.pop();
    let bundle = bench.sync_apply(None, Some(ca.signed(&spec, 6)?));
    let krl = bench.sync_apply(Some(ca.signed_krl(2, &["alice@corp.example/1"])?), None);
    for (what, request) in [("bundle", &bundle), ("krl", &krl)] {
        let genuine = request.encode();
        // Behind the first line, which is nobody's signed word: the signature, and what it is over.
        let start = genuine.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let signature_ends = start + find(&genuine[start..], b"-----END").unwrap();
        let sample = if std::env::var_os("E2E_FULL").is_some() {
            400
        } else {
            20
        };
        let step = ((genuine.len() - start) / sample).max(1);
        let positions = (start..genuine.len())
            .step_by(step)
            .chain([genuine.len() - 1]);
        // In the signature's text a blank is nothing, and the last bits of its base64 are nobody's.
        let text = |at: &usize| *at < signature_ends;
        let positions =
            positions.filter(|at| !text(at) || (genuine[*at] > b' ' && *at + 8 < signature_ends));
        for at in positions {
            let mut flipped = genuine.clone();
            flipped[at] ^= 1 << (at % 7);
            let output = bench
                .machine
                .exec_with_stdin(&["/var/lib/ssh-ca/applier"], &flipped)?;
            let report = Report::parse(&output.stdout)?;
            ensure!(
                matches!(refusal(&report), "bad-signature" | "bad-request"),
                "{what}, bit {} of byte {at} of {}: {report:?}",
                at % 7,
                genuine.len()
            );
        }
    }
    let after = bench.machine.run(&["sh", "-c", LOOK])?.stdout;
    ensure!(before == after, "something changed:\n{before}\n{after}");
    // The control: as it was made, it is taken.
    done(bench.sync(&krl)?)?;
    done(bench.sync(&bundle)?)?;
    Ok(())
}

fn find(bytes: &[u8], word: &[u8]) -> Option<usize> {
    bytes.windows(word.len()).position(|window| window == word)
}

#[test]
fn r9_new_fleet_keys_come_through_an_admins_login_only() -> Result<()> {
    let bench = bench!("r9_new_fleet_keys_come_through_an_admins_login_only");
    let spec = bench.ca.spec("web-1")?;
    bench.settle(&spec, 1, 1)?;
    let report = bench.sync(&bench.apply(None, Some(bench.ca.signed(&spec, 2)?)))?;
    ensure!(refusal(&report) == "bad-request", "{report:?}");
    let report = bench.sync(&Request::Remove)?;
    ensure!(
        refusal(&report) == "bad-request",
        "nor is the CA taken off by ssh-ca-sync: {report:?}"
    );
    // Also where the machine's own are gone.
    bench.machine.run(&["rm", "/etc/ssh/ca/fleet.pub"])?;
    let report = bench.sync(&bench.apply(None, Some(bench.ca.signed(&spec, 2)?)))?;
    ensure!(refusal(&report) == "bad-request", "{report:?}");
    let report = bench.sync(&bench.sync_apply(None, Some(bench.ca.signed(&spec, 2)?)))?;
    ensure!(refusal(&report) == "bad-signature", "{report:?}");
    // An admin's login repairs it, and a machine of one CA is not taken by another.
    done(bench.send(&bench.apply(None, Some(bench.ca.signed(&spec, 2)?)))?)?;
    let other = Ca::new()?;
    let mut request = bench.apply(None, Some(other.signed(&spec, 9)?));
    if let Request::Apply { delivery, .. } = &mut request {
        delivery.first = other.first();
    }
    let report = bench.send(&request)?;
    ensure!(refusal(&report) == "other-ca", "{report:?}");
    Ok(())
}

#[test]
fn r2_krl_version_and_generation_never_go_back() -> Result<()> {
    let bench = bench!("r2_krl_version_and_generation_never_go_back");
    let ca = &bench.ca;
    let spec = ca.spec("web-1")?;
    bench.settle(&spec, 3, 7)?;
    let old =
        bench.sync(&bench.sync_apply(Some(ca.signed_krl(6, &["alice@corp.example/1"])?), None))?;
    ensure!(refusal(&old) == "old-krl", "{old:?}");
    let other =
        bench.sync(&bench.sync_apply(Some(ca.signed_krl(7, &["alice@corp.example/1"])?), None))?;
    ensure!(refusal(&other) == "other-hash", "{other:?}");
    let state = bench.state()?;
    ensure!((state.krl_version, state.generation) == (7, 3), "{state:?}");
    ensure!(
        state.krl_canaries == "ok" && bench.enters("alice", "alice@web", "alice@corp.example/1")?
    );
    Ok(())
}

#[test]
fn h10_h3_what_sshd_or_sudo_would_not_take_changes_nothing() -> Result<()> {
    let bench = bench!("h10_h3_what_sshd_or_sudo_would_not_take_changes_nothing");
    let ca = &bench.ca;
    let spec = ca.spec("web-1")?;
    bench.settle(&spec, 1, 1)?;
    let before = bench.machine.run(&["sh", "-c", LOOK])?.stdout;
    for (place, text, word) in [
        (
            ca_machine::Place::Sudoers,
            "alice ALL=(root NOPASSWD: ALL\n",
            "visudo",
        ),
        (
            ca_machine::Place::SshdDropIn,
            "NoSuchDirective yes\n",
            "NoSuchDirective",
        ),
        (
            ca_machine::Place::SshdDropIn,
            "TrustedUserCAKeys /etc/ssh/ca/user_ca.pub\n",
            "revokedkeys",
        ),
    ] {
        let mut bundle = ca.bundle(&spec, 2)?;
        bundle.files.insert(place, text.into());
        let report = bench.send(&bench.apply(None, Some(bundle.sign(&ca.fleet_key)?)))?;
        let (code, detail) = report.refusal().unwrap_or_default();
        ensure!(
            code == "invalid-config" && detail.to_lowercase().contains(&word.to_lowercase()),
            "{report:?}"
        );
    }
    // A file of the site's own that would win over the CA's.
    bench.machine.write_file(
        "/etc/ssh/sshd_config.d/00-aaa.conf",
        b"RevokedKeys /etc/ssh/other.krl\n",
    )?;
    let mut changed = spec.clone();
    changed.accounts.pop();
    let report = bench.send(&bench.apply(None, Some(ca.signed(&changed, 2)?)))?;
    ensure!(refusal(&report) == "invalid-config", "{report:?}");
    bench
        .machine
        .run(&["rm", "/etc/ssh/sshd_config.d/00-aaa.conf"])?;
    let after = bench.machine.run(&["sh", "-c", LOOK])?.stdout;
    ensure!(before == after, "something changed:\n{before}\n{after}");
    Ok(())
}
