//! `ca-server`: the command line, and the two commands behind which the server itself stands.

use std::{
    io::BufRead,
    path::{Path, PathBuf},
    process::ExitCode,
};

use ca_server::{
    backup::{
        About, BackupError,
        archive::Contents,
        lock::{self, Locked, Way},
        make,
        restore::{self, Restored},
        verify,
    },
    break_glass::open,
    cli::{
        self, Broken, Report, Setup,
        args::{BackupArgs, InitArgs, KeySource, OpenArgs, ServeArgs, break_glass::Offline},
        output::{Failure, Verdict},
        passphrase,
        render::{
            backup::{self, InBackup},
            break_glass,
            setup::{Made, made},
        },
        time::Clock,
    },
    folder::Begun,
    init, serve,
    signer::pkcs11,
};
use serde_json::json;

fn main() -> ExitCode {
    // Not a command for people: the server starts itself like this, to keep vendors' modules out of its own memory.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == pkcs11::HELPER)
    {
        return pkcs11::helper::run();
    }
    cli::main(Setup {
        init: make,
        serve: run,
        backup: take,
        verify: look,
        restore: put_back,
        break_glass: glass,
    })
}

fn make(args: InitArgs) -> Result<Report, Failure> {
    let report = init::run(&args).map_err(|error| Failure::new("init", error.to_string()))?;
    Ok(Report {
        text: made(&Made {
            data: &report.data,
            url: &report.url,
            tls_fingerprint: &report.tls_fingerprint,
            user_ca: &report.user_ca,
            host_ca: &report.host_ca,
        }),
        data: json!({
            "data": report.data,
            "url": report.url,
            "fingerprint": report.tls_fingerprint,
            "user_ca": report.user_ca,
            "host_ca": report.host_ca,
        }),
    })
}

fn run(args: ServeArgs) -> Result<(), Failure> {
    serve::run(&args).map_err(|error| Failure::new("serve", error.to_string()))
}

fn failed(error: BackupError) -> Failure {
    Failure {
        code: "backup".to_owned(),
        hint: error.hint(),
        message: error.to_string(),
    }
}

fn in_backup(about: &About) -> InBackup<'_> {
    InBackup {
        program: &about.program,
        made_unix: about.made_unix,
        ca: &about.ca,
        instance_epoch: about.instance_epoch,
        entries: about.head.entries,
        keys: &about.keys,
    }
}

fn take(args: BackupArgs, clock: Clock) -> Result<Report, Failure> {
    serve::harden();
    let made = make::run(&args).map_err(failed)?;
    Ok(Report {
        text: backup::made(&made.file, made.bytes, &in_backup(&made.about), clock),
        data: json!({ "file": made.file, "bytes": made.bytes, "about": made.about }),
    })
}

/// What opens the backup; a person is asked only for what opens this one.
fn key<R: BufRead>(args: &OpenArgs, backup: &Locked<R>) -> Result<lock::Key, BackupError> {
    Ok(match &args.key {
        KeySource::Identity(path) => {
            backup.expects(Way::Identity)?;
            lock::Key::Identities(lock::identities(path)?)
        }
        KeySource::Passphrase(source) => {
            backup.expects(Way::Passphrase)?;
            lock::Key::Passphrase(passphrase::read(source, passphrase::Purpose::OpenBackup)?)
        }
    })
}

fn verified(args: &OpenArgs) -> Result<Contents, BackupError> {
    let backup = Locked::file(&args.file)?;
    let key = key(args, &backup)?;
    verify::locked(backup, &key)
}

fn restored(args: &OpenArgs, data: &Path, clock: Clock) -> Result<Restored, BackupError> {
    Begun::check(data)?;
    let backup = Locked::file(&args.file)?;
    let key = key(args, &backup)?;
    restore::locked(backup, &key, data, clock.now)
}

fn look(args: OpenArgs, clock: Clock) -> Result<Report, Failure> {
    serve::harden();
    let contents = verified(&args).map_err(failed)?;
    let manifest = &contents.manifest;
    let rows: Vec<(String, u64)> = manifest
        .tables
        .iter()
        .map(|(name, sum)| (name.clone(), sum.rows))
        .collect();
    let signer = contents.signer();
    Ok(Report {
        text: backup::verified(
            &args.file,
            &in_backup(&manifest.about),
            &rows,
            &signer,
            clock,
        ),
        data: json!({ "file": args.file, "signed_by": signer, "manifest": manifest }),
    })
}

fn put_back(args: OpenArgs, data: PathBuf, clock: Clock) -> Result<Report, Failure> {
    serve::harden();
    let restored = restored(&args, &data, clock).map_err(failed)?;
    let about = &restored.contents.manifest.about;
    Ok(Report {
        text: backup::restored(
            &restored.data,
            &in_backup(about),
            restored.instance_epoch,
            restored.machines,
            clock,
        ),
        data: json!({
            "data": restored.data,
            "about": about,
            "instance_epoch": restored.instance_epoch,
            "machines_to_read": restored.machines,
            "needs_keys": about.keys.is_empty(),
        }),
    })
}

fn glass(what: Offline, clock: Clock) -> Result<Broken, Failure> {
    serve::harden();
    let failed = |error: open::BreakGlassError| Failure::new("break_glass", error.to_string());
    match what {
        Offline::Look { folder } => {
            open::can_make_folder(&folder).map_err(failed)?;
            Ok(Broken {
                report: Report {
                    text: String::new(),
                    data: serde_json::Value::Null,
                },
                verdict: Verdict::Done,
                public_key: None,
            })
        }
        Offline::Make {
            folder,
            shares,
            needed,
        } => {
            let sealed = open::make(&folder, needed, shares, clock.now).map_err(failed)?;
            Ok(Broken {
                report: Report {
                    text: break_glass::made(&folder, needed, shares),
                    data: json!({ "folder": folder, "public_key": sealed.public_key, "needed": needed, "shares": shares }),
                },
                verdict: Verdict::Done,
                public_key: Some(sealed.public_key),
            })
        }
        Offline::Open { seal, out, minutes } => {
            // Before anybody types shares off paper for nothing.
            open::can_make_folder(&out).map_err(failed)?;
            let opened = open::open(
                &seal.sealed,
                &seal.shares,
                &out,
                &seal.who,
                minutes,
                clock.now,
            )
            .map_err(failed)?;
            Ok(Broken {
                report: Report {
                    text: break_glass::opened(&opened.key, opened.until_unix, clock),
                    data: json!({ "key": opened.key, "until_unix": opened.until_unix }),
                },
                verdict: Verdict::Done,
                public_key: None,
            })
        }
        Offline::Drill { seal, machines } => {
            let drilled = open::drill(&seal.sealed, &seal.shares, &machines, &seal.who, clock.now)
                .map_err(failed)?;
            let told: Vec<(String, Option<String>)> = drilled
                .into_iter()
                .map(|one| (one.machine, one.trouble))
                .collect();
            let wrong = told.iter().filter(|(_, trouble)| trouble.is_some()).count();
            let data: Vec<_> = told
                .iter()
                .map(|(machine, trouble)| json!({ "machine": machine, "opens": trouble.is_none(), "trouble": trouble }))
                .collect();
            Ok(Broken {
                report: Report {
                    text: break_glass::drilled(&told),
                    data: json!(data),
                },
                verdict: match wrong {
                    0 => Verdict::Done,
                    all if all == told.len() => Verdict::Failed,
                    _ => Verdict::Partly,
                },
                public_key: None,
            })
        }
    }
}
