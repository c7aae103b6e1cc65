//! `ca-server`: the certificate authority and its admin commands.

use std::process::ExitCode;

use ca_server::{
    cli::{self, Report, Setup, args::InitArgs, args::ServeArgs, output::Failure},
    init, serve,
};
use serde_json::json;

fn main() -> ExitCode {
    cli::main(Setup {
        init: make,
        serve: run,
    })
}

fn make(args: InitArgs) -> Result<Report, Failure> {
    let made = init::run(&args).map_err(|error| Failure::new("init", error.to_string()))?;
    let data = made.data.display();
    Ok(Report {
        text: format!(
            "A certificate authority is ready in {data}\n\n  \
             URL           {}\n  \
             fingerprint   {}\n  \
             user CA       {}\n  \
             host CA       {}\n\n\
             Next:  ca-server serve --data {data}\n\
             Keep the passphrase: without it, nobody can use the keys in this folder.\n",
            made.url, made.tls_fingerprint, made.user_ca, made.host_ca,
        ),
        data: json!({
            "data": made.data,
            "url": made.url,
            "fingerprint": made.tls_fingerprint,
            "user_ca": made.user_ca,
            "host_ca": made.host_ca,
        }),
    })
}

fn run(args: ServeArgs) -> Result<(), Failure> {
    serve::run(&args).map_err(|error| Failure::new("serve", error.to_string()))
}
