//! `doorkey serve`: runs the service.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::Notify;

use crate::cli::args::{IssuerArgs, OutputArgs};
use crate::cli::broker_args::BrokerArgs;
use crate::cli::log_collect;
use crate::email::smtp::{Mail, MailServer};
use crate::email::templates::Emails;
use crate::http::rate_limit::RateLimiter;
use crate::http::{Shared, description};
use crate::serve::{Options, serve};
use doorward_terminal::{CliError, block_on, exit_status, outln};
use doorward_transport::clock::Stopwatch;
use doorward_transport::files;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  doorkey serve --broker mqtts://broker.example.org --base-url https://doors.example.org
  doorkey serve --broker mqtts://broker.example.org --smtp smtps://mail.example.org \
--mail-from \"Doors <doors@example.org>\"
  doorkey serve --openapi")]
pub(crate) struct Serve {
    /// Address to listen on for HTTP: keep it on loopback, or behind a proxy with TLS
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8480")]
    listen: SocketAddr,
    /// Base URL of links in messages, like `https://doors.example.org`
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Rate limit: requests a minute of one address
    #[arg(long, value_name = "NUMBER", default_value_t = 600)]
    requests_per_minute: u32,
    /// Print the description of the API (OpenAPI 3.1) and exit
    #[arg(long)]
    openapi: bool,
    /// Directory to collect the event logs of devices in, for alerts and reviews; needs a broker
    #[arg(long, value_name = "DIR", requires = "collector_key")]
    logs: Option<PathBuf>,
    /// File with the secret key of the account that owners grant history.acknowledge
    #[arg(long, value_name = "FILE", requires = "logs")]
    collector_key: Option<PathBuf>,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    mail: MailArgs,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct MailArgs {
    /// URL of the mail server, like smtps://mail.example.org; without it, no e-mails are sent
    #[arg(
        long,
        help_heading = "Mail",
        value_name = "URL",
        requires = "mail_from"
    )]
    smtp: Option<String>,
    /// Sender address (From:), like "Doors <doors@example.org>"
    #[arg(long, help_heading = "Mail", value_name = "ADDRESS", requires = "smtp")]
    mail_from: Option<String>,
    /// Your user name on the mail server
    #[arg(
        long,
        help_heading = "Mail",
        value_name = "NAME",
        requires = "smtp_password_file"
    )]
    smtp_user: Option<String>,
    /// File with your password on the mail server
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

pub(crate) fn run(args: Serve) -> Result<ExitCode, CliError> {
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
    let home = args.issuer.resolve()?;
    let broker = home.broker(args.broker)?;
    if args.logs.is_some() && broker.is_none() {
        let why = "--logs needs a broker, and none is given";
        return Err(CliError::new(exit_status::USAGE, why).with_remedy("Give --broker URL."));
    }
    block_on(async {
        let platform = home.open().await?;
        let cannot = |error: std::io::Error| {
            CliError::new(
                exit_status::IO,
                format!("cannot serve on {}: {error}", args.listen),
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
            outbox_changed: Notify::new(),
            rate_limiter: RateLimiter::new(args.requests_per_minute),
            started: Stopwatch::start(),
            emails: Emails::new(&base, mail),
        });
        match args.output.json {
            true => outln!("{}", json!({ "listening": address.to_string() })),
            false => outln!("listening on http://{address}, described at /v1/openapi.json"),
        }
        let database = shared.platform.ledger().clone();
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
        database.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Completes when the service is asked to stop, by SIGTERM or SIGINT.
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
