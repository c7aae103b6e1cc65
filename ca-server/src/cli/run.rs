//! Carries out one admin command: asks first where it hurts, sends it, follows it, and puts the answer where it belongs.

use std::{
    borrow::Cow,
    io::Write as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ca_api::admin::{AdminReply, AdminRequest, CaKeys, Invitation, RevokeTarget};

use self::apply::Next;
use super::{
    args::{GlobalArgs, Url},
    client::{ClientError, ask_socket, memory::Memory, remote::Remote},
    order::{Order, Sink},
    output::{Failure, Style, Verdict, data, print, verdict},
    progress::{Manner, Progress},
    render::{self, Context},
    terminal,
    time::Clock,
};

mod apply;
mod publish;

/// Carries it out.
///
/// # Errors
/// Refused by the person or the server, or the server cannot be asked.
pub fn run(order: Order, global: &GlobalArgs, clock: Clock) -> Result<Verdict, Failure> {
    let style = if global.json {
        Style::Json
    } else {
        Style::Text
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("system", format!("cannot start: {error}")))?;
    let exchange = |request: &AdminRequest| {
        let mut progress = Progress::new(Manner::choose(global.quiet, global.json));
        let reply = runtime.block_on(async {
            tokio::select! {
                reply = ask(request, global, clock, &mut progress) => reply.map_err(Failure::from),
                _ = tokio::signal::ctrl_c() => Err(stopped_watching()),
            }
        });
        progress.finish();
        reply
    };
    if let Some(question) = &order.question {
        somebody_to_ask()?;
        if let Some(look) = &order.look {
            pointless(&exchange(look)?)?;
        }
        agree(question)?;
    }
    let mut reply = exchange(&order.request)?;
    if let Some(apply) = &order.apply {
        match apply::next(apply, &order.request, &reply, global, clock)? {
            Next::Show => {}
            Next::Apply(request) => reply = exchange(&request)?,
        }
    }
    if let (Sink::Tree(folder), AdminReply::PublishIndex(index)) = (&order.sink, &reply) {
        let plain = matches!(order.request, AdminRequest::PublishIndex { plain: true });
        let published = publish::write(folder, index, |machine| {
            exchange(&AdminRequest::PublishFiles {
                machine: machine.to_owned(),
                plain,
            })
        })?;
        publish::tell(&published, folder, style, global.quiet)?;
        return Ok(Verdict::Done);
    }
    deliver(&reply, &order, global, style, clock)?;
    Ok(verdict(&reply, &order.sink))
}

/// Asks what the order asks, now instead of when it is carried out.
///
/// # Errors
/// The person does not agree, or nobody is there.
pub fn agree_to(order: &mut Order) -> Result<(), Failure> {
    order
        .question
        .take()
        .map_or(Ok(()), |question| agree(&question))
}

/// There is nothing of what the person would be asked about.
fn pointless(found: &AdminReply) -> Result<(), Failure> {
    let nothing = match found {
        AdminReply::BreakGlass(view) if view.keys.iter().all(|key| key.ended_unix.is_some()) => {
            "no machine trusts any break-glass credentials; there is nothing to revoke"
        }
        AdminReply::Recovery(view) if !view.restored => {
            "this CA was never restored from a backup; nothing is shut"
        }
        AdminReply::Recovery(view) if view.open => {
            "people can log in already; there is nothing to finish"
        }
        _ => return Ok(()),
    };
    Err(Failure::new("nothing_to_do", nothing))
}

fn somebody_to_ask() -> Result<(), Failure> {
    if terminal::somebody_there() {
        return Ok(());
    }
    let message =
        "this needs a confirmation, and there is no terminal to ask on; nothing was changed";
    let mut failure = Failure::new("not_confirmed", message);
    failure.hint = "Give --yes if it is meant.".to_owned();
    Err(failure)
}

fn agree(question: &str) -> Result<(), Failure> {
    somebody_to_ask()?;
    match terminal::confirm(question) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::new(
            "not_confirmed",
            "not confirmed; nothing was changed",
        )),
        Err(error) => Err(ClientError::Ask(error).into()),
    }
}

fn stopped_watching() -> Failure {
    let mut failure = Failure::new(
        "outcome_unknown",
        "stopped watching; what was reported above holds, the rest is unknown",
    );
    failure.hint = "See what happened: ca-server audit list --last 20. To push and prove again: ca-server krl push".to_owned();
    failure
}

async fn ask(
    request: &AdminRequest,
    global: &GlobalArgs,
    clock: Clock,
    progress: &mut Progress,
) -> Result<AdminReply, ClientError> {
    let mut on_event = |event: &_| progress.event(event);
    match &global.url {
        None => ask_socket(&global.data, request, &mut on_event).await,
        Some(url) => {
            let mut remote = remote(url.clone(), global.fingerprint.clone())?;
            let mut login = |last: Option<&str>| terminal::ask_login(url, last);
            remote
                .ask(
                    request,
                    clock.now.unix_timestamp(),
                    &mut login,
                    &mut on_event,
                )
                .await
        }
    }
}

fn remote(url: Url, fingerprint: Option<String>) -> Result<Remote, ClientError> {
    Remote::new(url, fingerprint, Memory::load(Memory::place()?)?)
}

/// Puts the answer where it belongs.
fn deliver(
    reply: &AdminReply,
    order: &Order,
    global: &GlobalArgs,
    style: Style,
    clock: Clock,
) -> Result<(), Failure> {
    match (&order.sink, reply) {
        (Sink::Nowhere, _) => return Ok(()),
        (Sink::Krl(path), AdminReply::KrlFile(base64)) => {
            let bytes = STANDARD.decode(base64).map_err(|error| {
                Failure::new(
                    "bad_answer",
                    format!("the KRL that came is not base64: {error}"),
                )
            })?;
            return write_out(path, &bytes, "KRL", global);
        }
        (Sink::Document(Some(path)), AdminReply::PolicyDocument(document)) => {
            return write_out(path, document.text.as_bytes(), "policy", global);
        }
        (Sink::Head(Some(path)), AdminReply::LedgerHead(head)) => {
            return write_out(
                path,
                render::audit::signed_head(head).as_bytes(),
                "head of the ledger",
                global,
            );
        }
        _ => {}
    }
    if style == Style::Json {
        return print(&format!("{:#}\n", data(reply)));
    }
    match (&order.sink, reply) {
        (Sink::PrintWho, AdminReply::Machine(machine)) => print(&render::machine::who(machine)),
        (_, AdminReply::Invited(invitation)) if global.quiet => {
            print(&format!("{}\n", render::paste_line(invitation)))
        }
        (_, AdminReply::Invited(invitation)) => invite(invitation, clock),
        _ => {
            let context = Context {
                clock,
                employee: employee(&order.request),
                width: terminal::width(),
            };
            print(&render::reply(&unread(reply, global), &context))?;
            match reply {
                AdminReply::PolicyApplied(applied) => {
                    applied.invitations.iter().try_for_each(|invitation| {
                        // Several lines: each says whose it is, as a comment of a shell.
                        let email = super::text::line(&invitation.employee.email);
                        print(&format!("# {email}\n"))?;
                        invite(invitation, clock)
                    })
                }
                _ => Ok(()),
            }
        }
    }
}

/// Leaves out what the person has just read on the same screen, while the command ran.
fn unread<'a>(reply: &'a AdminReply, global: &GlobalArgs) -> Cow<'a, AdminReply> {
    match reply {
        AdminReply::CaKeys(keys) if !global.quiet && terminal::shows_both_outputs() => {
            Cow::Owned(AdminReply::CaKeys(CaKeys {
                did: Vec::new(),
                machines: Vec::new(),
                ..keys.clone()
            }))
        }
        _ => Cow::Borrowed(reply),
    }
}

/// The line stands alone on standard output, so that it can be piped into a message.
fn invite(invitation: &Invitation, clock: Clock) -> Result<(), Failure> {
    let (before, after) = render::around_paste_line(invitation, clock);
    let mut stderr = anstream::stderr();
    let _ = stderr.write_all(before.as_bytes());
    print(&format!("{}\n", render::paste_line(invitation)))?;
    let _ = stderr.write_all(after.as_bytes());
    Ok(())
}

/// Whom a revocation was about, if they can come back.
fn employee(request: &AdminRequest) -> Option<String> {
    match request {
        AdminRequest::EmployeeSuspend { email, .. }
        | AdminRequest::KrlRevoke {
            target: RevokeTarget::Employee(email),
            ..
        } => Some(email.clone()),
        _ => None,
    }
}

/// Writes a file by rename, 0600: whoever reads the path sees the old content or the new, never a part (R6).
fn write_out(path: &Path, bytes: &[u8], what: &str, global: &GlobalArgs) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new("file", format!("cannot write {}: {error}", path.display()))
    };
    if path == Path::new("-") {
        let mut stdout = std::io::stdout().lock();
        return stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .map_err(failed);
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    // The temporary file's own name would tell nobody anything.
    let mut file =
        tempfile::NamedTempFile::new_in(&folder).map_err(|error| failed(error.kind().into()))?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    std::fs::File::open(&folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)?;
    if global.json {
        return print(&format!(
            "{:#}\n",
            serde_json::json!({ "file": path, "bytes": bytes.len() })
        ));
    }
    if !global.quiet {
        print(&format!(
            "The {what} is in {} ({} bytes).\n",
            path.display(),
            bytes.len()
        ))?;
    }
    Ok(())
}
