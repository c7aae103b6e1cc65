//! `ca-server`: the command line, and the two commands behind which the server itself stands.

use std::process::ExitCode;

use ca_server::{
    cli::{
        self, Report, Setup,
        output::Failure,
        render::setup::{Made, made},
    },
    init, serve,
};
use serde_json::json;

fn main() -> ExitCode {
    cli::main(Setup {
        init: |args| {
            let report =
                init::run(&args).map_err(|error| Failure::new("init", error.to_string()))?;
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
                    "tls_fingerprint": report.tls_fingerprint,
                    "user_ca": report.user_ca,
                    "host_ca": report.host_ca,
                }),
            })
        },
        serve: |args| serve::run(&args).map_err(|error| Failure::new("serve", error.to_string())),
    })
}
