//! A group's request for access to a site, and the answer to it.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::LookupKey;
use crate::http::dto::{Name, Seconds, Share, end};
use crate::http::problem::{Asker, JsonBody, Path, Problem, Problems};
use crate::http::{App, now};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(look))
        .routes(routes!(decide))
}

/// What everybody may know of a group.
#[derive(Debug, Serialize, ToSchema)]
struct Public {
    name: String,
}

/// The public name of the group that a lookup key stands for.
#[utoipa::path(get, path = "/v1/access/{lookup_key}", tag = "access",
    params(("lookup_key" = String, Path, pattern = "^[A-Za-z0-9]{4,16}$", example = "TZBV")),
    responses((status = 200, body = Public), Problems))]
async fn look(
    State(app): State<App>,
    Path(lookup_key): Path<String>,
) -> Result<Json<Public>, Problem> {
    let group = app
        .platform
        .group_by_lookup_key(&LookupKey::new(&lookup_key)?)
        .await?;
    Ok(Json(Public { name: group.name }))
}

/// The answer to a request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Answer {
    /// The site; one that the approver manages.
    site: Name,
    approve: bool,
    /// For how long, if it is approved; a year without it.
    seconds: Option<Seconds>,
    /// Where to send the approver back to: on a host that the group has registered.
    #[schema(max_length = 1024)]
    return_url: Option<String>,
}

/// What was decided.
#[derive(Debug, Serialize, ToSchema)]
struct Decided {
    /// The share of the whole site, with the preset `partner`, if it was approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<Share>,
    /// The address to go back to, with the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    return_to: Option<String>,
}

/// Approves or denies a group's request for a whole site, later devices included.
#[utoipa::path(post, path = "/v1/access/{lookup_key}/decision", tag = "access",
    security(("session" = [])),
    params(("lookup_key" = String, Path, pattern = "^[A-Za-z0-9]{4,16}$", example = "TZBV")),
    request_body = Answer, responses((status = 200, body = Decided), Problems))]
async fn decide(
    State(app): State<App>,
    Asker(account): Asker,
    Path(lookup_key): Path<String>,
    JsonBody(answer): JsonBody<Answer>,
) -> Result<Json<Decided>, Problem> {
    const YEAR: Seconds = Seconds(365 * 86400);
    let end = end(answer.seconds.unwrap_or(YEAR), now());
    let url = answer.return_url.as_deref();
    let key = LookupKey::new(&lookup_key)?;
    let decided = app.platform.decide(
        &account,
        &key,
        &answer.site.0,
        (answer.approve, end),
        url,
        now(),
    );
    let decided = decided.await?;
    app.notify_outbox();
    Ok(Json(Decided {
        share: decided.share.as_ref().map(Share::from),
        return_to: decided.return_to,
    }))
}
