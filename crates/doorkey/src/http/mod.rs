//! The HTTP API: every use case as JSON, described by OpenAPI. Callers sign in by signing a
//! challenge with the key of their account.

mod access;
mod accounts;
mod devices;
mod dto;
mod extract;
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

/// Maximum size of a request body, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// State shared by all requests.
pub struct Shared {
    /// The issuer.
    pub platform: Platform,
    /// Notified when the outbox contains statements to publish.
    pub outbox_changed: Notify,
    /// Limits requests per client address and sign-in attempts per account.
    pub rate_limiter: RateLimiter,
    /// Time base of the rate limiter.
    pub started: Stopwatch,
    /// Invitation e-mails, and the base URL of this service.
    pub emails: Emails,
}

impl Shared {
    /// Wakes the task that publishes signed statements.
    fn notify_outbox(&self) {
        self.outbox_changed.notify_one();
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
    modifiers(&SessionSecurity)
)]
struct Description;

struct SessionSecurity;

impl utoipa::Modify for SessionSecurity {
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

/// The OpenAPI description of the API.
#[must_use]
pub fn description() -> utoipa::openapi::OpenApi {
    routes().1
}

/// The router, with size and rate limits.
pub fn router(shared: App) -> Router {
    let (router, description) = routes();
    let text = description.to_json().unwrap_or_default();
    let described = move || async move { ([("content-type", "application/json")], text) };
    router
        .route("/v1/openapi.json", axum::routing::get(described))
        .route("/health", axum::routing::get(|| async { "ok\n" }))
        .merge(html::routes())
        .fallback(|| async { Problem::from(RuleCode::Unknown.because("There is no such path")) })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(shared.clone(), limit_rate))
        .with_state(shared)
}

async fn limit_rate(
    State(app): State<App>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    // Routes that check codes and signatures cost more, which slows down guessing.
    let path = request.uri().path();
    let cost = match path.starts_with("/v1/invitations") || path.starts_with("/v1/sessions") {
        true => 10,
        false => 1,
    };
    if app
        .rate_limiter
        .try_admit(&from.ip().to_string(), cost, app.started.elapsed())
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
        Problem::from(RuleCode::TooOften.because("Too many requests from this address"))
            .into_response()
    }
}

fn now() -> doorward_protocol::wire::Timestamp {
    clock::system()
}
