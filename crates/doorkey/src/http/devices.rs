//! Devices and their owners.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain;
use crate::domain::{Actor, shareable};
use crate::http::dto::{Key, Name, Seconds, ShortText, end_after};
use crate::http::extract::{JsonBody, Path, SignedIn};
use crate::http::problem::{Problem, Problems};
use crate::http::{App, now};
use crate::service::Claim;
use doorward_protocol::wire::Plan;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_devices, claim))
        .routes(routes!(delete_device))
        .routes(routes!(set_plan))
        .routes(routes!(set_site))
        .routes(routes!(transfer_ownership))
}

/// A device.
#[derive(Debug, Serialize, ToSchema)]
struct Device {
    device: Name,
    /// The device's public key.
    key: Key,
    owner: Name,
    model: String,
    region: Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<Name>,
    /// The plan currently in force.
    plan: Name,
    /// When the plan ends, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_ends: Option<u64>,
    /// Whether it is a demonstration device, which cannot be shared.
    demo: bool,
    /// Time of the last signed report of the device, in seconds since 1970; 0 if there is none.
    seen: u64,
    /// Whether the device has confirmed the newest registration.
    registered: bool,
    /// The operations of the device that can be shared.
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

/// Lists the devices that the account owns.
#[utoipa::path(get, path = "/v1/devices", tag = "devices", security(("session" = [])),
    responses((status = 200, body = [Device]), Problems))]
async fn list_devices(
    State(app): State<App>,
    SignedIn(account): SignedIn,
) -> Result<Json<Vec<Device>>, Problem> {
    let devices = app.platform.devices_of(&account).await?;
    Ok(Json(devices.into_iter().map(Device::from).collect()))
}

/// The data of the claim label that comes with a device.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ClaimRequest {
    device: Name,
    device_key: Key,
    /// The one-time claim secret.
    #[schema(min_length = 1, max_length = 200)]
    secret: String,
    model: ShortText,
    site: Option<Name>,
}

/// Registers a device to the signed-in account, which proves possession with the claim secret. A
/// claim secret works once.
#[utoipa::path(post, path = "/v1/devices", tag = "devices", security(("session" = [])),
    request_body = ClaimRequest, responses((status = 201, body = Device), Problems))]
async fn claim(
    State(app): State<App>,
    SignedIn(account): SignedIn,
    JsonBody(request): JsonBody<ClaimRequest>,
) -> Result<(StatusCode, Json<Device>), Problem> {
    let claim = Claim {
        device: request.device.0,
        device_key: request.device_key.0,
        secret: request.secret,
        model: request.model.text()?,
        site: request.site.map(|site| site.0),
    };
    let device = app.platform.claim(&account, claim, now()).await?;
    app.notify_outbox();
    Ok((StatusCode::CREATED, Json(device.into())))
}

/// Removes a device from the platform; only its owner may. Data on the device itself is deleted
/// with the command `device.delete`.
#[utoipa::path(delete, path = "/v1/devices/{device}", tag = "devices", security(("session" = [])),
    params(("device" = Name, Path)), responses((status = 204), Problems))]
async fn delete_device(
    State(app): State<App>,
    SignedIn(account): SignedIn,
    Path(Name(device)): Path<Name>,
) -> Result<StatusCode, Problem> {
    app.platform
        .delete(Actor::Account(&account), &device, now())
        .await?;
    app.notify_outbox();
    Ok(StatusCode::NO_CONTENT)
}

/// A change of plan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PlanChange {
    /// basic, standard or advanced.
    plan: Name,
    /// How long the plan lasts, in seconds; until it is changed if absent.
    seconds: Option<Seconds>,
}

/// Sets the plan of a device; only an operator of the platform may. Shares are kept: operations
/// outside the plan are suspended until a plan includes them again.
#[utoipa::path(put, path = "/v1/devices/{device}/plan", tag = "devices",
    security(("session" = [])), params(("device" = Name, Path)), request_body = PlanChange,
    responses((status = 200, body = Device), Problems))]
async fn set_plan(
    State(app): State<App>,
    SignedIn(account): SignedIn,
    Path(Name(device)): Path<Name>,
    JsonBody(request): JsonBody<PlanChange>,
) -> Result<Json<Device>, Problem> {
    let plan = Plan {
        name: request.plan.0,
        end: request.seconds.map(|seconds| end_after(seconds, now())),
    };
    let device = app
        .platform
        .set_plan(Actor::Account(&account), &device, plan, now())
        .await?;
    app.notify_outbox();
    Ok(Json(device.into()))
}

/// A change of site.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SiteChange {
    /// The new site; if absent, the device leaves its site.
    site: Option<Name>,
}

/// Moves a device to a site; only its owner may. Shares of the site apply to it from then on.
#[utoipa::path(put, path = "/v1/devices/{device}/site", tag = "devices",
    security(("session" = [])), params(("device" = Name, Path)), request_body = SiteChange,
    responses((status = 200, body = Device), Problems))]
async fn set_site(
    State(app): State<App>,
    SignedIn(account): SignedIn,
    Path(Name(device)): Path<Name>,
    JsonBody(request): JsonBody<SiteChange>,
) -> Result<Json<Device>, Problem> {
    let site = request.site.map(|site| site.0);
    let device = app
        .platform
        .set_site(Actor::Account(&account), &device, site, now())
        .await?;
    app.notify_outbox();
    Ok(Json(device.into()))
}

/// A transfer of ownership.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OwnershipTransfer {
    /// The next owner.
    account: Name,
}

/// Transfers a device to another account; only its owner may. All earlier shares end in the same
/// step.
#[utoipa::path(put, path = "/v1/devices/{device}/owner", tag = "devices",
    security(("session" = [])), params(("device" = Name, Path)), request_body = OwnershipTransfer,
    responses((status = 200, body = Device), Problems))]
async fn transfer_ownership(
    State(app): State<App>,
    SignedIn(account): SignedIn,
    Path(Name(device)): Path<Name>,
    JsonBody(request): JsonBody<OwnershipTransfer>,
) -> Result<Json<Device>, Problem> {
    let actor = Actor::Account(&account);
    let device = app
        .platform
        .transfer_ownership(actor, &device, &request.account.0, now())
        .await?;
    app.notify_outbox();
    Ok(Json(device.into()))
}
