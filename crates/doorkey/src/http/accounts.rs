//! Signing in, and who one is.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{Account, RuleCode};
use crate::http::dto::{Key, Name, Signature};
use crate::http::problem::{Asker, JsonBody, Problem, Problems, token};
use crate::http::{App, now};
use crate::service::SESSION_LASTS;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(challenge))
        .routes(routes!(sign_in, sign_out))
        .routes(routes!(me))
        .routes(routes!(alerts))
}

/// Who wants to sign in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Asking {
    account: Name,
}

/// What is to be signed: `doorward session v1`, the platform, the account and the nonce, each on
/// a line of its own with no line end after the last.
#[derive(Debug, Serialize, ToSchema)]
struct Challenge {
    platform: Name,
    nonce: Key,
}

/// A challenge for an account, good for two minutes. Whether there is such an account is not
/// told.
#[utoipa::path(post, path = "/v1/challenges", tag = "session",
    request_body = Asking, responses((status = 201, body = Challenge), Problems))]
async fn challenge(
    State(app): State<App>,
    JsonBody(asking): JsonBody<Asking>,
) -> Result<(StatusCode, Json<Challenge>), Problem> {
    let nonce = app.platform.challenge(&asking.account.0, now()).await?;
    let challenge = Challenge {
        platform: Name(app.platform.name().clone()),
        nonce: Key(nonce),
    };
    Ok((StatusCode::CREATED, Json(challenge)))
}

/// A signed challenge.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Signed {
    account: Name,
    nonce: Key,
    signature: Signature,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
struct Session {
    /// For the header `Authorization: Bearer`.
    token: Key,
    /// In seconds.
    expires_in: u64,
}

/// Signs in: the challenge is used up either way.
#[utoipa::path(post, path = "/v1/sessions", tag = "session",
    request_body = Signed, responses((status = 201, body = Session), Problems))]
async fn sign_in(
    State(app): State<App>,
    JsonBody(signed): JsonBody<Signed>,
) -> Result<(StatusCode, Json<Session>), Problem> {
    // One account is guessed at slowly, from however many addresses.
    let asker = format!("account {}", signed.account.0);
    if !app.limits.try_admit(&asker, 1, app.since.elapsed()) {
        return Err(RuleCode::TooOften
            .because("Too many attempts to sign in")
            .into());
    }
    let Signed {
        account,
        nonce,
        signature,
    } = signed;
    let token = app
        .platform
        .sign_in(&account.0, &nonce.0, &signature.0, now())
        .await?;
    let session = Session {
        token: Key(token),
        expires_in: SESSION_LASTS,
    };
    Ok((StatusCode::CREATED, Json(session)))
}

/// Signs out.
#[utoipa::path(delete, path = "/v1/sessions", tag = "session", security(("session" = [])),
    responses((status = 204), Problems))]
async fn sign_out(
    State(app): State<App>,
    _asker: Asker,
    parts: Parts,
) -> Result<StatusCode, Problem> {
    if let Some(token) = token(&parts) {
        app.platform.sign_out(&token).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// An account.
#[derive(Debug, Serialize, ToSchema)]
struct Me {
    account: Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    key: Key,
    /// user, facility_admin, group_admin, holder or operator.
    role: &'static str,
    enterprise: Name,
    region: Name,
    language: String,
}

impl From<Account> for Me {
    fn from(account: Account) -> Self {
        Self {
            account: Name(account.id),
            email: account.email.map(|email| email.to_string()),
            key: Key(account.key),
            role: account.role.name(),
            enterprise: Name(account.enterprise),
            region: Name(account.region),
            language: account.language,
        }
    }
}

/// Who one is.
#[utoipa::path(get, path = "/v1/account", tag = "session", security(("session" = [])),
    responses((status = 200, body = Me), Problems))]
async fn me(Asker(account): Asker) -> Json<Me> {
    Json(account.into())
}

/// News for an owner.
#[derive(Debug, Serialize, ToSchema)]
struct News {
    /// In seconds since 1970.
    at: u64,
    /// new_share, first_use or denials.
    kind: String,
    device: Name,
    words: String,
}

/// The newest 100 alerts: a device has a new share, it was used for the first time, somebody was
/// refused again and again.
#[utoipa::path(get, path = "/v1/alerts", tag = "session", security(("session" = [])),
    responses((status = 200, body = [News]), Problems))]
async fn alerts(State(app): State<App>, Asker(account): Asker) -> Result<Json<Vec<News>>, Problem> {
    let alerts = app.platform.alerts(&account.id, 100).await?.into_iter();
    let news = alerts.map(|alert| News {
        at: alert.at.0,
        kind: alert.kind,
        device: Name(alert.device),
        words: alert.words,
    });
    Ok(Json(news.collect()))
}
