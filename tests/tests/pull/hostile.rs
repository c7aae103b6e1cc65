//! What lies in a tree, or comes instead of it, and is not what the CA wants there: nothing changes, and the next good one works.

use anyhow::{Context, Result, ensure};
use ca_machine::pull::{Files, Form, PullSecret};

use crate::{fetching::Scene, web::Manner};

/// Everything of the CA's on the machine, in one text.
fn stands(scene: &Scene) -> Result<String> {
    let state = scene.state()?;
    let files = scene.bench.machine.run(&[
        "sh",
        "-c",
        "cd / && find etc/ssh etc/sudoers.d etc/passwd etc/pam.d etc/cron.d var/lib/ssh-ca -type f ! -name 'pull-*' -exec sha256sum {} + | sort",
    ])?;
    Ok(format!("{state:?}\n{}", files.stdout))
}

/// Fetches, must be refused with one of these words, and nothing may have changed.
fn refused(scene: &Scene, before: &str, what: &str, codes: &[&str]) -> Result<()> {
    let report = scene.pull().with_context(|| what.to_owned())?;
    let code = report
        .refusal()
        .map_or("(taken)", |(code, _)| code)
        .to_owned();
    ensure!(codes.contains(&code.as_str()), "{what}: {code}: {report:?}");
    let after = stands(scene)?;
    ensure!(
        after == before,
        "{what} changed something:\n{before}\n{after}"
    );
    Ok(())
}

#[test]
fn r9_nothing_but_what_the_ca_wants_there_is_taken_from_a_tree() -> Result<()> {
    let bench = bench!("r9_nothing_but_what_the_ca_wants_there_is_taken_from_a_tree");
    let mut scene = Scene::new(bench)?;
    let old = scene.files(1, 1, &[], Form::Sealed)?;
    scene.hire("carol", 61_200)?;
    scene.put(&scene.files(3, 3, &["bob@corp.example/1"], Form::Sealed)?);
    ca_machine_done(&scene)?;
    let before = stands(&scene)?;

    // A mirror that was turned back, and one with another history at the same numbers.
    scene.put(&old);
    refused(&scene, &before, "an old tree", &["old-krl"])?;
    scene.put(&scene.files(3, 3, &[], Form::Sealed)?);
    refused(
        &scene,
        &before,
        "the same numbers with other content",
        &["other-hash"],
    )?;

    // What another machine would take.
    scene.hire("dave", 61_201)?;
    let krl = scene.bench.ca.signed_krl(3, &["bob@corp.example/1"])?;
    let mut other = scene.spec.clone();
    other.machine = "web-2".parse()?;
    let bundle = scene.bench.ca.signed(&other, 4)?;
    let (foreign, stranger) = (PullSecret::random(), crate::bench::key());
    scene.put(&Files::new(&krl, &bundle, &[], Form::Plain, &scene.secret));
    refused(
        &scene,
        &before,
        "another machine's bundle",
        &["wrong-machine", "other-hash"],
    )?;
    scene.put(&Files::new(&krl, &bundle, &[], Form::Sealed, &foreign));
    refused(
        &scene,
        &before,
        "sealed for another machine",
        &["not-fetched"],
    )?;
    let forged = scene.bench.ca.bundle(&scene.spec, 4)?.sign(&stranger)?;
    scene.put(&Files::new(
        &scene.bench.ca.krl(4, &[])?.sign(&stranger)?,
        &forged,
        &[],
        Form::Sealed,
        &scene.secret,
    ));
    refused(
        &scene,
        &before,
        "signed by somebody else",
        &["bad-signature"],
    )?;

    // One bit, at every place that is sampled; cut at every place that is sampled.
    let samples = if std::env::var_os("E2E_FULL").is_some() {
        40
    } else {
        3
    };
    for form in [Form::Plain, Form::Sealed] {
        let good = scene.files(4, 4, &["bob@corp.example/1"], form)?;
        for number in 0..samples {
            let flipped = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                let at = (bytes.len() - 1) * (2 * number + 1) / (2 * samples);
                bytes[at] ^= 1 << (number % 8);
                bytes
            };
            let cut = |bytes: &[u8]| bytes[..bytes.len() * number / samples].to_vec();
            let codes = ["bad-signature", "not-fetched", "bad-request"];
            scene.put(&Files {
                krl: flipped(&good.krl),
                order: Vec::new(),
                bundle: flipped(&good.bundle),
                head: flipped(&good.head),
                successions: b"ssh-ca-succession v1\nnumber 7\n".to_vec(),
            });
            refused(
                &scene,
                &before,
                &format!("{form:?}, bit {number} of {samples}"),
                &codes,
            )?;
            scene.put(&Files {
                krl: cut(&good.krl),
                order: Vec::new(),
                bundle: cut(&good.bundle),
                head: cut(&good.head),
                successions: Vec::new(),
            });
            refused(
                &scene,
                &before,
                &format!("{form:?}, cut {number} of {samples}"),
                &codes,
            )?;
        }
    }

    // A server that misbehaves, before a tree that is good.
    scene.put(&scene.files(4, 4, &["bob@corp.example/1"], Form::Sealed)?);
    for manner in [
        Manner::Hang,
        Manner::Endless,
        Manner::Half,
        Manner::Empty,
        Manner::Page,
        Manner::Elsewhere,
    ] {
        scene.web.behave(manner);
        refused(&scene, &before, &format!("{manner:?}"), &["not-fetched"])?;
    }
    scene.web.behave(Manner::Well);
    // A hint that lies makes it fetch, and nothing else.
    scene.web.put_file(
        &scene.secret.place(),
        "head",
        b"ssh-ca-head v1\nkrl x\nbundle $(touch /lied)\n".to_vec(),
    );
    ca_machine_done(&scene)?;
    let state = scene.state()?;
    ensure!(
        (state.applied_generation, state.krl_version) == (4, 4),
        "{state:?}"
    );
    ensure!(
        scene.has_account("dave")? && scene.bench.probe_enters()? && scene.bench.admin_enters()?
    );
    ensure!(
        !scene
            .bench
            .machine
            .exec(&["test", "-e", "/lied"])?
            .status
            .success()
    );
    let left = scene.bench.machine.run(&[
        "sh",
        "-c",
        "ls -d /run/ssh-ca-work.* /var/lib/ssh-ca/work.* 2>/dev/null | wc -l",
    ])?;
    ensure!(
        left.stdout.trim() == "0",
        "folders of killed runs are left: {}",
        left.stdout
    );
    Ok(())
}

fn ca_machine_done(scene: &Scene) -> Result<()> {
    crate::bench::done(scene.pull()?).map(drop)
}

/// Both tools trust the CAs of the system beside the one that they are told: whoever has a certificate by any of them for the CA's name would
/// get the token.
#[test]
fn c2_no_ca_of_the_systems_speaks_for_the_pinned_one() -> Result<()> {
    let bench = bench!("c2_no_ca_of_the_systems_speaks_for_the_pinned_one");
    let scene = Scene::new(bench)?;
    let run = |script: &str| scene.bench.machine.run(&["sh", "-c", script]);
    run(
        "set -e; mkdir /run/tls; cd /run/tls
         new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
         for ca in pinned public; do openssl req -x509 $new -keyout $ca.key -out $ca.pem -subj /CN=$ca -days 2; done
         openssl req $new -keyout leaf.key -out leaf.csr -subj /CN=localhost
         echo subjectAltName=DNS:localhost >names
         openssl x509 -req -in leaf.csr -CA public.pem -CAkey public.key -CAcreateserial -out leaf.pem -days 2 -extfile names
         cp public.pem /etc/ssl/certs/$(openssl x509 -hash -noout -in public.pem).0
         cat public.pem >>/etc/ssl/certs/ca-certificates.crt
         sed -i 's|^from .*|from ca|; s|^ca .*|ca https://localhost:18443|; s|^trust .*|trust pinned|; s|^timeout .*|timeout 30|' \
           /var/lib/ssh-ca/pull.conf",
    )?;
    run(
        "cd /run/tls; openssl s_server -accept 127.0.0.1:18443 -cert leaf.pem -key leaf.key -www </dev/null >/dev/null 2>&1 &
         for try in $(seq 300); do openssl s_client -connect 127.0.0.1:18443 </dev/null >/dev/null 2>&1 && exit 0; sleep 0.1; done; exit 1",
    )?;
    for tool in ["curl", "wget"] {
        for (pinned, words) in [
            ("pinned", "could not be fetched"),
            ("public", "is not what a CA publishes"),
        ] {
            run(&format!(
                "cp /run/tls/{pinned}.pem /var/lib/ssh-ca/pull-ca.pem"
            ))?;
            let report = scene.pull()?;
            let (code, detail) = report.refusal().unwrap_or_default();
            ensure!(
                code == "not-fetched" && detail.contains(words),
                "{tool}, {pinned}: {code}: {detail}"
            );
        }
        run("rm -f /usr/bin/curl")?;
    }
    Ok(())
}
