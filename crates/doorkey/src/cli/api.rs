//! `doorkey api`, `doorkey access` and `doorkey sign-in`: the service, used with an account.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::api_client::{Client, ClientArgs};
use crate::cli::args::OutputArgs;
use crate::domain::LookupKey;
use doorward_protocol::wire::Id;
use doorward_terminal::output::print_json_once;
use doorward_terminal::{CliError, exit_status, outln, outln_once, print_json};

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  doorkey api GET /v1/shares --service https://doors.example.org --account ole --key ole.key
  doorkey api PUT /v1/devices/ups-7/plan '{\"plan\": \"basic\"}' --account otto --profile office

The response is printed as JSON.")]
pub(crate) struct Api {
    /// HTTP method: GET, POST, PUT or DELETE
    method: String,
    /// Path, like /v1/shares; /v1/openapi.json describes all of them
    path: String,
    /// Body of the request, as JSON; @FILE for the content of a file
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
    let response = client.request(&args.method.to_ascii_uppercase(), &args.path, body.as_ref())?;
    if !response.is_null() {
        // A response can contain a one-time code, such as that of an invitation.
        print_json_once(&response);
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  doorkey sign-in --service https://doors.example.org --account ole --key ole.key")]
pub(crate) struct SignIn {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn sign_in(args: &SignIn) -> Result<ExitCode, CliError> {
    let client = Client::sign_in(&args.client)?;
    let token = client.token().unwrap_or_default();
    match args.output.json {
        true => print_json_once(&json!({ "token": token })),
        false => outln_once!("{token}"),
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  doorkey access TZBV --account ole --key ole.key --service https://doors.example.org
  doorkey access TZBV --site depot --approve --account ole --key ole.key")]
pub(crate) struct Access {
    /// Lookup key of the group that requests access
    group: LookupKey,
    /// Site that the request is answered for; without it, the sites that you manage are listed
    #[arg(long, value_name = "SITE")]
    site: Option<Id>,
    /// Approve the request
    #[arg(long, requires = "site", conflicts_with = "deny")]
    approve: bool,
    /// Deny the request
    #[arg(long, requires = "site")]
    deny: bool,
    /// Return URL of the group, which must be on one of its hosts
    #[arg(long, value_name = "URL")]
    return_url: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn access(args: &Access) -> Result<ExitCode, CliError> {
    let client = Client::sign_in(&args.client)?;
    let path = format!("/v1/access/{}", args.group);
    let answer = match (&args.site, args.approve || args.deny) {
        (Some(site), true) => {
            let body = json!({
                "site": site.as_str(), "approve": args.approve, "return_url": args.return_url,
            });
            client.request("POST", &format!("{path}/decision"), Some(&body))?
        }
        _ => json!({
            "group": client.request("GET", &path, None)?, "sites": client.request("GET", "/v1/sites", None)?,
        }),
    };
    if args.output.json {
        print_json(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    match (&args.site, args.approve, args.deny) {
        (Some(site), true, _) => outln!("access of {} to site:{site} is approved", args.group),
        (Some(site), _, true) => outln!("access of {} to site:{site} is denied", args.group),
        _ => {
            outln!(
                "{} requests access to a site",
                answer["group"]["name"].as_str().unwrap_or("?")
            );
            let sites = answer["sites"].as_array().into_iter().flatten();
            let sites: Vec<&str> = sites.filter_map(Value::as_str).collect();
            match sites.is_empty() {
                true => outln!("no sites: you manage none"),
                false => outln!(
                    "Answer with --site and --approve or --deny: {}",
                    sites.join(", ")
                ),
            }
        }
    }
    if let Some(back) = answer["return_to"].as_str() {
        outln!("return   {back}");
    }
    Ok(ExitCode::SUCCESS)
}
