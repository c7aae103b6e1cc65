//! P1: which doors there are, and that each admin command needs an admin.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use ca_api::admin::AdminRequest;
use ca_server::http::Peer;
use serde_json::{Value, json};
use tower_service::Service;

use crate::world::World;

/// Every verb once: the match makes a new one a compile error here.
fn verb(request: &AdminRequest) -> &'static str {
    use AdminRequest as R;
    match request {
        R::EmployeeAdd { .. } => "employee_add",
        R::EmployeeList {} => "employee_list",
        R::EmployeeShow { .. } => "employee_show",
        R::EmployeeSet { .. } => "employee_set",
        R::EmployeeSuspend { .. } => "employee_suspend",
        R::EmployeeResume { .. } => "employee_resume",
        R::EmployeeReset { .. } => "employee_reset",
        R::EmployeeRemove { .. } => "employee_remove",
        R::PoolAdd { .. } => "pool_add",
        R::PoolList {} => "pool_list",
        R::PoolShow { .. } => "pool_show",
        R::PoolSet { .. } => "pool_set",
        R::PoolRemove { .. } => "pool_remove",
        R::PoolInclude { .. } => "pool_include",
        R::PoolExclude { .. } => "pool_exclude",
        R::TeamAdd { .. } => "team_add",
        R::TeamJoin { .. } => "team_join",
        R::TeamLeave { .. } => "team_leave",
        R::TeamList {} => "team_list",
        R::TeamShow { .. } => "team_show",
        R::TeamRemove { .. } => "team_remove",
        R::GrantAdd(_) => "grant_add",
        R::GrantList {} => "grant_list",
        R::GrantRemove { .. } => "grant_remove",
        R::PolicyPlan { .. } => "policy_plan",
        R::PolicyApply { .. } => "policy_apply",
        R::PolicyExport {} => "policy_export",
        R::PolicyMatrix { .. } => "policy_matrix",
        R::PolicyExplain { .. } => "policy_explain",
        R::PolicyImport { .. } => "policy_import",
        R::MachineList {} => "machine_list",
        R::MachineShow { .. } => "machine_show",
        R::MachineMove { .. } => "machine_move",
        R::MachineSet { .. } => "machine_set",
        R::MachineEnforce { .. } => "machine_enforce",
        R::MachineRemove { .. } => "machine_remove",
        R::BreakGlassTrust { .. } => "break_glass_trust",
        R::BreakGlassRevoke {} => "break_glass_revoke",
        R::BreakGlassShow {} => "break_glass_show",
        R::ClockShow {} => "clock_show",
        R::ClockAccept {} => "clock_accept",
        R::RecoveryShow {} => "recovery_show",
        R::RecoveryFinish { .. } => "recovery_finish",
        R::MachinePrepare(_) => "machine_prepare",
        R::MachineProbe { .. } => "machine_probe",
        R::MachineConfirm { .. } => "machine_confirm",
        R::KrlRevoke { .. } => "krl_revoke",
        R::KrlShow {} => "krl_show",
        R::KrlExport {} => "krl_export",
        R::KrlCheck { .. } => "krl_check",
        R::KrlPush {} => "krl_push",
        R::Sync { .. } => "sync",
        R::PublishIndex { .. } => "publish_index",
        R::PublishFiles { .. } => "publish_files",
        R::Check { .. } => "check",
        R::Keys { .. } => "keys",
        R::PoolEnforce { .. } => "pool_enforce",
        R::SessionList { .. } => "session_list",
        R::SessionEnd { .. } => "session_end",
        R::CaMove { .. } => "ca_move",
        R::CertList { .. } => "cert_list",
        R::CertShow { .. } => "cert_show",
        R::CaList {} => "ca_list",
        R::CaRotate { .. } => "ca_rotate",
        R::CaCompromise { .. } => "ca_compromise",
        R::CaRetire { .. } => "ca_retire",
        R::AuditList { .. } => "audit_list",
        R::AuditVerify { .. } => "audit_verify",
        R::AuditExport {} => "audit_export",
    }
}

/// How many arms `verb` has.
const VERBS: usize = 69;

pub fn every_command() -> Vec<Value> {
    let email = "zoe@corp.example";
    vec![
        json!({"verb": "employee_add", "email": email}),
        json!({"verb": "employee_list"}),
        json!({"verb": "employee_show", "email": email}),
        json!({"verb": "employee_set", "email": email}),
        json!({"verb": "employee_suspend", "email": email}),
        json!({"verb": "employee_resume", "email": email}),
        json!({"verb": "employee_reset", "email": email}),
        json!({"verb": "employee_remove", "email": email}),
        json!({"verb": "pool_add", "pool": "zoo"}),
        json!({"verb": "pool_list"}),
        json!({"verb": "pool_show", "pool": "zoo"}),
        json!({"verb": "pool_set", "pool": "zoo"}),
        json!({"verb": "pool_remove", "pool": "zoo"}),
        json!({"verb": "pool_include", "pool": "zoo", "inner": "web"}),
        json!({"verb": "pool_exclude", "pool": "zoo", "inner": "web"}),
        json!({"verb": "team_add", "team": "ops"}),
        json!({"verb": "team_join", "team": "ops", "employees": []}),
        json!({"verb": "team_leave", "team": "ops", "employees": []}),
        json!({"verb": "team_list"}),
        json!({"verb": "team_show", "team": "ops"}),
        json!({"verb": "team_remove", "team": "ops"}),
        json!({"verb": "grant_add", "employee": email, "pool": "web", "account": "self"}),
        json!({"verb": "grant_list"}),
        json!({"verb": "grant_remove", "id": 999}),
        json!({"verb": "policy_plan", "name": "p.toml", "text": ""}),
        json!({"verb": "policy_apply", "name": "p.toml", "text": "", "base": "00000000"}),
        json!({"verb": "policy_export"}),
        json!({"verb": "policy_matrix"}),
        json!({"verb": "policy_explain", "email": email, "machine": "m"}),
        json!({"verb": "policy_import", "name": "keys.cfg", "text": "", "format": "keymgr", "domain": "corp.example"}),
        json!({"verb": "machine_list"}),
        json!({"verb": "machine_show", "machine": "m"}),
        json!({"verb": "machine_move", "machine": "m", "pools": []}),
        json!({"verb": "machine_set", "machine": "m"}),
        json!({"verb": "machine_enforce", "machine": "m", "enforce": true}),
        json!({"verb": "machine_remove", "machine": "m"}),
        json!({
            "verb": "machine_prepare", "machine": "m", "address": "192.0.2.1", "port": 22, "pools": [], "host_key": "x",
            "admin_account": "ssh-admin", "sshd_version": "OpenSSH_9.2p1", "facts": "{}",
        }),
        json!({"verb": "break_glass_trust", "public_key": "x", "needed": 2, "shares": 3}),
        json!({"verb": "break_glass_revoke"}),
        json!({"verb": "break_glass_show"}),
        json!({"verb": "clock_show"}),
        json!({"verb": "clock_accept"}),
        json!({"verb": "recovery_show"}),
        json!({"verb": "recovery_finish"}),
        json!({"verb": "machine_probe", "machine": "m", "public_key": "x"}),
        json!({"verb": "machine_confirm", "machine": "m", "generation": 1, "krl_version": 1}),
        json!({"verb": "krl_revoke", "target": {"serial": 1}}),
        json!({"verb": "krl_show"}),
        json!({"verb": "krl_export"}),
        json!({"verb": "krl_check", "certificate": "x"}),
        json!({"verb": "krl_push"}),
        json!({"verb": "sync"}),
        json!({"verb": "publish_index"}),
        json!({"verb": "publish_files", "machine": "m"}),
        json!({"verb": "check"}),
        json!({"verb": "keys"}),
        json!({"verb": "pool_enforce", "pool": "zoo", "enforce": false}),
        json!({"verb": "session_list"}),
        json!({"verb": "session_end", "ids": []}),
        json!({"verb": "ca_move", "key": "user", "signer": "file"}),
        json!({"verb": "cert_list"}),
        json!({"verb": "cert_show", "serial": 1}),
        json!({"verb": "ca_list"}),
        json!({"verb": "ca_rotate", "key": "host"}),
        json!({"verb": "ca_compromise", "key": "host"}),
        json!({"verb": "ca_retire", "key": "host_ca"}),
        json!({"verb": "audit_list"}),
        json!({"verb": "audit_verify"}),
        json!({"verb": "audit_export"}),
    ]
}

/// One request as if from `peer`, through the whole router.
pub async fn ask(
    world: &World,
    peer: Peer,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> (StatusCode, String) {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    let mut request = request.body(Body::from(body.to_owned())).unwrap();
    request.extensions_mut().insert(peer);
    let response = world.router.clone().call(request).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 24)
        .await
        .unwrap();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_every_admin_command_needs_an_admin_whatever_else_one_has() {
    let commands = every_command();
    let mut named: Vec<&str> = commands
        .iter()
        .map(|one| verb(&serde_json::from_value(one.clone()).unwrap()))
        .collect();
    named.sort_unstable();
    named.dedup();
    assert_eq!(named.len(), VERBS, "a verb is missing from the list");

    let world = World::new().await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let chief = world.an_admin("chief@corp.example", &["web"]).await;
    let session = world.login(&alice).await;
    let chiefs_day = world.login(&chief).await;
    let mut strangers: Vec<(&str, Peer, Option<String>)> = Vec::new();
    let net = Peer::Network([192, 0, 2, 7].into());
    let me = nix::unistd::geteuid().as_raw();
    strangers.push(("nobody", net, None));
    strangers.push(("an empty token", net, Some("Bearer ".to_owned())));
    strangers.push(("another scheme", net, Some("Basic YTpi".to_owned())));
    strangers.push((
        "an employee's session secret",
        net,
        Some(format!("Bearer {}", session.secret)),
    ));
    strangers.push((
        "an admin's day session",
        net,
        Some(format!("Bearer {}", chiefs_day.secret)),
    ));
    strangers.push((
        "an admin's day session id",
        net,
        Some(format!("Bearer {}", chiefs_day.id)),
    ));
    strangers.push(("another uid on the socket", Peer::Socket(me + 4711), None));
    let mut gone = Vec::new();
    for (what, email) in [
        ("suspended", "suspended@corp.example"),
        ("no admin any longer", "demoted@corp.example"),
        ("removed", "removed@corp.example"),
        ("reset", "reset@corp.example"),
        ("revoked with login kept", "revoked@corp.example"),
    ] {
        let person = world.an_admin(email, &[]).await;
        let token = world.admin_token(&person).await;
        let change = match what {
            "suspended" => json!({"verb": "employee_suspend", "email": email}),
            "removed" => json!({"verb": "employee_remove", "email": email}),
            "reset" => json!({"verb": "employee_reset", "email": email}),
            "no admin any longer" => {
                json!({"verb": "employee_set", "email": email, "admin": false})
            }
            _ => {
                json!({"verb": "krl_revoke", "target": {"employee": email}, "keep_login": true})
            }
        };
        world.verb(change).await.unwrap();
        gone.push((what, token));
    }
    for (what, token) in gone {
        strangers.push((what, net, Some(format!("Bearer {token}"))));
    }
    let expired = world.admin_token(&chief).await;
    world.ca.clock.shift(15 * 60);
    strangers.push(("expired", net, Some(format!("Bearer {expired}"))));
    let fresh = format!("Bearer {}", world.admin_token(&chief).await);
    strangers.push((
        "a token cut short",
        net,
        Some(fresh[..fresh.len() - 1].to_owned()),
    ));
    strangers.push((
        "a token in capitals",
        net,
        Some(format!("Bearer {}", fresh[7..].to_uppercase())),
    ));

    let head = world.ca.db.snapshot().unwrap();
    let before = ca_server::store::Read::head(&head);
    for (who, peer, token) in &strangers {
        for command in &commands {
            let body = command.to_string();
            let (status, text) =
                ask(&world, *peer, "POST", "/v1/admin", token.as_deref(), &body).await;
            assert_eq!(
                status,
                StatusCode::UNAUTHORIZED,
                "{who}: {}: {text}",
                command["verb"]
            );
        }
        // Nor does a stranger learn which commands there are.
        let (status, _) = ask(
            &world,
            *peer,
            "POST",
            "/v1/admin",
            token.as_deref(),
            r#"{"verb":"no_such"}"#,
        )
        .await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{who}");
    }
    let after = world.ca.db.snapshot().unwrap();
    assert_eq!(
        ca_server::store::Read::head(&after),
        before,
        "a refused command changed something"
    );

    for (who, peer, token) in [
        ("an admin", net, Some(fresh.as_str())),
        ("the console", Peer::Socket(me), None),
    ] {
        for command in &commands {
            let (status, text) = ask(
                &world,
                peer,
                "POST",
                "/v1/admin",
                token,
                &command.to_string(),
            )
            .await;
            assert_eq!(status, StatusCode::OK, "{who}: {}: {text}", command["verb"]);
            let last: Value =
                serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap();
            assert_ne!(
                last["error"]["code"], "refused",
                "{who}: {}",
                command["verb"]
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_every_other_door_refuses_who_brings_nothing_and_there_are_no_more_doors() {
    let world = World::new().await;
    let net = Peer::Network([192, 0, 2, 7].into());
    for (method, path, status) in [
        ("GET", "/v1/ca", 200),
        ("GET", "/v1/nonce", 200),
        ("POST", "/v1/enrol/start", 400),
        ("POST", "/v1/enrol/finish", 400),
        ("POST", "/v1/login", 400),
        ("POST", "/v1/renew", 400),
        ("POST", "/v1/standing", 400),
        ("POST", "/v1/logout", 400),
        ("POST", "/v1/password", 400),
        ("POST", "/v1/admin/login", 400),
        ("POST", "/v1/admin", 401),
        ("POST", "/v1/admin/backup", 401),
        ("GET", "/v1/admin", 400),
        ("DELETE", "/v1/login", 400),
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/ca/", 404),
        ("GET", "/v1/../v1/admin", 404),
        ("POST", "/v1/admin/", 404),
        ("POST", "//v1/admin", 404),
        ("GET", "/metrics", 401),
        ("GET", "/v1/machine/web-1/head", 401),
        ("GET", "/v1/machine/web-1/krl", 401),
        ("GET", "/v1/machine/web-1/bundle", 401),
        ("POST", "/v1/machine/web-1/report", 401),
        ("GET", "/v1/machine/web-1/report", 400),
        ("GET", "/v1/machine/web-1", 404),
        ("GET", "/v1/machine/web-1/krl/x", 404),
        ("GET", "/debug", 404),
        ("GET", "/store.redb", 404),
    ] {
        let (got, text) = ask(&world, net, method, path, None, "{}").await;
        assert_eq!(got.as_u16(), status, "{method} {path}: {text}");
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            error["code"].is_string(),
            status != 200,
            "{method} {path}: the one shape of errors"
        );
    }
}
