//! How a request is read and how a refusal is told.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use utoipa::{IntoResponses, ToSchema};

use crate::IssuerError;
use crate::domain::{Account, ErrorClass, Refusal, RuleCode};
use crate::http::{App, now};
use doorward_protocol::wire::Bytes;

/// Why a request was refused.
#[derive(Debug, serde::Serialize, ToSchema)]
pub struct Problem {
    #[serde(skip)]
    status: u16,
    /// A stable code.
    code: String,
    /// What exactly, as a sentence.
    message: String,
    /// What to do about it.
    remedy: String,
}

/// The refusals of every route.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it describes, and is never made")]
pub(crate) enum Problems {
    /// What was asked makes no sense.
    #[response(status = 400)]
    Invalid(Problem),
    /// There is no session, or it is over.
    #[response(status = 401)]
    Session(Problem),
    /// Who asks may not.
    #[response(status = 403)]
    Forbidden(Problem),
    /// There is nothing of that name that the asker may see.
    #[response(status = 404)]
    Unknown(Problem),
    /// It does not go together with how things are.
    #[response(status = 409)]
    Conflict(Problem),
    /// It was there, and is over.
    #[response(status = 410)]
    Gone(Problem),
    /// The body is too large.
    #[response(status = 413)]
    TooLarge(Problem),
    /// The body is not JSON.
    #[response(status = 415)]
    NotJson(Problem),
    /// The body is JSON of another shape.
    #[response(status = 422)]
    OtherShape(Problem),
    /// Asked too often.
    #[response(status = 429)]
    TooOften(Problem),
    /// The ledger cannot be used.
    #[response(status = 503)]
    Unavailable(Problem),
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let rule = refusal.rule;
        let status = match rule {
            RuleCode::Session => StatusCode::UNAUTHORIZED,
            RuleCode::TooOften => StatusCode::TOO_MANY_REQUESTS,
            _ => match rule.class() {
                ErrorClass::Invalid => StatusCode::BAD_REQUEST,
                ErrorClass::Forbidden => StatusCode::FORBIDDEN,
                ErrorClass::Missing => StatusCode::NOT_FOUND,
                ErrorClass::Conflict => StatusCode::CONFLICT,
                ErrorClass::Gone => StatusCode::GONE,
            },
        };
        Self {
            status: status.as_u16(),
            code: rule.name().to_owned(),
            message: refusal.why,
            remedy: rule.remedy().to_owned(),
        }
    }
}

impl From<IssuerError> for Problem {
    fn from(error: IssuerError) -> Self {
        match error {
            IssuerError::Refused(refusal) => refusal.into(),
            IssuerError::Rule(sentence) => RuleCode::Invalid.because(sentence).into(),
            // What exactly is wrong with the ledger is for whoever runs the service.
            IssuerError::File(_) | IssuerError::Ledger(_) => {
                tracing::error!(%error, "a request failed");
                Self {
                    status: 503,
                    code: "unavailable".to_owned(),
                    message: "The service cannot use its ledger".to_owned(),
                    remedy: "Try again in a minute.".to_owned(),
                }
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let challenge = axum::http::HeaderValue::from_static("Bearer");
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert("www-authenticate", challenge);
        }
        response
    }
}

fn bad_request(status: StatusCode, text: String) -> Problem {
    Problem {
        status: status.as_u16(),
        ..RuleCode::Invalid.because(text).into()
    }
}

/// A JSON body; what does not read is told as a [`Problem`].
pub(crate) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let read: Result<Json<T>, JsonRejection> = Json::from_request(request, app).await;
        read.map(|Json(body)| Self(body))
            .map_err(|rejection| bad_request(rejection.status(), rejection.body_text()))
    }
}

/// Parts of the path.
pub(crate) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let read: Result<axum::extract::Path<T>, PathRejection> =
            axum::extract::Path::from_request_parts(parts, app).await;
        read.map(|axum::extract::Path(path)| Self(path))
            .map_err(|rejection| bad_request(rejection.status(), rejection.body_text()))
    }
}

/// The query.
pub(crate) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let read: Result<axum::extract::Query<T>, QueryRejection> =
            axum::extract::Query::from_request_parts(parts, app).await;
        read.map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| bad_request(rejection.status(), rejection.body_text()))
    }
}

/// The token of a session, as it stands in the request.
pub(crate) fn token(parts: &Parts) -> Option<Bytes<32>> {
    let header = parts.headers.get("authorization")?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(())?;
    Bytes::from_hex(token)
}

/// The account that asks.
pub(crate) struct Asker(pub(super) Account);

impl FromRequestParts<App> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let missing = || RuleCode::Session.because("This needs a session");
        let token = token(parts).ok_or_else(missing)?;
        Ok(Self(app.platform.session(&token, now()).await?))
    }
}
