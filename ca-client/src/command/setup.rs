//! `setup URL --fingerprint SHA256:…`: pins the CA, once per computer (C2).

use clap::Args;
use serde::Serialize;

use super::{Ending, Failure, JsonFlag, block_on, print_json};
use crate::{
    api::{CallError, Client},
    config::{Config, Settings},
    directory::public_keys,
    due::now_unix,
    key,
    places::Places,
    say,
    session::Session,
    text,
    trust::{Fingerprint, FingerprintError, Pinned},
    url::{ServerUrl, UrlError},
};

/// A clock that is off by more makes certificates look expired, or not valid yet.
pub(super) const CLOCK_TOLERANCE_SECS: i64 = 60;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where the CA is: https://HOST:PORT
    url: String,
    /// SHA256:… of the CA's TLS certificate
    #[arg(long, value_name = "SHA256:…")]
    fingerprint: String,
    #[command(flatten)]
    json: JsonFlag,
}

#[derive(Serialize)]
struct Report<'a> {
    url: &'a ServerUrl,
    ca_id: &'a str,
    fingerprint: String,
}

pub(super) fn run(places: &Places, arguments: &Arguments) -> Result<Ending, Failure> {
    let url: ServerUrl = arguments.url.parse().map_err(|error: UrlError| {
        Failure::new(
            error.to_string(),
            "Paste the whole line that your admin gave you.",
        )
    })?;
    let fingerprint: Fingerprint =
        arguments
            .fingerprint
            .parse()
            .map_err(|error: FingerprintError| {
                Failure::new(
                    error.to_string(),
                    "Paste the whole line that your admin gave you.",
                )
            })?;
    let (pinned, info) = block_on(reach(url.clone(), fingerprint))??;
    let user_cas: Vec<_> = public_keys(&info.user_cas).iter().map(key::bare).collect();
    if user_cas.is_empty() {
        return Err(Failure::new(
            "the CA names no user CA key",
            "Tell your admin; nothing was changed here.",
        ));
    }
    let ca_id = text::line(&info.ca_id);
    let (email, security_key) = match Config::load(places) {
        Ok(old) if old.settings.ca_id == ca_id => (old.settings.email, old.settings.security_key),
        Ok(old) if Session::load(places).is_ok() => {
            return Err(Failure::new(
                format!("you are logged in at another CA ({})", old.settings.url),
                "Log out there first: ca-client logout",
            ));
        }
        Ok(_) | Err(_) => (None, None),
    };
    let config = Config {
        settings: Settings {
            url,
            ca_id,
            user_cas,
            email,
            security_key,
        },
        pinned,
    };
    config.save(places)?;
    let Settings { url, ca_id, .. } = &config.settings;
    if arguments.json.json {
        print_json(&Report {
            url,
            ca_id,
            fingerprint: config.pinned.fingerprint().to_string(),
        });
    } else {
        say::out(&format!(
            "This computer trusts the CA at {url}.\n  CA   {ca_id}\n  TLS  {}\nNext: ca-client enrol CODE with your invitation, or ca-client login.\n",
            config.pinned.fingerprint()
        ));
    }
    let off = info.now_unix - now_unix();
    if off.abs() > CLOCK_TOLERANCE_SECS {
        say::err(&format!(
            "This computer's clock is {} {} the CA's. Set it right, or certificates will not work.",
            say::duration(off.abs()),
            if off > 0 { "behind" } else { "ahead of" }
        ));
    }
    Ok(Ending::Done)
}

async fn reach(
    url: ServerUrl,
    fingerprint: Fingerprint,
) -> Result<(Pinned, ca_api::ServerInfo), CallError> {
    let (pinned, client) = Client::pin(url, fingerprint).await?;
    let info = client.server_info().await?;
    Ok((pinned, info))
}
