//! `doorkey api` and `doorkey access`: the service as somebody with an account uses it.

use doorward_terminal::outln;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::api_client::{Client, ClientArgs};
use crate::domain::LookupKey;
use doorward_protocol::wire::Id;
use doorward_terminal::{CliError, exit_status, print_json};

#[derive(Debug, clap::Args)]
pub(crate) struct Api {
    /// GET, POST, PUT or DELETE.
    method: String,
    /// The path, like /v1/shares; /v1/openapi.json describes them all.
    path: String,
    /// The body, as JSON; @FILE for what is in a file.
    body: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn api(args: &Api) -> Result<ExitCode, CliError> {
    let body = match args.body.as_deref() {
        None => None,
        Some(text) => {
            let text = match text.strip_prefix('@') {
                Some(file) => {
                    let read =
                        doorward_transport::files::read(std::path::Path::new(file), 1 << 16)?;
                    String::from_utf8_lossy(&read).into_owned()
                }
                None => text.to_owned(),
            };
            let body: Value = serde_json::from_str(&text)
                .map_err(|error| CliError::new(exit_status::USAGE, format!("the body: {error}")))?;
            Some(body)
        }
    };
    let client = Client::sign_in(&args.client)?;
    let answer = client.ask(&args.method.to_ascii_uppercase(), &args.path, body.as_ref())?;
    if !answer.is_null() {
        print_json(&answer);
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, clap::Args)]
pub(crate) struct SignIn {
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn sign_in(args: &SignIn, json: bool) -> Result<ExitCode, CliError> {
    let client = Client::sign_in(&args.client)?;
    let token = client.token().unwrap_or_default();
    match json {
        true => print_json(&json!({ "token": token })),
        false => outln!("{token}"),
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, clap::Args)]
pub(crate) struct Access {
    /// The lookup key of the group that asks.
    group: LookupKey,
    /// The site that it may use; without it, the sites that you manage are listed.
    #[arg(long, value_name = "SITE")]
    site: Option<Id>,
    /// Let it in.
    #[arg(long, requires = "site", conflicts_with = "deny")]
    approve: bool,
    /// Say no.
    #[arg(long, requires = "site")]
    deny: bool,
    /// Where the group wants you to be sent back to.
    #[arg(long, value_name = "URL")]
    return_url: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn access(args: &Access, json: bool) -> Result<ExitCode, CliError> {
    let client = Client::sign_in(&args.client)?;
    let path = format!("/v1/access/{}", args.group);
    let answer = match (&args.site, args.approve || args.deny) {
        (Some(site), true) => {
            let body = json!({
                "site": site.as_str(), "approve": args.approve, "return_url": args.return_url,
            });
            client.ask("POST", &format!("{path}/decision"), Some(&body))?
        }
        _ => json!({
            "group": client.ask("GET", &path, None)?, "sites": client.ask("GET", "/v1/sites", None)?,
        }),
    };
    if json {
        print_json(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    match (&args.site, args.approve, args.deny) {
        (Some(site), true, _) => outln!("{} may use site:{site} now", args.group),
        (Some(site), _, true) => outln!("{} may not use site:{site}", args.group),
        _ => {
            outln!(
                "{} asks for a whole site",
                answer["group"]["name"].as_str().unwrap_or("?")
            );
            let sites = answer["sites"].as_array().into_iter().flatten();
            let sites: Vec<&str> = sites.filter_map(Value::as_str).collect();
            match sites.is_empty() {
                true => outln!("You manage no site."),
                false => outln!(
                    "Answer with --site and --approve or --deny: {}",
                    sites.join(", ")
                ),
            }
        }
    }
    if let Some(back) = answer["return_to"].as_str() {
        outln!("Back to  {back}");
    }
    Ok(ExitCode::SUCCESS)
}
