//! Sessions, the signed-in account and its alerts.

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
use crate::http::extract::{JsonBody, SignedIn, token};
use crate::http::problem::{Problem, Problems};
use crate::http::{App, now};
use crate::service::SESSION_LIFETIME;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(challenge))
        .routes(routes!(sign_in, sign_out))
        .routes(routes!(show_account))
        .routes(routes!(list_alerts))
}

/// The account that wants to sign in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChallengeRequest {
    account: Name,
}

/// A sign-in challenge. The message to sign is `doorward session v1`, the platform, the account
/// and the nonce, each on its own line, with no line feed at the end.
#[derive(Debug, Serialize, ToSchema)]
struct Challenge {
    platform: Name,
    nonce: Key,
}

/// Issues a sign-in challenge for an account, valid for two minutes. The answer is the same for
/// accounts that do not exist.
#[utoipa::path(post, path = "/v1/challenges", tag = "session",
    request_body = ChallengeRequest, responses((status = 201, body = Challenge), Problems))]
async fn challenge(
    State(app): State<App>,
    JsonBody(request): JsonBody<ChallengeRequest>,
) -> Result<(StatusCode, Json<Challenge>), Problem> {
    let nonce = app.platform.challenge(&request.account.0, now()).await?;
    let challenge = Challenge {
        platform: Name(app.platform.name().clone()),
        nonce: Key(nonce),
    };
    Ok((StatusCode::CREATED, Json(challenge)))
}

/// A signed challenge.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignedChallenge {
    account: Name,
    nonce: Key,
    signature: Signature,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
struct Session {
    /// The token for the header `Authorization: Bearer`.
    token: Key,
    /// Lifetime in seconds.
    expires_in: u64,
}

/// Signs in with a signed challenge. A challenge can be used once, whether or not the signature
/// is valid.
#[utoipa::path(post, path = "/v1/sessions", tag = "session",
    request_body = SignedChallenge, responses((status = 201, body = Session), Problems))]
async fn sign_in(
    State(app): State<App>,
    JsonBody(signed): JsonBody<SignedChallenge>,
) -> Result<(StatusCode, Json<Session>), Problem> {
    // Limits attempts per account, also when they come from many addresses.
    let bucket = format!("account {}", signed.account.0);
    if !app
        .rate_limiter
        .try_admit(&bucket, 1, app.started.elapsed())
    {
        return Err(RuleCode::TooOften
            .because("Too many attempts to sign in")
            .into());
    }
    let SignedChallenge {
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
        expires_in: SESSION_LIFETIME,
    };
    Ok((StatusCode::CREATED, Json(session)))
}

/// Signs out: the session token is no longer valid.
#[utoipa::path(delete, path = "/v1/sessions", tag = "session", security(("session" = [])),
    responses((status = 204), Problems))]
async fn sign_out(
    State(app): State<App>,
    _account: SignedIn,
    parts: Parts,
) -> Result<StatusCode, Problem> {
    if let Some(token) = token(&parts) {
        app.platform.sign_out(&token).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The signed-in account.
#[derive(Debug, Serialize, ToSchema)]
struct AccountDetails {
    account: Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// The account's public key.
    key: Key,
    /// user, facility_admin, group_admin, holder or operator.
    role: &'static str,
    enterprise: Name,
    region: Name,
    language: String,
}

impl From<Account> for AccountDetails {
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

/// Returns the signed-in account.
#[utoipa::path(get, path = "/v1/account", tag = "session", security(("session" = [])),
    responses((status = 200, body = AccountDetails), Problems))]
async fn show_account(SignedIn(account): SignedIn) -> Json<AccountDetails> {
    Json(account.into())
}

/// An alert for the owner of a device.
#[derive(Debug, Serialize, ToSchema)]
struct Alert {
    /// In seconds since 1970.
    at: u64,
    /// new_share, first_use or denials.
    kind: String,
    device: Name,
    /// The alert as a sentence.
    words: String,
}

/// Lists the newest 100 alerts: a device has a new share, a share was used for the first time, or
/// commands of one sender were refused repeatedly.
#[utoipa::path(get, path = "/v1/alerts", tag = "session", security(("session" = [])),
    responses((status = 200, body = [Alert]), Problems))]
async fn list_alerts(
    State(app): State<App>,
    SignedIn(account): SignedIn,
) -> Result<Json<Vec<Alert>>, Problem> {
    let alerts = app.platform.alerts(&account.id, 100).await?.into_iter();
    let alerts = alerts.map(|alert| Alert {
        at: alert.at.0,
        kind: alert.kind,
        device: Name(alert.device),
        words: alert.text,
    });
    Ok(Json(alerts.collect()))
}
