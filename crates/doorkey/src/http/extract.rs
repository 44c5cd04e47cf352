//! Extractors: the body, the path, the query and the signed-in account of a request.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::domain::{Account, RuleCode};
use crate::http::problem::{Problem, bad_request};
use crate::http::{App, now};
use doorward_protocol::wire::Bytes;

/// A JSON body. A body that cannot be parsed is answered with a [`Problem`].
pub(crate) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let body: Result<Json<T>, JsonRejection> = Json::from_request(request, app).await;
        body.map(|Json(body)| Self(body))
            .map_err(|rejection| bad_request(rejection.status(), rejection.body_text()))
    }
}

/// The parameters of the path.
pub(crate) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let path: Result<axum::extract::Path<T>, PathRejection> =
            axum::extract::Path::from_request_parts(parts, app).await;
        path.map(|axum::extract::Path(path)| Self(path))
            .map_err(|rejection| bad_request(rejection.status(), rejection.body_text()))
    }
}

/// The query parameters.
pub(crate) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let query: Result<axum::extract::Query<T>, QueryRejection> =
            axum::extract::Query::from_request_parts(parts, app).await;
        query
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| bad_request(rejection.status(), rejection.body_text()))
    }
}

/// The session token in the header `Authorization: Bearer` (RFC 6750 section 2.1).
pub(crate) fn token(parts: &Parts) -> Option<Bytes<32>> {
    let header = parts.headers.get("authorization")?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(())?;
    Bytes::from_hex(token)
}

/// The account that is signed in.
pub(crate) struct SignedIn(pub(super) Account);

impl FromRequestParts<App> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let missing = || RuleCode::Session.because("This request needs a session");
        let token = token(parts).ok_or_else(missing)?;
        Ok(Self(app.platform.session(&token, now()).await?))
    }
}
