//! The pages that links open: a short explanation and the command to run, in the reader's
//! language.

use axum::Router;
use axum::extract::State;
use axum::response::Html;
use axum::routing::get;
use serde::Deserialize;

use crate::domain::{LookupKey, supported_language};
use crate::email::templates::escaped;
use crate::http::App;
use crate::http::extract::{Path, Query};
use crate::http::problem::Problem;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/access/request/{lookup_key}", get(request))
        .route("/accept/{invitation}", get(accept))
}

/// The query parameters of the links.
#[derive(Debug, Default, Deserialize)]
struct LinkQuery {
    /// The site to preselect; ignored if the approver does not manage it.
    #[serde(rename = "installationId")]
    installation: Option<String>,
    #[serde(default)]
    lang: String,
    #[serde(rename = "returnUrl")]
    return_url: Option<String>,
}

/// The page of a group's access request. It shows only the group's public name, and rejects a
/// return address whose host the group has not registered.
async fn request(
    State(app): State<App>,
    Path(lookup_key): Path<String>,
    Query(query): Query<LinkQuery>,
) -> Result<Html<String>, Problem> {
    let group = app
        .platform
        .group_by_lookup_key(&LookupKey::new(&lookup_key)?)
        .await?;
    if let Some(url) = &query.return_url {
        group.return_to(url, None, false)?;
    }
    let language = supported_language(&query.lang);
    let (title, ask, type_this) = match language {
        "de" => (
            "Zugriff erlauben?",
            "möchte alle Geräte eines Ihrer Standorte verwalten, auch solche, die später \
             dazukommen.",
            "Wer den Standort verwaltet, antwortet mit",
        ),
        "fr" => (
            "Autoriser l’accès ?",
            "souhaite gérer tous les appareils d’un de vos sites, y compris ceux qui seront \
             ajoutés plus tard.",
            "La personne qui gère le site répond avec",
        ),
        _ => (
            "Allow access?",
            "would like to manage every device of one of your sites, those added later included.",
            "Whoever manages the site answers with",
        ),
    };
    let site = match query
        .installation
        .as_deref()
        .map(doorward_protocol::wire::Id::new)
    {
        Some(Ok(site)) => site.to_string(),
        _ => "SITE".to_owned(),
    };
    let command = format!(
        "doorkey access {} --site {site} --approve",
        group.lookup_key
    );
    let text = format!("<strong>{}</strong> {ask}", escaped(&group.name));
    Ok(page(language, title, &text, type_this, &command))
}

/// The page of an invitation. The code is in the fragment of the link, which browsers do not send
/// to servers.
async fn accept(
    State(app): State<App>,
    Path(invitation): Path<String>,
    Query(query): Query<LinkQuery>,
) -> Html<String> {
    let language = supported_language(&query.lang);
    let (title, text, type_this) = match language {
        "de" => (
            "Jemand möchte Geräte mit Ihnen teilen",
            "Der Code steht in Ihrer Nachricht.",
            "Annehmen mit",
        ),
        "fr" => (
            "On souhaite partager des appareils avec vous",
            "Le code se trouve dans votre message.",
            "Accepter avec",
        ),
        _ => (
            "Somebody would like to share devices with you",
            "The code is in your message.",
            "Accept with",
        ),
    };
    let id = doorward_protocol::wire::Bytes::<16>::from_hex(&invitation);
    let id = id.map_or_else(|| "ID".to_owned(), |id| id.hex());
    let command = format!(
        "doorkey accept '{}/accept/{id}#CODE' --key my.key",
        app.emails.base()
    );
    page(language, title, text, type_this, &command)
}

fn page(language: &str, title: &str, text: &str, type_this: &str, command: &str) -> Html<String> {
    Html(format!(
        "<!doctype html>\n<html lang=\"{language}\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <h1>{title}</h1>\n<p>{text}</p>\n<p>{type_this}</p>\n<pre>{}</pre>\n</html>\n",
        escaped(command)
    ))
}
