//! Error answers of the API.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use utoipa::{IntoResponses, ToSchema};

use crate::IssuerError;
use crate::domain::{ErrorClass, Refusal, RuleCode};

/// Why a request was refused.
#[derive(Debug, serde::Serialize, ToSchema)]
pub struct Problem {
    #[serde(skip)]
    status: u16,
    /// A stable code.
    code: String,
    /// The reason, as a sentence.
    message: String,
    /// The remedy, as a sentence.
    remedy: String,
}

/// The error responses that every route may give.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes responses and is never constructed")]
pub(crate) enum Problems {
    /// A value in the request is invalid.
    #[response(status = 400)]
    Invalid(Problem),
    /// No session was given, or it has expired.
    #[response(status = 401)]
    Session(Problem),
    /// The caller lacks the permission.
    #[response(status = 403)]
    Forbidden(Problem),
    /// Nothing of that name exists, or the caller may not see it.
    #[response(status = 404)]
    Unknown(Problem),
    /// The request conflicts with the current state.
    #[response(status = 409)]
    Conflict(Problem),
    /// The resource has expired or was withdrawn.
    #[response(status = 410)]
    Gone(Problem),
    /// The body is too large.
    #[response(status = 413)]
    TooLarge(Problem),
    /// The body is not JSON.
    #[response(status = 415)]
    NotJson(Problem),
    /// The body is JSON that does not match the schema.
    #[response(status = 422)]
    OtherShape(Problem),
    /// The rate limit is exceeded.
    #[response(status = 429)]
    TooOften(Problem),
    /// The database is unavailable.
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
            // Details go to the operator's log only, not to the caller.
            IssuerError::File(_) | IssuerError::Ledger(_) => {
                tracing::error!(%error, "request failed");
                Self {
                    status: 503,
                    code: "unavailable".to_owned(),
                    message: "The service cannot use its database".to_owned(),
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

/// A [`RuleCode::Invalid`] problem for a request that could not be parsed.
pub(super) fn bad_request(status: StatusCode, text: String) -> Problem {
    Problem {
        status: status.as_u16(),
        ..RuleCode::Invalid.because(text).into()
    }
}
