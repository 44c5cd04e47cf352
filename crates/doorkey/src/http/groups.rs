//! Groups and their rosters, and the sites that they may use.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain;
use crate::domain::{Actor, LookupKey};
use crate::http::dto::{Hex, Key, Name};
use crate::http::problem::{Asker, JsonBody, Path, Problem, Problems};
use crate::http::{App, now};
use crate::service::NewGroup;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(roster))
        .routes(routes!(sites))
        .routes(routes!(groups_at))
        .routes(routes!(entrust))
}

/// A group, for those who own it or are in it.
#[derive(Debug, Serialize, ToSchema)]
struct Group {
    group: Name,
    lookup_key: String,
    name: String,
    owner: Name,
    key: Key,
    /// Hosts that people may be sent back to; only its owner sees them.
    #[serde(skip_serializing_if = "Option::is_none")]
    hosts: Option<Vec<String>>,
    /// Number of its newest roster.
    roster: u64,
}

impl Group {
    fn of(group: domain::Group, asker: &domain::Account) -> Self {
        let owns = group.owner == asker.id;
        Self {
            group: Name(group.id),
            lookup_key: group.lookup_key.to_string(),
            name: group.name,
            owner: Name(group.owner),
            key: Key(group.key),
            hosts: owns.then_some(group.hosts),
            roster: group.roster,
        }
    }
}

/// The groups that one owns or is in.
#[utoipa::path(get, path = "/v1/groups", tag = "groups", security(("session" = [])),
    responses((status = 200, body = [Group]), Problems))]
async fn list(State(app): State<App>, Asker(account): Asker) -> Result<Json<Vec<Group>>, Problem> {
    let groups = app.platform.groups(&account).await?.into_iter();
    Ok(Json(
        groups.map(|group| Group::of(group, &account)).collect(),
    ))
}

/// A group to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTeam {
    group: Name,
    #[schema(pattern = "^[A-Za-z0-9]{4,16}$", example = "TZBV")]
    lookup_key: String,
    #[schema(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9 ]+$")]
    name: String,
    /// The group's own public key, which signs its rosters.
    key: Key,
    /// Hosts that people may be sent back to, like portal.example.org.
    #[serde(default)]
    #[schema(max_items = 16)]
    hosts: Vec<String>,
}

/// Makes a group that one owns.
#[utoipa::path(post, path = "/v1/groups", tag = "groups", security(("session" = [])),
    request_body = NewTeam, responses((status = 201, body = Group), Problems))]
async fn add(
    State(app): State<App>,
    Asker(account): Asker,
    JsonBody(new): JsonBody<NewTeam>,
) -> Result<(StatusCode, Json<Group>), Problem> {
    let new = NewGroup {
        id: new.group.0,
        lookup_key: LookupKey::new(&new.lookup_key)?,
        name: new.name,
        key: new.key.0,
        hosts: new.hosts,
    };
    let group = app.platform.add_group(&account, new).await?;
    Ok((StatusCode::CREATED, Json(Group::of(group, &account))))
}

/// A roster as the group's key has signed it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignedRoster {
    roster: Hex,
}

/// How many devices and sites it goes out to.
#[derive(Debug, Serialize, ToSchema)]
struct Reached {
    targets: usize,
}

/// Takes a group's roster: later joiners are in, removed members out. The group's signature is
/// what counts, not who brings it.
#[utoipa::path(post, path = "/v1/rosters", tag = "groups", security(("session" = [])),
    request_body = SignedRoster, responses((status = 201, body = Reached), Problems))]
async fn roster(
    State(app): State<App>,
    _asker: Asker,
    JsonBody(signed): JsonBody<SignedRoster>,
) -> Result<(StatusCode, Json<Reached>), Problem> {
    let targets = app.platform.accept_roster(&signed.roster.0, now()).await?;
    app.notify_outbox();
    Ok((StatusCode::CREATED, Json(Reached { targets })))
}

/// The sites for which one may approve requests.
#[utoipa::path(get, path = "/v1/sites", tag = "groups", security(("session" = [])),
    responses((status = 200, body = [Name]), Problems))]
async fn sites(State(app): State<App>, Asker(account): Asker) -> Result<Json<Vec<Name>>, Problem> {
    let sites = app.platform.sites(&account).await?;
    Ok(Json(sites.into_iter().map(Name).collect()))
}

/// The groups that may use a site, for who manages it and for their members.
#[utoipa::path(get, path = "/v1/sites/{site}/groups", tag = "groups", security(("session" = [])),
    params(("site" = Name, Path)), responses((status = 200, body = [Group]), Problems))]
async fn groups_at(
    State(app): State<App>,
    Asker(account): Asker,
    Path(Name(site)): Path<Name>,
) -> Result<Json<Vec<Group>>, Problem> {
    let groups = app
        .platform
        .groups_at(&account, &site, now())
        .await?
        .into_iter();
    Ok(Json(
        groups.map(|group| Group::of(group, &account)).collect(),
    ))
}

/// Lets another account approve requests for a site, as the owner of all its devices.
#[utoipa::path(put, path = "/v1/sites/{site}/admins/{account}", tag = "groups",
    security(("session" = [])), params(("site" = Name, Path), ("account" = Name, Path)),
    responses((status = 204), Problems))]
async fn entrust(
    State(app): State<App>,
    Asker(owner): Asker,
    Path((Name(site), Name(account))): Path<(Name, Name)>,
) -> Result<StatusCode, Problem> {
    app.platform
        .entrust(Actor::Account(&owner), &site, &account)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
