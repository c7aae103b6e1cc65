//! `ca-server`: the command line, and the two commands behind which the server itself stands.

use std::process::ExitCode;

use ca_server::{
    cli::{
        self, Report, Setup,
        args::{InitArgs, ServeArgs},
        output::Failure,
        render::setup::{Made, made},
    },
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
