//! Devices and who owns them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain;
use crate::domain::{Actor, shareable};
use crate::http::dto::{Key, Name, Seconds, Words, end};
use crate::http::problem::{Asker, JsonBody, Path, Problem, Problems};
use crate::http::{App, now};
use crate::service::Claim;
use doorward_protocol::wire::Plan;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, claim))
        .routes(routes!(delete))
        .routes(routes!(set_plan))
        .routes(routes!(set_site))
        .routes(routes!(hand_over))
}

/// A device.
#[derive(Debug, Serialize, ToSchema)]
struct Device {
    device: Name,
    key: Key,
    owner: Name,
    model: String,
    region: Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<Name>,
    /// The plan that counts now.
    plan: Name,
    /// When the plan ends, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_ends: Option<u64>,
    demo: bool,
    /// When it was last heard of; 0 for never.
    seen: u64,
    /// Whether it has said that it has the newest registration.
    registered: bool,
    /// What of its operations can be shared.
    shareable: Vec<String>,
}

impl From<domain::Device> for Device {
    fn from(device: domain::Device) -> Self {
        let shareable = shareable(&device.operations);
        Self {
            plan: Name(device.plan_at(now())),
            plan_ends: device.plan.end.map(|end| end.0),
            registered: device.applied >= device.seq,
            shareable: shareable.iter().map(ToString::to_string).collect(),
            device: Name(device.id),
            key: Key(device.key),
            owner: Name(device.owner),
            model: device.model.to_string(),
            region: Name(device.region),
            site: device.site.map(Name),
            demo: device.demo,
            seen: device.seen.0,
        }
    }
}

/// The devices that one owns.
#[utoipa::path(get, path = "/v1/devices", tag = "devices", security(("session" = [])),
    responses((status = 200, body = [Device]), Problems))]
async fn list(State(app): State<App>, Asker(account): Asker) -> Result<Json<Vec<Device>>, Problem> {
    let devices = app.platform.devices_of(&account).await?;
    Ok(Json(devices.into_iter().map(Device::from).collect()))
}

/// What came with a device.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Label {
    device: Name,
    device_key: Key,
    /// The one-time claim secret.
    #[schema(min_length = 1, max_length = 200)]
    secret: String,
    model: Words,
    site: Option<Name>,
}

/// Registers a device to whoever shows its claim secret; once.
#[utoipa::path(post, path = "/v1/devices", tag = "devices", security(("session" = [])),
    request_body = Label, responses((status = 201, body = Device), Problems))]
async fn claim(
    State(app): State<App>,
    Asker(account): Asker,
    JsonBody(label): JsonBody<Label>,
) -> Result<(StatusCode, Json<Device>), Problem> {
    let claim = Claim {
        device: label.device.0,
        device_key: label.device_key.0,
        secret: label.secret,
        model: label.model.text()?,
        site: label.site.map(|site| site.0),
    };
    let device = app.platform.claim(&account, claim, now()).await?;
    app.notify_outbox();
    Ok((StatusCode::CREATED, Json(device.into())))
}

/// Forgets a device, as its owner. What is on it goes when it is sent `device.delete`.
#[utoipa::path(delete, path = "/v1/devices/{device}", tag = "devices", security(("session" = [])),
    params(("device" = Name, Path)), responses((status = 204), Problems))]
async fn delete(
    State(app): State<App>,
    Asker(account): Asker,
    Path(Name(device)): Path<Name>,
) -> Result<StatusCode, Problem> {
    app.platform
        .delete(Actor::Account(&account), &device, now())
        .await?;
    app.notify_outbox();
    Ok(StatusCode::NO_CONTENT)
}

/// A plan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPlan {
    /// basic, standard or advanced.
    plan: Name,
    /// For how many seconds; without it, until it is changed.
    seconds: Option<Seconds>,
}

/// Puts a device on a plan, as an operator of the platform. Shares stay: what the plan lacks
/// rests until another has it.
#[utoipa::path(put, path = "/v1/devices/{device}/plan", tag = "devices",
    security(("session" = [])), params(("device" = Name, Path)), request_body = NewPlan,
    responses((status = 200, body = Device), Problems))]
async fn set_plan(
    State(app): State<App>,
    Asker(account): Asker,
    Path(Name(device)): Path<Name>,
    JsonBody(new): JsonBody<NewPlan>,
) -> Result<Json<Device>, Problem> {
    let plan = Plan {
        name: new.plan.0,
        end: new.seconds.map(|seconds| end(seconds, now())),
    };
    let device = app
        .platform
        .set_plan(Actor::Account(&account), &device, plan, now())
        .await?;
    app.notify_outbox();
    Ok(Json(device.into()))
}

/// A site, or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSite {
    site: Option<Name>,
}

/// Moves a device to a site, as its owner: shares of the site reach it from then on.
#[utoipa::path(put, path = "/v1/devices/{device}/site", tag = "devices",
    security(("session" = [])), params(("device" = Name, Path)), request_body = NewSite,
    responses((status = 200, body = Device), Problems))]
async fn set_site(
    State(app): State<App>,
    Asker(account): Asker,
    Path(Name(device)): Path<Name>,
    JsonBody(new): JsonBody<NewSite>,
) -> Result<Json<Device>, Problem> {
    let site = new.site.map(|site| site.0);
    let device = app
        .platform
        .set_site(Actor::Account(&account), &device, site, now())
        .await?;
    app.notify_outbox();
    Ok(Json(device.into()))
}

/// The next owner.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewOwner {
    account: Name,
}

/// Gives a device to another account, as its owner: in one step every earlier share has ended.
#[utoipa::path(put, path = "/v1/devices/{device}/owner", tag = "devices",
    security(("session" = [])), params(("device" = Name, Path)), request_body = NewOwner,
    responses((status = 200, body = Device), Problems))]
async fn hand_over(
    State(app): State<App>,
    Asker(account): Asker,
    Path(Name(device)): Path<Name>,
    JsonBody(new): JsonBody<NewOwner>,
) -> Result<Json<Device>, Problem> {
    let actor = Actor::Account(&account);
    let device = app
        .platform
        .hand_over(actor, &device, &new.account.0, now())
        .await?;
    app.notify_outbox();
    Ok(Json(device.into()))
}
