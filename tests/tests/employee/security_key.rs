//! Grants that need a security key: what real sshd makes of `verify-required`, and a day with a key that must be touched.

use std::io::Write;
use std::process::{Output, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::{Company, Identity, Owner, PIN, Person, SecurityKey, program, said, success};
use serde_json::Value;

use crate::scene::{
    Scene, assert_denied, assert_fails, assert_runs, client, json, make_due, now_unix, poll, scene,
    ssh,
};

/// Somebody with a plain grant of `web-server` and one of `vault` that needs a security key.
fn hire(company: &Company, email: &str) -> Result<Person> {
    let person = company.hire(email, &["--pool", "web-server"])?;
    let grant = ["grant", "add", "--employee", email, "--pool", "vault"];
    company.ca_ok(&[&grant[..], &["--security-key"]].concat())?;
    Ok(person)
}

fn with_machines(fleet: &e2e::Fleet, email: &str) -> Result<(Scene, Person)> {
    let machines = [("web-1", "web-server"), ("vault-1", "vault")];
    let (scene, mut people) = scene(fleet, &machines, |company| Ok(vec![hire(company, email)?]))?;
    Ok((scene, people.remove(0)))
}

fn facts(person: &Person) -> Result<Value> {
    json(&client(&person.home, &["status", "--json"])?)
}

/// The serial of the certificate that opens `principal`.
fn serial(facts: &Value, principal: &str) -> Result<u64> {
    facts["certificates"]
        .as_array()
        .and_then(|list| {
            list.iter()
                .find(|certificate| certificate["principals"] == serde_json::json!([principal]))
        })
        .and_then(|certificate| certificate["serial"].as_u64())
        .with_context(|| format!("{principal} is not in {facts}"))
}

/// What sshd logged since it had logged so much.
fn log_since(scene: &Scene, machine: usize, before: usize) -> String {
    let log = scene.machines[machine].sshd_log();
    log.get(before..).unwrap_or_default().to_owned()
}

/// One line of ours at most, and standard output as clean as ever.
fn our_lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| line.starts_with("ca-client: "))
        .map(str::to_owned)
        .collect()
}

/// A login that ends before the CA looks at password and code: so none of her codes is used up.
fn without_a_code(person: &Person, words: &[&str]) -> Result<Output> {
    let mut process = person
        .client()
        .args(["login", "--email", &person.email, "--secrets-stdin"])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut answers = process.stdin.take().context("piped above")?;
    answers.write_all(b"not looked at\n000000\n")?;
    drop(answers);
    Ok(process.wait_with_output()?)
}

#[test]
fn p8_a_plain_key_gets_no_principal_that_needs_a_security_key_and_sshd_wants_the_pin() -> Result<()>
{
    let fleet =
        fleet!("p8_a_plain_key_gets_no_principal_that_needs_a_security_key_and_sshd_wants_the_pin");
    let (scene, mut tess) = with_machines(&fleet, "tess@corp.example")?;

    // A plain key: told what is left out, and refused where it is not wanted.
    let words = tess.login()?;
    ensure!(
        words.contains("1 grant needs a security key: ca-client login --security-key"),
        "it does not say what is left out: {words}"
    );
    assert_runs(&tess, &["web-1", "id -un"], "tess")?;
    let status = client(&tess.home, &["status"])?;
    ensure!(
        said(&status).contains("1 grant needs a security key"),
        "{}",
        said(&status)
    );
    let plain = Identity::with("/root/.ssh/ca/id", "/root/.ssh/ca/cert-0-cert.pub");
    let vault = &scene.machines[1];
    assert_denied(&tess.home.ssh_by_hand(plain, "tess", vault, &["true"])?)?;

    // No security key anywhere: the line that makes one.
    let none = client(&tess.home, &["login", "--security-key"])?;
    assert_fails(
        &none,
        1,
        &[
            "no security key",
            "ssh-keygen -t ed25519-sk -O verify-required",
        ],
    )?;

    // One in an agent: one certificate for each condition set, and ssh takes the right one.
    let token = SecurityKey::ed25519()?;
    let agent = SecurityKey::agent(
        std::slice::from_ref(&token),
        &tess.home.path().join(".sk-agent"),
    )?;
    tess.home
        .set(&[("SSH_AUTH_SOCK", agent.socket().to_owned())]);
    let words = tess.try_login(&["--security-key"])?;
    success("login with a security key", &words)?;
    ensure!(
        said(&words).contains("security key") && !said(&words).contains("needs a security key"),
        "{}",
        said(&words)
    );
    let shown = facts(&tess)?;
    let (plain, demanding) = (
        serial(&shown, "tess@web-server")?,
        serial(&shown, "tess@vault")?,
    );
    for (machine, host, serial) in [(0, "web-1", plain), (1, "vault-1", demanding)] {
        let before = scene.machines[machine].sshd_log().len();
        assert_runs(&tess, &[host, "id -un; hostname"], &format!("tess\n{host}"))?;
        poll("sshd's line about the certificate", || {
            let log = log_since(&scene, machine, before);
            Ok(log.contains(&format!("(serial {serial})")) && log.contains("ED25519-SK-CERT"))
        })?;
    }
    let listed = tess
        .home
        .command("ssh-keygen")
        .args(["-L", "-f", "/root/.ssh/ca/cert-0-cert.pub"])
        .output()?;
    let other = tess
        .home
        .command("ssh-keygen")
        .args(["-L", "-f", "/root/.ssh/ca/cert-1-cert.pub"])
        .output()?;
    ensure!(
        [said(&listed), said(&other)]
            .iter()
            .filter(|text| text.contains("verify-required"))
            .count()
            == 1,
        "one of two carries the demand:\n{}{}",
        said(&listed),
        said(&other)
    );

    // A touch without the PIN opens what asks for nothing more, and sshd itself refuses the rest.
    token.owner(Owner::Touches);
    assert_runs(&tess, &["web-1", "id -un"], "tess")?;
    let before = scene.machines[1].sshd_log().len();
    assert_denied(&ssh(&tess, &["vault-1", "true"])?)?;
    poll("sshd's reason", || {
        Ok(log_since(&scene, 1, before).contains("user verification requirement not met"))
    })?;
    // A signature that nobody touched the key for opens nothing.
    token.owner(Owner::Absent);
    let before = scene.machines[0].sshd_log().len();
    assert_denied(&ssh(&tess, &["web-1", "true"])?)?;
    poll("sshd's reason", || {
        Ok(log_since(&scene, 0, before).contains("requirement not met"))
    })?;
    token.owner(Owner::Verified);
    assert_runs(&tess, &["vault-1", "id -un"], "tess")?;
    Ok(())
}

#[test]
fn i9_a_renewal_needs_what_the_login_needed_and_the_choice_is_remembered() -> Result<()> {
    let fleet = fleet!("i9_a_renewal_needs_what_the_login_needed_and_the_choice_is_remembered");
    let (_scene, mut uma) = with_machines(&fleet, "uma@corp.example")?;
    let (token, older) = (SecurityKey::ed25519()?, SecurityKey::ecdsa()?);
    let keys = [token.clone(), older.clone()];
    let agent = SecurityKey::agent(&keys, &uma.home.path().join(".sk-agent"))?;
    uma.home
        .set(&[("SSH_AUTH_SOCK", agent.socket().to_owned())]);

    // Two keys, and no word which: nobody is asked for a password before that is settled.
    let two = client(&uma.home, &["login", "--security-key"])?;
    assert_fails(&two, 1, &["more than one security key", "PATH"])?;
    uma.home
        .write_ssh("work.pub", &format!("{}\n", older.public_key()?))?;
    let older_at = ["--security-key", "/root/.ssh/work.pub"];

    // Not touched: refused. Touched without the PIN: a session, but a plain one, and it says so.
    older.owner(Owner::Absent);
    assert_fails(&without_a_code(&uma, &older_at)?, 1, &["touch"])?;
    older.owner(Owner::Declines);
    assert_fails(&without_a_code(&uma, &older_at)?, 1, &["did not sign"])?;
    older.owner(Owner::Touches);
    let touched = uma.try_login(&older_at)?;
    success("login by a touch", &touched)?;
    ensure!(
        said(&touched).contains("1 grant needs a security key that checks your PIN"),
        "{}",
        said(&touched)
    );
    ensure!(
        serial(&facts(&uma)?, "uma@vault").is_err(),
        "a touch alone got what needs the PIN"
    );
    // It does not become more by renewing.
    older.owner(Owner::Verified);
    success("renew", &client(&uma.home, &["renew"])?)?;
    ensure!(
        serial(&facts(&uma)?, "uma@vault").is_err(),
        "a renewal got what the login did not"
    );

    // With the PIN: plain `login` repeats the choice.
    success("login as before", &uma.try_login(&[])?)?;
    let shown = facts(&uma)?;
    ensure!(
        !shown["key_place"]["security_key"].is_null(),
        "the choice was not remembered: {shown}"
    );
    assert_runs(&uma, &["vault-1", "id -un"], "uma")?;
    assert_runs(&uma, &["web-1", "id -un"], "uma")?;
    let first = serial(&shown, "uma@vault")?;
    success("renew", &client(&uma.home, &["renew"])?)?;
    ensure!(serial(&facts(&uma)?, "uma@vault")? != first, "not renewed");
    assert_runs(&uma, &["vault-1", "id -un"], "uma")?;
    for owner in [Owner::Touches, Owner::Absent] {
        older.owner(owner);
        let refused = client(&uma.home, &["renew"])?;
        assert_fails(&refused, 1, &[])?;
    }
    older.owner(Owner::Verified);
    let doctor = client(&uma.home, &["doctor"])?;
    success("doctor", &doctor)?;
    ensure!(
        said(&doctor).contains("in a security key"),
        "{}",
        said(&doctor)
    );
    ensure!(
        token.signatures() == 0,
        "the key that was not named was asked"
    );

    // The key leaves the agent: said in words that help, at the login and by status.
    drop(agent);
    let gone = client(&uma.home, &["login"])?;
    assert_fails(&gone, 1, &["security key", "--plain-key"])?;
    ensure!(
        !client(&uma.home, &["status"])?.status.success(),
        "status says all is well"
    );
    // And back to a plain key, which is remembered as well.
    success("login --plain-key", &uma.try_login(&["--plain-key"])?)?;
    success("login as before", &uma.try_login(&[])?)?;
    ensure!(facts(&uma)?["key_place"] == "file", "{}", facts(&uma)?);
    assert_runs(&uma, &["web-1", "id -un"], "uma")?;
    Ok(())
}

#[test]
fn a_renewal_by_touch_never_waits_where_nobody_sits_and_asks_where_somebody_does() -> Result<()> {
    let fleet =
        fleet!("a_renewal_by_touch_never_waits_where_nobody_sits_and_asks_where_somebody_does");
    let (_scene, mut vera) = with_machines(&fleet, "vera@corp.example")?;
    let token = SecurityKey::ed25519()?;
    let agent = SecurityKey::agent(
        std::slice::from_ref(&token),
        &vera.home.path().join(".sk-agent"),
    )?;
    vera.home
        .set(&[("SSH_AUTH_SOCK", agent.socket().to_owned())]);
    let words = ["--security-key", "--lifetime", "75s"];
    success("login", &vera.try_login(&words)?)?;
    let held = facts(&vera)?;
    let (first, until) = (
        serial(&held, "vera@web-server")?,
        held["certificates"][0]["valid_before_unix"]
            .as_i64()
            .context("no end")?,
    );

    // Due and still good, without a terminal: ssh works, one line is said once, and nothing is renewed.
    make_due(&vera)?;
    let before = token.signatures();
    let output = ssh(&vera, &["web-1", "echo on-$(hostname)"])?;
    success("ssh while due", &output)?;
    ensure!(
        output.stdout == b"on-web-1\n",
        "a pipe is disturbed: {}",
        said(&output)
    );
    let lines = our_lines(&output);
    ensure!(
        lines.len() == 1 && lines[0].ends_with("ca-client renew"),
        "expected one line of what to do: {}",
        said(&output)
    );
    ensure!(
        token.signatures() == before + 1,
        "the key was asked for more than ssh's own login"
    );
    assert_runs(&vera, &["web-1", "id -un"], "vera")?;
    ensure!(
        serial(&facts(&vera)?, "vera@web-server")? == first,
        "renewed without anybody"
    );

    // Ended, without a terminal: one line, at once, and no signature.
    poll("the end of the certificates", || Ok(now_unix() > until))?;
    let before = token.signatures();
    let refused = vera.ssh(&["web-1", "true"])?;
    let lines = our_lines(&refused);
    ensure!(
        lines.len() == 1 && lines[0].ends_with("ca-client renew") && refused.stdout.is_empty(),
        "expected one line of what to do: {}",
        said(&refused)
    );
    ensure!(
        !refused.status.success() && !said(&refused).contains("Touch"),
        "{}",
        said(&refused)
    );
    ensure!(
        token.signatures() <= before + 2,
        "ssh alone may have tried its certificate"
    );

    // On a terminal the same ssh asks for the touch, renews, and goes on.
    let mut terminal = vera
        .home
        .terminal("ssh", &["web-1", "echo on-$(hostname)"])?;
    terminal.expect("your security key renews them")?;
    terminal.expect("Touch your security key.")?;
    terminal.expect("on-web-1")?;
    let (status, screen) = terminal.finish()?;
    ensure!(status.success(), "{status}: {screen}");
    ensure!(
        serial(&facts(&vera)?, "vera@web-server")? != first,
        "not renewed"
    );
    Ok(())
}

#[test]
fn openssh_asks_for_pin_and_touch_where_the_handle_is_a_file() -> Result<()> {
    let fleet = fleet!("openssh_asks_for_pin_and_touch_where_the_handle_is_a_file");
    let (_scene, mut wes) = with_machines(&fleet, "wes@corp.example")?;
    let token = SecurityKey::ed25519()?;
    let folder = wes.home.path().join(".sk");
    std::fs::create_dir(&folder)?;
    let middleware = token.middleware(&folder)?;
    wes.home.set(&middleware.environment());
    // ssh asks no environment for it.
    wes.home
        .write_ssh("config", &format!("{}\n", middleware.ssh_config()))?;

    // No security key yet: OpenSSH makes it, and the login goes on.
    let program = program("ca-client").to_string_lossy().into_owned();
    let mut terminal = wes.home.terminal(&program, &["login", "--security-key"])?;
    terminal.converse("[Y/n] ", "")?;
    terminal.converse("Enter PIN for authenticator: ", PIN)?;
    terminal.converse("Enter passphrase (empty for no passphrase): ", "")?;
    terminal.converse("Enter same passphrase again: ", "")?;
    terminal.converse("Email: ", "wes@corp.example")?;
    terminal.converse("Password: ", &wes.password.clone())?;
    terminal.expect("Code: ")?;
    terminal.answer(&wes.code())?;
    terminal.converse("Enter PIN for ED25519-SK key", PIN)?;
    terminal.expect("Confirm user presence for key ED25519-SK")?;
    let (status, screen) = terminal.finish()?;
    ensure!(status.success(), "{status}: {screen}");
    ensure!(
        screen.contains("/root/.ssh/id_ed25519_sk") && screen.contains("vault-1"),
        "{screen}"
    );
    ensure!(!screen.contains(PIN), "the PIN was echoed: {screen}");
    let shown = facts(&wes)?;
    ensure!(
        shown["key_place"]["security_key"]["handle"] == "/root/.ssh/id_ed25519_sk",
        "{shown}"
    );
    ensure!(
        !wes.home.ssh_path("ca/id").exists(),
        "a private key was left"
    );

    // Plain ssh, which asks by itself.
    let mut terminal = wes
        .home
        .terminal("ssh", &["vault-1", "echo on-$(hostname)"])?;
    terminal.converse("Enter PIN for ED25519-SK key", PIN)?;
    terminal.expect("on-vault-1")?;
    let (status, screen) = terminal.finish()?;
    ensure!(status.success(), "{status}: {screen}");

    // A wrong PIN, nobody at the terminal, and a key that is not plugged in: no session is lost, and it says what to do.
    let mut terminal = wes.home.terminal(&program, &["renew"])?;
    terminal.converse("Enter PIN for ED25519-SK key", "000000")?;
    let (status, screen) = terminal.finish()?;
    ensure!(
        status.code() == Some(1) && screen.contains("did not sign") && screen.contains("PIN"),
        "{status}: {screen}"
    );
    assert_fails(&client(&wes.home, &["renew"])?, 1, &["did not sign"])?;
    let mut terminal = wes.home.terminal(&program, &["renew"])?;
    terminal.converse("Enter PIN for ED25519-SK key", PIN)?;
    let (status, screen) = terminal.finish()?;
    ensure!(
        status.success() && screen.contains("Renewed until"),
        "{status}: {screen}"
    );
    drop(middleware);
    let mut terminal = wes.home.terminal(&program, &["renew"])?;
    terminal.converse("Enter PIN for ED25519-SK key", PIN)?;
    let (status, screen) = terminal.finish()?;
    ensure!(
        status.code() == Some(1) && screen.contains("Plug the security key in"),
        "{status}: {screen}"
    );
    success("logout", &client(&wes.home, &["logout"])?)?;
    ensure!(
        wes.home.ssh_path("id_ed25519_sk").exists(),
        "a logout took the handle"
    );
    Ok(())
}
