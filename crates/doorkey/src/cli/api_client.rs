//! A client of the service: signs in with a key, asks, and tells refusals as they were told.

use std::path::PathBuf;

use serde_json::{Value, json};
use ureq::http::Method;

use crate::service::sign_in_message;
use doorward_client::HolderKey;
use doorward_protocol::wire::{Bytes, Id};
use doorward_terminal::{CliError, exit_status};
use doorward_transport::files;

/// Largest answer, in bytes.
const LARGEST: u64 = 16 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct ClientArgs {
    /// The service, like `https://doors.example.org`.
    #[arg(long, value_name = "URL", env = "DOORKEY_SERVER")]
    pub(crate) server: String,
    /// Certificates of the authorities that may vouch for it; otherwise those of the web.
    #[arg(long, value_name = "FILE")]
    pub(crate) server_ca: Option<PathBuf>,
    /// Your account.
    #[arg(long = "as", value_name = "ACCOUNT")]
    pub(crate) account: Id,
    /// Your key.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
}

/// A service that one talks to.
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

impl Client {
    /// A client that has not signed in.
    pub(crate) fn new(base: &str, ca: Option<&PathBuf>) -> Result<Self, CliError> {
        let mut tls = ureq::tls::TlsConfig::builder();
        if let Some(file) = ca {
            let pem = files::read(file, 1 << 20)?;
            let wrong =
                |error| CliError::new(exit_status::DATA, format!("{}: {error}", file.display()));
            let mut roots = Vec::new();
            for item in ureq::tls::parse_pem(&pem) {
                if let ureq::tls::PemItem::Certificate(certificate) = item.map_err(wrong)? {
                    roots.push(certificate);
                }
            }
            tls = tls.root_certs(ureq::tls::RootCerts::new_with_certs(&roots));
        }
        let config = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(std::time::Duration::from_secs(60)))
            .build();
        Ok(Self {
            agent: config.new_agent(),
            base: base.trim_end_matches('/').to_owned(),
            token: None,
        })
    }

    /// The token of the session.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Signs in.
    pub(crate) fn sign_in(args: &ClientArgs) -> Result<Self, CliError> {
        let holder = HolderKey::open(&args.key)?;
        let mut client = Self::new(&args.server, args.server_ca.as_ref())?;
        let asking = json!({ "account": args.account.as_str() });
        let challenge = client.ask("POST", "/v1/challenges", Some(&asking))?;
        let strange = || CliError::new(exit_status::DATA, "the service gives no challenge");
        let nonce = challenge["nonce"]
            .as_str()
            .and_then(Bytes::from_hex)
            .ok_or_else(strange)?;
        let platform = challenge["platform"]
            .as_str()
            .and_then(|name| Id::new(name).ok());
        let message = sign_in_message(&platform.ok_or_else(strange)?, &args.account, &nonce);
        let signed = json!({
            "account": args.account.as_str(), "nonce": nonce.hex(),
            "signature": holder.sign_text(&message).hex(),
        });
        let session = client.ask("POST", "/v1/sessions", Some(&signed))?;
        client.token = session["token"].as_str().map(str::to_owned);
        Ok(client)
    }

    /// Asks, and returns the JSON of the answer.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, CliError> {
        let url = format!("{}{path}", self.base);
        let unreachable = |error: &dyn std::fmt::Display| {
            CliError::new(
                exit_status::UNAVAILABLE,
                format!("{} does not answer: {error}", self.base),
            )
        };
        let method: Method = method
            .parse()
            .map_err(|_| CliError::new(exit_status::USAGE, "there is no such method"))?;
        let mut request = ureq::http::Request::builder().method(method).uri(&url);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let text = body.map(Value::to_string);
        if text.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request
            .body(text.unwrap_or_default())
            .map_err(|error| CliError::new(exit_status::USAGE, format!("{url}: {error}")))?;
        let mut answer = self
            .agent
            .run(request)
            .map_err(|error| unreachable(&error))?;
        let code = answer.status();
        let read = answer.body_mut().with_config().limit(LARGEST).read_to_vec();
        let read = read.map_err(|error| unreachable(&error))?;
        let value: Value = serde_json::from_slice(&read).unwrap_or_default();
        if code.is_success() {
            return Ok(value);
        }
        let message = value["message"].as_str().unwrap_or("the service refused");
        let why = format!(
            "{message} ({})",
            value["code"].as_str().unwrap_or(code.as_str())
        );
        let exit = match code.as_u16() {
            500.. | 429 => exit_status::UNAVAILABLE,
            _ => exit_status::DENIED,
        };
        Err(CliError::new(exit, why).with_remedy(value["remedy"].as_str().unwrap_or_default()))
    }
}
