//! Shares: create, list, extend, cancel and review them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{Actor, NewShare, Refusal, RuleCode, ShareTarget};
use crate::http::dto::{
    Address, Hex, Key, Name, Page, Permission, Seconds, Share, ShareId, ShortText, Target,
    end_after,
};
use crate::http::extract::{JsonBody, Path, Query, SignedIn};
use crate::http::problem::{Problem, Problems};
use crate::http::{App, now};
use doorward_protocol::wire::{Limits, Text};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_shared_by_me, create_shares))
        .routes(routes!(list_shared_with_me))
        .routes(routes!(extend_share))
        .routes(routes!(add_device))
        .routes(routes!(show_pass))
        .routes(routes!(relinquish_share))
        .routes(routes!(cancel_shares))
        .routes(routes!(review_access))
}

/// The recipient of a share: exactly one of these.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Recipient {
    /// A complete e-mail address, to which an invitation code is sent.
    email: Option<Address>,
    /// An account whose key is known. The share is valid at once.
    account: Option<AccountKey>,
    /// A group.
    group: Option<Name>,
    /// The name of a recipient without an account, who accepts with the invitation link.
    guest: Option<Name>,
}

impl Recipient {
    fn target(self) -> Result<ShareTarget, Refusal> {
        match (self.email, self.account, self.group, self.guest) {
            (Some(address), None, None, None) => Ok(ShareTarget::Address(address.0)),
            (None, Some(known), None, None) => Ok(ShareTarget::Key(known.account.0, known.key.0)),
            (None, None, Some(group), None) => Ok(ShareTarget::Group(group.0)),
            (None, None, None, Some(name)) => Text::new(name.0.as_str())
                .map(ShareTarget::Guest)
                .map_err(|rule| RuleCode::Invalid.because(rule)),
            _ => {
                Err(RuleCode::Invalid
                    .because("Give exactly one of email, account, group and guest"))
            }
        }
    }
}

/// An account and its public key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AccountKey {
    account: Name,
    key: Key,
}

/// New shares, one for each target.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewShares {
    /// Devices and sites.
    #[schema(min_items = 1, max_items = 1000)]
    targets: Vec<Target>,
    with: Recipient,
    /// Presets (full, partner, view) and operations.
    #[schema(min_items = 1, max_items = 32)]
    permissions: Vec<Permission>,
    /// How long the shares last, in seconds from now.
    seconds: Seconds,
    /// The purpose of the shares.
    description: Option<ShortText>,
    /// The total number of commands that each share allows.
    uses: Option<Seconds>,
}

/// The result for one target.
#[derive(Debug, Serialize, ToSchema)]
struct ShareResult {
    target: Target,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<Share>,
    /// Why the target was not shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Problem>,
}

/// An invitation, which the caller passes on to the recipient if no e-mail is sent.
#[derive(Debug, Serialize, ToSchema)]
struct CreatedInvitation {
    id: ShareId,
    /// The link that the recipient opens, or passes to `doorkey accept`.
    link: String,
    /// When the invitation expires, in seconds since 1970.
    lapses: u64,
    /// Whether an e-mail was queued.
    mailed: bool,
}

/// The shares that were created.
#[derive(Debug, Serialize, ToSchema)]
struct CreatedShares {
    each: Vec<ShareResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invitation: Option<CreatedInvitation>,
}

/// Shares devices or sites with a recipient; each target gets its own share.
#[utoipa::path(post, path = "/v1/shares", tag = "shares", security(("session" = [])),
    request_body = NewShares, responses((status = 201, body = CreatedShares), Problems))]
async fn create_shares(
    State(app): State<App>,
    SignedIn(account): SignedIn,
    JsonBody(request): JsonBody<NewShares>,
) -> Result<(StatusCode, Json<CreatedShares>), Problem> {
    let to = request.with.target()?;
    let limits = Limits {
        uses: request.uses.map(|uses| uses.0),
        ..Limits::default()
    };
    let new = NewShare {
        to,
        permissions: request.permissions.into_iter().map(|name| name.0).collect(),
        end: end_after(request.seconds, now()),
        description: request.description.map(|text| text.text()).transpose()?,
        region: account.region.clone(),
        limits: request.uses.is_some().then_some(limits),
    };
    let targets: Vec<_> = request.targets.into_iter().map(|target| target.0).collect();
    let created = app
        .platform
        .share(Actor::Account(&account), &targets, &new, now())
        .await?;
    app.notify_outbox();
    let invitation = match &created.invitation {
        None => None,
        Some((invitation, code)) => {
            let link = app.emails.link(invitation, code);
            let mailed = app
                .emails
                .send_invitation(&app.platform, &account, &created)
                .await?;
            Some(CreatedInvitation {
                id: ShareId(invitation.id),
                link,
                lapses: invitation.expires_at.0,
                mailed,
            })
        }
    };
    let each = created.each.into_iter().map(|(target, share)| match share {
        Ok(share) => ShareResult {
            target: Target(target),
            share: Some(Share::from(&share)),
            refused: None,
        },
        Err(error) => ShareResult {
            target: Target(target),
            share: None,
            refused: Some(error.into()),
        },
    });
    let created = CreatedShares {
        each: each.collect(),
        invitation,
    };
    Ok((StatusCode::CREATED, Json(created)))
}

/// Lists the shares that the account has given, newest first.
#[utoipa::path(get, path = "/v1/shares", tag = "shares", security(("session" = [])),
    params(Page), responses((status = 200, body = [Share]), Problems))]
async fn list_shared_by_me(
    State(app): State<App>,
    SignedIn(account): SignedIn,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Share>>, Problem> {
    let shares = app
        .platform
        .shared_by(&account, page.from.into(), now())
        .await?;
    Ok(Json(shares.iter().map(Share::from).collect()))
}

/// Lists the shares that the account has received, ordered by sharer. Shares that have ended are
/// left out.
#[utoipa::path(get, path = "/v1/shares/with-me", tag = "shares", security(("session" = [])),
    params(Page), responses((status = 200, body = [Share]), Problems))]
async fn list_shared_with_me(
    State(app): State<App>,
    SignedIn(account): SignedIn,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Share>>, Problem> {
    let shares = app
        .platform
        .shared_with(&account, page.from.into(), now())
        .await?;
    Ok(Json(shares.iter().map(Share::from).collect()))
}

/// An extension of a share.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Extension {
    /// Seconds to add to the current end of the share.
    seconds: Seconds,
}

/// Extends a share.
#[utoipa::path(post, path = "/v1/shares/{share}/extension", tag = "shares",
    security(("session" = [])), params(("share" = ShareId, Path)), request_body = Extension,
    responses((status = 200, body = Share), Problems))]
async fn extend_share(
    State(app): State<App>,
    SignedIn(account): SignedIn,
    Path(ShareId(share)): Path<ShareId>,
    JsonBody(request): JsonBody<Extension>,
) -> Result<Json<Share>, Problem> {
    let seconds = u64::from(request.seconds.0);
    let share = app
        .platform
        .extend(Actor::Account(&account), &share, seconds, now())
        .await?;
    app.notify_outbox();
    Ok(Json(Share::from(&share)))
}

/// Another device or site to share.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AdditionalTarget {
    target: Target,
}

/// Shares another device or site with the same recipient: same permissions and end, a new share
/// id.
#[utoipa::path(post, path = "/v1/shares/{share}/devices", tag = "shares",
    security(("session" = [])), params(("share" = ShareId, Path)), request_body = AdditionalTarget,
    responses((status = 201, body = Share), Problems))]
async fn add_device(
    State(app): State<App>,
    SignedIn(account): SignedIn,
    Path(ShareId(share)): Path<ShareId>,
    JsonBody(request): JsonBody<AdditionalTarget>,
) -> Result<(StatusCode, Json<Share>), Problem> {
    let actor = Actor::Account(&account);
    let share = app
        .platform
        .add_device(actor, &share, &request.target.0, now())
        .await?;
    app.notify_outbox();
    Ok((StatusCode::CREATED, Json(Share::from(&share))))
}

/// The data that a client needs to use a share.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pass {
    /// A bundle of the device registrations and the share token.
    pub(crate) pass: Hex,
}

/// Returns the pass of a share that the account has received.
#[utoipa::path(get, path = "/v1/shares/{share}/pass", tag = "shares",
    security(("session" = [])), params(("share" = ShareId, Path)),
    responses((status = 200, body = Pass), Problems))]
async fn show_pass(
    State(app): State<App>,
    SignedIn(account): SignedIn,
    Path(ShareId(share)): Path<ShareId>,
) -> Result<Json<Pass>, Problem> {
    let pass = Hex(app.platform.pass_of(&account, &share, now()).await?);
    Ok(Json(Pass { pass }))
}

/// Gives up a share that the account has received.
#[utoipa::path(delete, path = "/v1/shares/{share}/pass", tag = "shares",
    security(("session" = [])), params(("share" = ShareId, Path)),
    responses((status = 204), Problems))]
async fn relinquish_share(
    State(app): State<App>,
    SignedIn(account): SignedIn,
    Path(ShareId(share)): Path<ShareId>,
) -> Result<StatusCode, Problem> {
    app.platform.relinquish(&account, &share, now()).await?;
    app.notify_outbox();
    Ok(StatusCode::NO_CONTENT)
}

/// Shares to cancel.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Cancellation {
    #[schema(min_items = 1, max_items = 1000)]
    shares: Vec<ShareId>,
}

/// The revocation list that ends the shares of one target.
#[derive(Debug, Serialize, ToSchema)]
struct RevocationList {
    target: Target,
    /// Sequence number of the list. The shares have ended on a device whose `state` reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Problem>,
}

/// Cancels shares: issues one revocation list for each target.
#[utoipa::path(post, path = "/v1/cancellations", tag = "shares", security(("session" = [])),
    request_body = Cancellation, responses((status = 200, body = [RevocationList]), Problems))]
async fn cancel_shares(
    State(app): State<App>,
    SignedIn(account): SignedIn,
    JsonBody(request): JsonBody<Cancellation>,
) -> Result<Json<Vec<RevocationList>>, Problem> {
    if !(1..=1000).contains(&request.shares.len()) {
        let why = "A request cancels 1 to 1,000 shares";
        return Err(RuleCode::Invalid.because(why).into());
    }
    let ids: Vec<_> = request.shares.into_iter().map(|share| share.0).collect();
    let each = app
        .platform
        .cancel(Actor::Account(&account), &ids, now())
        .await?;
    app.notify_outbox();
    let lists = each.into_iter().map(|(target, seq)| {
        let (seq, refused) = match seq {
            Ok(seq) => (Some(seq), None),
            Err(error) => (None, Some(error.into())),
        };
        RevocationList {
            target: Target(target),
            seq,
            refused,
        }
    });
    Ok(Json(lists.collect()))
}

/// One entry of an access review.
#[derive(Debug, Serialize, ToSchema)]
struct ReviewEntry {
    owner: Name,
    share: Share,
    /// Whether the share was not used for 60 days and could be removed.
    unused: bool,
}

/// Reviews access to the account's devices: recipients, operations, end dates and last use.
#[utoipa::path(get, path = "/v1/review", tag = "shares", security(("session" = [])),
    responses((status = 200, body = [ReviewEntry]), Problems))]
async fn review_access(
    State(app): State<App>,
    SignedIn(account): SignedIn,
) -> Result<Json<Vec<ReviewEntry>>, Problem> {
    let review = app.platform.review(Actor::Account(&account), now()).await?;
    let entries = review.into_iter().map(|access| ReviewEntry {
        owner: Name(access.owner),
        share: Share::from(&access.listing),
        unused: access.unused,
    });
    Ok(Json(entries.collect()))
}
