//! Invitations, for whoever has the code.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::dto::{GivenCode, Hex, Key, Name, Share, ShareId, Signature};
use crate::http::problem::{JsonBody, Path, Problem, Problems};
use crate::http::{App, now};
use crate::service::Acceptance;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(look))
        .routes(routes!(accept))
        .routes(routes!(decline))
}

/// A code.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Given {
    code: GivenCode,
}

/// An invitation.
#[derive(Debug, Serialize, ToSchema)]
struct Invitation {
    /// The platform, which the proof of an acceptance names.
    platform: Name,
    by: Name,
    /// Whether the recipient needs no account.
    guest: bool,
    /// The region in which an account is needed.
    region: Option<Name>,
    shares: Vec<Share>,
}

/// What an invitation is about. Wrong codes are counted: after five it is locked.
#[utoipa::path(post, path = "/v1/invitations/{invitation}/look", tag = "invitations",
    params(("invitation" = ShareId, Path)), request_body = Given,
    responses((status = 200, body = Invitation), Problems))]
async fn look(
    State(app): State<App>,
    Path(ShareId(id)): Path<ShareId>,
    JsonBody(given): JsonBody<Given>,
) -> Result<Json<Invitation>, Problem> {
    let code = given.code.0;
    let (invitation, shares) = app.platform.invitation(&id, &code, now()).await?;
    Ok(Json(Invitation {
        platform: Name(app.platform.name().clone()),
        by: Name(invitation.by),
        guest: invitation.guest,
        region: shares.first().map(|share| Name(share.region.clone())),
        shares: shares.iter().map(Share::from).collect(),
    }))
}

/// Who accepts, and with which key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Accepting {
    code: GivenCode,
    /// An account, or the name of a new one.
    account: Name,
    /// Its public key; the secret half stays where it is.
    key: Key,
    /// The enterprise of a new account; its own name for somebody who has none.
    enterprise: Option<Name>,
    /// The region of a new account.
    region: Name,
    /// en, de or fr.
    #[serde(default)]
    #[schema(max_length = 20)]
    language: String,
    /// Over `doorward accept v1`, the platform, the invitation and the account, each on a line
    /// of its own with no line end after the last.
    proof: Signature,
}

/// A share that was accepted.
#[derive(Debug, Serialize, ToSchema)]
struct Accepted {
    share: Share,
    /// A bundle: the registrations of the devices, and the token.
    pass: Hex,
}

/// Accepts an invitation: from now on the key can do what was shared.
#[utoipa::path(post, path = "/v1/invitations/{invitation}/acceptance", tag = "invitations",
    params(("invitation" = ShareId, Path)), request_body = Accepting,
    responses((status = 200, body = [Accepted]), Problems))]
async fn accept(
    State(app): State<App>,
    Path(ShareId(id)): Path<ShareId>,
    JsonBody(accepting): JsonBody<Accepting>,
) -> Result<Json<Vec<Accepted>>, Problem> {
    let code = accepting.code.0;
    let acceptance = Acceptance {
        account: accepting.account.0,
        key: accepting.key.0,
        enterprise: accepting.enterprise.map(|name| name.0),
        region: accepting.region.0,
        language: accepting.language,
        proof: accepting.proof.0,
    };
    let passes = app.platform.accept(&id, &code, &acceptance, now()).await?;
    app.notify_outbox();
    let accepted = passes.into_iter().map(|(share, pass)| Accepted {
        share: Share::from(&share),
        pass: Hex(pass),
    });
    Ok(Json(accepted.collect()))
}

/// Says no to an invitation.
#[utoipa::path(post, path = "/v1/invitations/{invitation}/refusal", tag = "invitations",
    params(("invitation" = ShareId, Path)), request_body = Given,
    responses((status = 204), Problems))]
async fn decline(
    State(app): State<App>,
    Path(ShareId(id)): Path<ShareId>,
    JsonBody(given): JsonBody<Given>,
) -> Result<StatusCode, Problem> {
    app.platform.decline(&id, &given.code.0, now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
