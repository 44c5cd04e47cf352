//! Groups, their member lists, and the sites that they may use.

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
use crate::http::extract::{JsonBody, Path, SignedIn};
use crate::http::problem::{Problem, Problems};
use crate::http::{App, now};
use crate::service;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_groups, add_group))
        .routes(routes!(add_roster))
        .routes(routes!(list_sites))
        .routes(routes!(list_groups_of_site))
        .routes(routes!(add_site_admin))
}

/// A group, as its owner and its members see it.
#[derive(Debug, Serialize, ToSchema)]
struct Group {
    group: Name,
    lookup_key: String,
    name: String,
    owner: Name,
    /// The group's own public key, which signs its member lists.
    key: Key,
    /// Hosts that approvers may be sent back to; shown to the owner only.
    #[serde(skip_serializing_if = "Option::is_none")]
    hosts: Option<Vec<String>>,
    /// Sequence number of the newest member list; 0 if there is none.
    roster: u64,
}

impl Group {
    fn seen_by(group: domain::Group, account: &domain::Account) -> Self {
        let owns = group.owner == account.id;
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

/// Lists the groups that the account owns or is a member of.
#[utoipa::path(get, path = "/v1/groups", tag = "groups", security(("session" = [])),
    responses((status = 200, body = [Group]), Problems))]
async fn list_groups(
    State(app): State<App>,
    SignedIn(account): SignedIn,
) -> Result<Json<Vec<Group>>, Problem> {
    let groups = app.platform.groups(&account).await?.into_iter();
    let groups = groups.map(|group| Group::seen_by(group, &account));
    Ok(Json(groups.collect()))
}

/// A new group.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    group: Name,
    #[schema(pattern = "^[A-Za-z0-9]{4,16}$", example = "TZBV")]
    lookup_key: String,
    #[schema(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9 ]+$")]
    name: String,
    /// The group's own public key, which signs its member lists.
    key: Key,
    /// Hosts that approvers may be sent back to, for example portal.example.org.
    #[serde(default)]
    #[schema(max_items = 16)]
    hosts: Vec<String>,
}

/// Creates a group that the account owns.
#[utoipa::path(post, path = "/v1/groups", tag = "groups", security(("session" = [])),
    request_body = NewGroup, responses((status = 201, body = Group), Problems))]
async fn add_group(
    State(app): State<App>,
    SignedIn(account): SignedIn,
    JsonBody(new): JsonBody<NewGroup>,
) -> Result<(StatusCode, Json<Group>), Problem> {
    let new = service::NewGroup {
        id: new.group.0,
        lookup_key: LookupKey::new(&new.lookup_key)?,
        name: new.name,
        key: new.key.0,
        hosts: new.hosts,
    };
    let group = app.platform.add_group(&account, new).await?;
    Ok((StatusCode::CREATED, Json(Group::seen_by(group, &account))))
}

/// A member list, signed with the group's key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignedRoster {
    roster: Hex,
}

/// The number of devices and sites that the member list is sent to.
#[derive(Debug, Serialize, ToSchema)]
struct RosterTargets {
    targets: usize,
}

/// Stores a group's new member list and sends it to devices: it admits new members and removes
/// old ones. The signature of the group decides, so any account may upload the list.
#[utoipa::path(post, path = "/v1/rosters", tag = "groups", security(("session" = [])),
    request_body = SignedRoster, responses((status = 201, body = RosterTargets), Problems))]
async fn add_roster(
    State(app): State<App>,
    _account: SignedIn,
    JsonBody(signed): JsonBody<SignedRoster>,
) -> Result<(StatusCode, Json<RosterTargets>), Problem> {
    let targets = app.platform.accept_roster(&signed.roster.0, now()).await?;
    app.notify_outbox();
    Ok((StatusCode::CREATED, Json(RosterTargets { targets })))
}

/// Lists the sites for which the account may approve requests.
#[utoipa::path(get, path = "/v1/sites", tag = "groups", security(("session" = [])),
    responses((status = 200, body = [Name]), Problems))]
async fn list_sites(
    State(app): State<App>,
    SignedIn(account): SignedIn,
) -> Result<Json<Vec<Name>>, Problem> {
    let sites = app.platform.sites(&account).await?;
    Ok(Json(sites.into_iter().map(Name).collect()))
}

/// Lists the groups that may use a site, for the accounts that manage it and for members of these
/// groups.
#[utoipa::path(get, path = "/v1/sites/{site}/groups", tag = "groups", security(("session" = [])),
    params(("site" = Name, Path)), responses((status = 200, body = [Group]), Problems))]
async fn list_groups_of_site(
    State(app): State<App>,
    SignedIn(account): SignedIn,
    Path(Name(site)): Path<Name>,
) -> Result<Json<Vec<Group>>, Problem> {
    let groups = app.platform.groups_at(&account, &site, now()).await?;
    let groups = groups.into_iter();
    let groups = groups.map(|group| Group::seen_by(group, &account));
    Ok(Json(groups.collect()))
}

/// Allows another account to approve requests for a site; only the owner of all its devices may.
#[utoipa::path(put, path = "/v1/sites/{site}/admins/{account}", tag = "groups",
    security(("session" = [])), params(("site" = Name, Path), ("account" = Name, Path)),
    responses((status = 204), Problems))]
async fn add_site_admin(
    State(app): State<App>,
    SignedIn(owner): SignedIn,
    Path((Name(site), Name(account))): Path<(Name, Name)>,
) -> Result<StatusCode, Problem> {
    app.platform
        .add_site_admin(Actor::Account(&owner), &site, &account)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
