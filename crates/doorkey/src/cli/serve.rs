//! `doorkey serve`: the service for a platform of any size.

use doorward_terminal::outln;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::Notify;

use crate::cli::IssuerDir;
use crate::cli::broker_args::BrokerArgs;
use crate::cli::log_collect;
use crate::email::smtp::{Mail, MailServer};
use crate::email::templates::Emails;
use crate::http::rate_limit::RateLimiter;
use crate::http::{Shared, description};
use crate::serve::{Options, serve};
use doorward_terminal::{CliError, block_on, exit_status};
use doorward_transport::clock::Stopwatch;
use doorward_transport::files;

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// Where to listen for HTTP. Put a proxy with TLS in front of it, or keep it on loopback.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8480")]
    listen: SocketAddr,
    /// What links in messages begin with, like `https://doors.example.org`.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// How many requests a minute one address may make.
    #[arg(long, value_name = "NUMBER", default_value_t = 600)]
    requests_per_minute: u32,
    /// Print the description of the API (OpenAPI 3.1) and end.
    #[arg(long)]
    openapi: bool,
    /// Keep the event logs of devices in this directory, and tell owners what is in them.
    #[arg(long, value_name = "DIR", requires_all = ["collector_key", "broker"])]
    logs: Option<PathBuf>,
    /// The key of the account that owners grant history.acknowledge for that.
    #[arg(long, value_name = "FILE", requires = "logs")]
    collector_key: Option<PathBuf>,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    mail: MailArgs,
}

#[derive(Debug, clap::Args)]
struct MailArgs {
    /// The mail server, like smtps://mail.example.org. Without one, links are to be passed on.
    #[arg(
        long,
        help_heading = "Mail",
        value_name = "URL",
        requires = "mail_from"
    )]
    smtp: Option<String>,
    /// Whom letters are from, like "Doors <doors@example.org>".
    #[arg(long, help_heading = "Mail", value_name = "ADDRESS", requires = "smtp")]
    mail_from: Option<String>,
    /// Your user name on it.
    #[arg(
        long,
        help_heading = "Mail",
        value_name = "NAME",
        requires = "smtp_password_file"
    )]
    smtp_user: Option<String>,
    /// The file with your password on it.
    #[arg(
        long,
        help_heading = "Mail",
        value_name = "FILE",
        requires = "smtp_user"
    )]
    smtp_password_file: Option<PathBuf>,
}

impl MailArgs {
    fn server(self) -> Result<Option<MailServer>, CliError> {
        let (Some(url), Some(from)) = (self.smtp, self.mail_from) else {
            return Ok(None);
        };
        let credentials = match (self.smtp_user, self.smtp_password_file) {
            (Some(user), Some(file)) => {
                let password = files::read_secret(&file, 4096)?;
                let password = String::from_utf8_lossy(&password).trim_end().to_owned();
                Some((user, password))
            }
            _ => None,
        };
        Ok(Some(MailServer {
            url,
            credentials,
            from,
        }))
    }
}

pub(crate) fn run(home: &IssuerDir, args: Serve, json: bool) -> Result<ExitCode, CliError> {
    if args.openapi {
        let text = description().to_pretty_json();
        outln!(
            "{}",
            text.map_err(|error| CliError::new(exit_status::IO, error))?
        );
        return Ok(ExitCode::SUCCESS);
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .init();
    let mail = args.mail.server()?;
    let broker = args.broker.broker();
    block_on(async {
        let platform = home.open().await?;
        let cannot = |error: std::io::Error| {
            CliError::new(
                exit_status::IO,
                format!("{} cannot be served: {error}", args.listen),
            )
        };
        let listener = std::net::TcpListener::bind(args.listen).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let base = args.base_url.unwrap_or_else(|| format!("http://{address}"));
        let mail = match mail {
            Some(server) => {
                Some(Mail::start(&server).map_err(|why| CliError::new(exit_status::USAGE, why))?)
            }
            None => None,
        };
        let shared = Arc::new(Shared {
            platform,
            changed: Notify::new(),
            limits: RateLimiter::new(args.requests_per_minute),
            since: Stopwatch::start(),
            letters: Emails::new(&base, mail),
        });
        match json {
            true => outln!("{}", json!({ "listening": address.to_string() })),
            false => outln!("listening on http://{address}, described at /v1/openapi.json"),
        }
        let ledger = shared.platform.ledger().clone();
        if let (Some(logs), Some(key), Some(broker)) = (args.logs, args.collector_key, &broker) {
            tokio::spawn(log_collect::follow_all(
                shared.clone(),
                logs,
                key,
                broker.clone(),
            ));
        }
        let options = Options { listener, broker };
        serve(shared, options, stopped()).await.map_err(cannot)?;
        ledger.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Completes when somebody ends the service.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
