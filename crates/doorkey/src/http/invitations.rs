//! Invitations, for recipients with the code.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::dto::{Hex, InvitationCode, Key, Name, Share, ShareId, Signature};
use crate::http::extract::{JsonBody, Path};
use crate::http::problem::{Problem, Problems};
use crate::http::{App, now};
use crate::service::Acceptance;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(show_invitation))
        .routes(routes!(accept))
        .routes(routes!(decline))
}

/// The code of the invitation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CodeRequest {
    code: InvitationCode,
}

/// An invitation.
#[derive(Debug, Serialize, ToSchema)]
struct Invitation {
    /// The platform, which is part of the message that the recipient signs.
    platform: Name,
    /// The account that shares.
    by: Name,
    /// Whether the recipient needs no account.
    guest: bool,
    /// The region in which the recipient needs an account.
    region: Option<Name>,
    shares: Vec<Share>,
}

/// Returns what an invitation offers. Wrong codes are counted; after five the invitation is
/// locked.
#[utoipa::path(post, path = "/v1/invitations/{invitation}/look", tag = "invitations",
    params(("invitation" = ShareId, Path)), request_body = CodeRequest,
    responses((status = 200, body = Invitation), Problems))]
async fn show_invitation(
    State(app): State<App>,
    Path(ShareId(id)): Path<ShareId>,
    JsonBody(request): JsonBody<CodeRequest>,
) -> Result<Json<Invitation>, Problem> {
    let code = request.code.0;
    let (invitation, shares) = app.platform.invitation(&id, &code, now()).await?;
    Ok(Json(Invitation {
        platform: Name(app.platform.name().clone()),
        by: Name(invitation.by),
        guest: invitation.guest,
        region: shares.first().map(|share| Name(share.region.clone())),
        shares: shares.iter().map(Share::from).collect(),
    }))
}

/// The account that accepts, and its key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AcceptanceRequest {
    code: InvitationCode,
    /// An existing account, or the name of a new one.
    account: Name,
    /// Its public key. The private key stays with the recipient.
    key: Key,
    /// The enterprise of a new account; by default the name of the account.
    enterprise: Option<Name>,
    /// The region of a new account.
    region: Name,
    /// The language of messages: en, de or fr.
    #[serde(default)]
    #[schema(max_length = 20)]
    language: String,
    /// Signature over `doorward accept v1`, the platform, the invitation and the account, each on
    /// its own line, with no line feed at the end.
    proof: Signature,
}

/// A share that was accepted.
#[derive(Debug, Serialize, ToSchema)]
struct AcceptedShare {
    share: Share,
    /// A bundle of the device registrations and the share token.
    pass: Hex,
}

/// Accepts an invitation: the key can use the shares from now on.
#[utoipa::path(post, path = "/v1/invitations/{invitation}/acceptance", tag = "invitations",
    params(("invitation" = ShareId, Path)), request_body = AcceptanceRequest,
    responses((status = 200, body = [AcceptedShare]), Problems))]
async fn accept(
    State(app): State<App>,
    Path(ShareId(id)): Path<ShareId>,
    JsonBody(request): JsonBody<AcceptanceRequest>,
) -> Result<Json<Vec<AcceptedShare>>, Problem> {
    let code = request.code.0;
    let acceptance = Acceptance {
        account: request.account.0,
        key: request.key.0,
        enterprise: request.enterprise.map(|name| name.0),
        region: request.region.0,
        language: request.language,
        proof: request.proof.0,
    };
    let passes = app.platform.accept(&id, &code, &acceptance, now()).await?;
    app.notify_outbox();
    let accepted = passes.into_iter().map(|(share, pass)| AcceptedShare {
        share: Share::from(&share),
        pass: Hex(pass),
    });
    Ok(Json(accepted.collect()))
}

/// Declines an invitation.
#[utoipa::path(post, path = "/v1/invitations/{invitation}/refusal", tag = "invitations",
    params(("invitation" = ShareId, Path)), request_body = CodeRequest,
    responses((status = 204), Problems))]
async fn decline(
    State(app): State<App>,
    Path(ShareId(id)): Path<ShareId>,
    JsonBody(request): JsonBody<CodeRequest>,
) -> Result<StatusCode, Problem> {
    app.platform.decline(&id, &request.code.0, now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
