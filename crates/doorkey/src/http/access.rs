//! Requests of groups for access to a site, and the decisions on them.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::LookupKey;
use crate::http::dto::{Name, Seconds, Share, end_after};
use crate::http::extract::{JsonBody, Path, SignedIn};
use crate::http::problem::{Problem, Problems};
use crate::http::{App, now};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(show_group))
        .routes(routes!(decide))
}

/// The public part of a group.
#[derive(Debug, Serialize, ToSchema)]
struct PublicGroup {
    name: String,
}

/// Returns the public name of the group with a lookup key.
#[utoipa::path(get, path = "/v1/access/{lookup_key}", tag = "access",
    params(("lookup_key" = String, Path, pattern = "^[A-Za-z0-9]{4,16}$", example = "TZBV")),
    responses((status = 200, body = PublicGroup), Problems))]
async fn show_group(
    State(app): State<App>,
    Path(lookup_key): Path<String>,
) -> Result<Json<PublicGroup>, Problem> {
    let group = app
        .platform
        .group_by_lookup_key(&LookupKey::new(&lookup_key)?)
        .await?;
    Ok(Json(PublicGroup { name: group.name }))
}

/// The decision on a group's request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AccessDecision {
    /// A site that the approver manages.
    site: Name,
    approve: bool,
    /// How long an approved access lasts; one year if absent.
    seconds: Option<Seconds>,
    /// Where to send the approver afterwards: an address on a host that the group has registered.
    #[schema(max_length = 1024)]
    return_url: Option<String>,
}

/// The result of a decision.
#[derive(Debug, Serialize, ToSchema)]
struct AccessResult {
    /// The share of the whole site with the preset `partner`, if the request was approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<Share>,
    /// The address to return to, with the decision in its query.
    #[serde(skip_serializing_if = "Option::is_none")]
    return_to: Option<String>,
}

/// Approves or denies a group's request for a whole site, including devices added later.
#[utoipa::path(post, path = "/v1/access/{lookup_key}/decision", tag = "access",
    security(("session" = [])),
    params(("lookup_key" = String, Path, pattern = "^[A-Za-z0-9]{4,16}$", example = "TZBV")),
    request_body = AccessDecision, responses((status = 200, body = AccessResult), Problems))]
async fn decide(
    State(app): State<App>,
    SignedIn(account): SignedIn,
    Path(lookup_key): Path<String>,
    JsonBody(decision): JsonBody<AccessDecision>,
) -> Result<Json<AccessResult>, Problem> {
    const YEAR: Seconds = Seconds(365 * 86400);
    let end = end_after(decision.seconds.unwrap_or(YEAR), now());
    let url = decision.return_url.as_deref();
    let key = LookupKey::new(&lookup_key)?;
    let decided = app.platform.decide(
        &account,
        &key,
        &decision.site.0,
        (decision.approve, end),
        url,
        now(),
    );
    let decided = decided.await?;
    app.notify_outbox();
    Ok(Json(AccessResult {
        share: decided.share.as_ref().map(Share::from),
        return_to: decided.return_to,
    }))
}
