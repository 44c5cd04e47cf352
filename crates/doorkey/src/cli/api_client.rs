//! HTTP client of the service: signs in with a key, sends requests, and reports its errors.

use std::path::PathBuf;

use serde_json::{Value, json};
use ureq::http::Method;

use crate::cli::args::{KeyArgs, missing};
use crate::cli::profile::ProfileArgs;
use crate::service::sign_in_message;
use doorward_client::HolderKey;
use doorward_protocol::wire::{Bytes, Id};
use doorward_terminal::{CliError, exit_status};
use doorward_transport::files;

/// Largest response, in bytes.
const MAX_RESPONSE: u64 = 16 << 20;

/// The service and the account that signs in.
#[derive(Debug, clap::Args)]
pub(crate) struct ClientArgs {
    /// URL of the service, like `https://doors.example.org`
    #[arg(
        long,
        alias = "server",
        help_heading = "Service",
        value_name = "URL",
        env = "DOORKEY_SERVICE"
    )]
    service: Option<String>,
    /// File with the CA certificates that the service's certificate is checked against [default:
    /// the web's]
    #[arg(
        long,
        alias = "server-ca",
        help_heading = "Service",
        value_name = "FILE"
    )]
    service_ca: Option<PathBuf>,
    /// Your account
    #[arg(long, alias = "as", help_heading = "Service", value_name = "ACCOUNT")]
    account: Id,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    profile: ProfileArgs,
}

/// A client of a service.
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

    /// The session token.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Starts a session.
    pub(crate) fn sign_in(args: &ClientArgs) -> Result<Self, CliError> {
        let profile = args.profile.load()?;
        let service = args
            .service
            .clone()
            .or_else(|| std::env::var("DOORKEY_SERVER").ok())
            .or_else(|| profile.service.clone())
            .ok_or_else(|| missing("service", "--service URL", "DOORKEY_SERVICE"))?;
        let holder = HolderKey::open(&args.key.resolve(&profile)?)?;
        let mut client = Self::new(&service, args.service_ca.as_ref())?;
        let account = json!({ "account": args.account.as_str() });
        let challenge = client.request("POST", "/v1/challenges", Some(&account))?;
        let no_challenge =
            || CliError::new(exit_status::DATA, "the service did not send a challenge");
        let nonce = challenge["nonce"]
            .as_str()
            .and_then(Bytes::from_hex)
            .ok_or_else(no_challenge)?;
        let platform = challenge["platform"]
            .as_str()
            .and_then(|name| Id::new(name).ok());
        let message = sign_in_message(&platform.ok_or_else(no_challenge)?, &args.account, &nonce);
        let signed = json!({
            "account": args.account.as_str(), "nonce": nonce.hex(),
            "signature": holder.sign_text(&message).hex(),
        });
        let session = client.request("POST", "/v1/sessions", Some(&signed))?;
        client.token = session["token"].as_str().map(str::to_owned);
        Ok(client)
    }

    /// Sends a request and returns the JSON of the response; null if it has no body.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, CliError> {
        let url = format!("{}{path}", self.base);
        let unreachable = |error: &dyn std::fmt::Display| {
            CliError::new(
                exit_status::UNAVAILABLE,
                format!("{} cannot be reached: {error}", self.base),
            )
        };
        let method: Method = method
            .parse()
            .map_err(|_| CliError::new(exit_status::USAGE, "this is not an HTTP method"))?;
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
        let mut response = self
            .agent
            .run(request)
            .map_err(|error| unreachable(&error))?;
        let code = response.status();
        let read = response
            .body_mut()
            .with_config()
            .limit(MAX_RESPONSE)
            .read_to_vec();
        let read = read.map_err(|error| unreachable(&error))?;
        let value: Value = serde_json::from_slice(&read).unwrap_or_default();
        if code.is_success() {
            return Ok(value);
        }
        let message = value["message"]
            .as_str()
            .unwrap_or("the service refused the request");
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
