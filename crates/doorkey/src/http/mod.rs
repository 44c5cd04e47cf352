//! The HTTP API. Every function of the sharing side as JSON, described by OpenAPI; whoever asks
//! has signed a challenge with the key of an account.

mod access;
mod accounts;
mod devices;
mod dto;
mod groups;
mod html;
mod invitations;
mod problem;
pub mod rate_limit;
mod shares;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::sync::Notify;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

pub use problem::Problem;

use crate::domain::RuleCode;
use crate::email::templates::Emails;
use crate::http::rate_limit::RateLimiter;
use crate::service::Platform;
use doorward_transport::clock;
use doorward_transport::clock::Stopwatch;

/// Largest body of a request, in bytes.
const LARGEST_BODY: usize = 64 * 1024;

/// What every request needs.
pub struct Shared {
    /// The issuer.
    pub platform: Platform,
    /// Told when something has to go out to a broker.
    pub changed: Notify,
    /// How often anybody may ask.
    pub limits: RateLimiter,
    /// For the buckets.
    pub since: Stopwatch,
    /// What invitations say, and where people reach this service.
    pub letters: Emails,
}

impl Shared {
    /// Something was signed: it goes out now.
    fn notify_outbox(&self) {
        self.changed.notify_one();
    }
}

type App = Arc<Shared>;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "doorkey",
        description = "Shares, invitations, groups and plans of a doorward platform.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    modifiers(&Sessions)
)]
struct Description;

struct Sessions;

impl utoipa::Modify for Sessions {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let components = description.components.get_or_insert_default();
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("session", scheme);
    }
}

fn routes() -> (Router<App>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Description::openapi())
        .merge(accounts::routes())
        .merge(devices::routes())
        .merge(shares::routes())
        .merge(invitations::routes())
        .merge(groups::routes())
        .merge(access::routes())
        .split_for_parts()
}

/// The description of the API.
#[must_use]
pub fn description() -> utoipa::openapi::OpenApi {
    routes().1
}

/// The routes, with limits around them.
pub fn router(shared: App) -> Router {
    let (router, description) = routes();
    let text = description.to_json().unwrap_or_default();
    let described = move || async move { ([("content-type", "application/json")], text) };
    router
        .route("/v1/openapi.json", axum::routing::get(described))
        .route("/health", axum::routing::get(|| async { "ok\n" }))
        .merge(html::routes())
        .fallback(|| async { Problem::from(RuleCode::Unknown.because("There is nothing here")) })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(shared.clone(), limited))
        .with_state(shared)
}

async fn limited(
    State(app): State<App>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    // Guessing codes and keys costs more than looking.
    let path = request.uri().path();
    let cost = match path.starts_with("/v1/invitations") || path.starts_with("/v1/sessions") {
        true => 10,
        false => 1,
    };
    if app
        .limits
        .try_admit(&from.ip().to_string(), cost, app.since.elapsed())
    {
        let mut response = next.run(request).await;
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ] {
            let value = axum::http::HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    } else {
        Problem::from(RuleCode::TooOften.because("Too many requests from there")).into_response()
    }
}

fn now() -> doorward_protocol::wire::Timestamp {
    clock::system()
}
