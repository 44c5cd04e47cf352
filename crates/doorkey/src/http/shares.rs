//! Shares: made, extended, ended, looked at.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{Actor, NewShare, Refusal, RuleCode, ShareTarget};
use crate::http::dto::{
    Address, Hex, Key, Name, Page, Permission, Seconds, Share, ShareId, Target, Words, end,
};
use crate::http::problem::{Asker, JsonBody, Path, Problem, Problems, Query};
use crate::http::{App, now};
use doorward_protocol::wire::{Limits, Text};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(by_me, share))
        .routes(routes!(with_me))
        .routes(routes!(extend))
        .routes(routes!(add_device))
        .routes(routes!(pass))
        .routes(routes!(relinquish))
        .routes(routes!(cancel))
        .routes(routes!(review))
}

/// Whom something is shared with: exactly one of these.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct With {
    /// A whole e-mail address, which gets a code.
    email: Option<Address>,
    /// An account whose key is known: the share counts at once.
    account: Option<Known>,
    /// A group.
    group: Option<Name>,
    /// Somebody without an account, who is given the link, by a name.
    guest: Option<Name>,
}

impl With {
    fn recipient(self) -> Result<ShareTarget, Refusal> {
        match (self.email, self.account, self.group, self.guest) {
            (Some(address), None, None, None) => Ok(ShareTarget::Address(address.0)),
            (None, Some(known), None, None) => Ok(ShareTarget::Key(known.account.0, known.key.0)),
            (None, None, Some(group), None) => Ok(ShareTarget::Group(group.0)),
            (None, None, None, Some(name)) => Text::new(name.0.as_str())
                .map(ShareTarget::Guest)
                .map_err(|rule| RuleCode::Invalid.because(rule)),
            _ => Err(RuleCode::Invalid.because("Give one of email, account, group and guest")),
        }
    }
}

/// An account and its key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Known {
    account: Name,
    key: Key,
}

/// Shares to be made, one for each target.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewShares {
    /// Devices and sites.
    #[schema(min_items = 1, max_items = 1000)]
    targets: Vec<Target>,
    with: With,
    /// Presets (full, partner, view) and operations.
    #[schema(min_items = 1, max_items = 32)]
    permissions: Vec<Permission>,
    /// For how long, counted from now.
    seconds: Seconds,
    /// What it is for.
    description: Option<Words>,
    /// How many commands it allows in all.
    uses: Option<Seconds>,
}

/// What became of one target.
#[derive(Debug, Serialize, ToSchema)]
struct Each {
    target: Target,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<Share>,
    /// Why there is no share.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Problem>,
}

/// An invitation, for the sharer to pass on if no letter is sent.
#[derive(Debug, Serialize, ToSchema)]
struct Invited {
    id: ShareId,
    /// What the recipient opens, or gives to `doorkey accept`.
    link: String,
    /// When it lapses, in seconds since 1970.
    lapses: u64,
    /// Whether a letter is on its way.
    mailed: bool,
}

/// What was made.
#[derive(Debug, Serialize, ToSchema)]
struct Made {
    each: Vec<Each>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invitation: Option<Invited>,
}

/// Shares devices or sites with somebody, each by a share of its own.
#[utoipa::path(post, path = "/v1/shares", tag = "shares", security(("session" = [])),
    request_body = NewShares, responses((status = 201, body = Made), Problems))]
async fn share(
    State(app): State<App>,
    Asker(account): Asker,
    JsonBody(new): JsonBody<NewShares>,
) -> Result<(StatusCode, Json<Made>), Problem> {
    let to = new.with.recipient()?;
    let limits = Limits {
        uses: new.uses.map(|uses| uses.0),
        ..Limits::default()
    };
    let wanted = NewShare {
        to,
        permissions: new.permissions.into_iter().map(|name| name.0).collect(),
        end: end(new.seconds, now()),
        description: new.description.map(|words| words.text()).transpose()?,
        region: account.region.clone(),
        limits: new.uses.is_some().then_some(limits),
    };
    let targets: Vec<_> = new.targets.into_iter().map(|target| target.0).collect();
    let made = app
        .platform
        .share(Actor::Account(&account), &targets, &wanted, now())
        .await?;
    app.notify_outbox();
    let invitation = match &made.invitation {
        None => None,
        Some((invitation, code)) => {
            let link = app.letters.link(invitation, code);
            let mailed = app.letters.invite(&app.platform, &account, &made).await?;
            Some(Invited {
                id: ShareId(invitation.id),
                link,
                lapses: invitation.expires_at.0,
                mailed,
            })
        }
    };
    let each = made.each.into_iter().map(|(target, made)| match made {
        Ok(share) => Each {
            target: Target(target),
            share: Some(Share::from(&share)),
            refused: None,
        },
        Err(error) => Each {
            target: Target(target),
            share: None,
            refused: Some(error.into()),
        },
    });
    let made = Made {
        each: each.collect(),
        invitation,
    };
    Ok((StatusCode::CREATED, Json(made)))
}

/// What one has shared, newest first.
#[utoipa::path(get, path = "/v1/shares", tag = "shares", security(("session" = [])),
    params(Page), responses((status = 200, body = [Share]), Problems))]
async fn by_me(
    State(app): State<App>,
    Asker(account): Asker,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Share>>, Problem> {
    let listed = app
        .platform
        .shared_by(&account, page.from.into(), now())
        .await?;
    Ok(Json(listed.iter().map(Share::from).collect()))
}

/// What is shared with one, by sharer. What has ended is no longer there.
#[utoipa::path(get, path = "/v1/shares/with-me", tag = "shares", security(("session" = [])),
    params(Page), responses((status = 200, body = [Share]), Problems))]
async fn with_me(
    State(app): State<App>,
    Asker(account): Asker,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Share>>, Problem> {
    let listed = app
        .platform
        .shared_with(&account, page.from.into(), now())
        .await?;
    Ok(Json(listed.iter().map(Share::from).collect()))
}

/// A length of time.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Longer {
    /// Counted from the end that the share has.
    seconds: Seconds,
}

/// Moves the end of a share to a later time.
#[utoipa::path(post, path = "/v1/shares/{share}/extension", tag = "shares",
    security(("session" = [])), params(("share" = ShareId, Path)), request_body = Longer,
    responses((status = 200, body = Share), Problems))]
async fn extend(
    State(app): State<App>,
    Asker(account): Asker,
    Path(ShareId(share)): Path<ShareId>,
    JsonBody(longer): JsonBody<Longer>,
) -> Result<Json<Share>, Problem> {
    let seconds = u64::from(longer.seconds.0);
    let share = app
        .platform
        .extend(Actor::Account(&account), &share, seconds, now())
        .await?;
    app.notify_outbox();
    Ok(Json(Share::from(&share)))
}

/// Another device or site.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct More {
    target: Target,
}

/// Shares one more device with the same recipient: same permissions, same end, an id of its own.
#[utoipa::path(post, path = "/v1/shares/{share}/devices", tag = "shares",
    security(("session" = [])), params(("share" = ShareId, Path)), request_body = More,
    responses((status = 201, body = Share), Problems))]
async fn add_device(
    State(app): State<App>,
    Asker(account): Asker,
    Path(ShareId(share)): Path<ShareId>,
    JsonBody(more): JsonBody<More>,
) -> Result<(StatusCode, Json<Share>), Problem> {
    let actor = Actor::Account(&account);
    let share = app
        .platform
        .add_device(actor, &share, &more.target.0, now())
        .await?;
    app.notify_outbox();
    Ok((StatusCode::CREATED, Json(Share::from(&share))))
}

/// What a client needs to use a share.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pass {
    /// A bundle: the registrations of the devices, and the token.
    pub(crate) pass: Hex,
}

/// The pass of a share that one has.
#[utoipa::path(get, path = "/v1/shares/{share}/pass", tag = "shares",
    security(("session" = [])), params(("share" = ShareId, Path)),
    responses((status = 200, body = Pass), Problems))]
async fn pass(
    State(app): State<App>,
    Asker(account): Asker,
    Path(ShareId(share)): Path<ShareId>,
) -> Result<Json<Pass>, Problem> {
    let pass = Hex(app.platform.pass_of(&account, &share, now()).await?);
    Ok(Json(Pass { pass }))
}

/// Gives up a share that one has.
#[utoipa::path(delete, path = "/v1/shares/{share}/pass", tag = "shares",
    security(("session" = [])), params(("share" = ShareId, Path)),
    responses((status = 204), Problems))]
async fn relinquish(
    State(app): State<App>,
    Asker(account): Asker,
    Path(ShareId(share)): Path<ShareId>,
) -> Result<StatusCode, Problem> {
    app.platform.relinquish(&account, &share, now()).await?;
    app.notify_outbox();
    Ok(StatusCode::NO_CONTENT)
}

/// Shares to be ended.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Ending {
    #[schema(min_items = 1, max_items = 1000)]
    shares: Vec<ShareId>,
}

/// The list that ends shares of one target.
#[derive(Debug, Serialize, ToSchema)]
struct List {
    target: Target,
    /// Its number: the shares have ended on a device whose `state` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Problem>,
}

/// Ends shares: one list for each target.
#[utoipa::path(post, path = "/v1/cancellations", tag = "shares", security(("session" = [])),
    request_body = Ending, responses((status = 200, body = [List]), Problems))]
async fn cancel(
    State(app): State<App>,
    Asker(account): Asker,
    JsonBody(ending): JsonBody<Ending>,
) -> Result<Json<Vec<List>>, Problem> {
    if !(1..=1000).contains(&ending.shares.len()) {
        let why = "1 to 1,000 shares are ended at once";
        return Err(RuleCode::Invalid.because(why).into());
    }
    let ids: Vec<_> = ending.shares.into_iter().map(|share| share.0).collect();
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
        List {
            target: Target(target),
            seq,
            refused,
        }
    });
    Ok(Json(lists.collect()))
}

/// One line of a review.
#[derive(Debug, Serialize, ToSchema)]
struct Line {
    owner: Name,
    share: Share,
    /// Not used for 60 days: remove it?
    unused: bool,
}

/// Who can do what with one's devices, until when, and whether it is used.
#[utoipa::path(get, path = "/v1/review", tag = "shares", security(("session" = [])),
    responses((status = 200, body = [Line]), Problems))]
async fn review(State(app): State<App>, Asker(account): Asker) -> Result<Json<Vec<Line>>, Problem> {
    let review = app.platform.review(Actor::Account(&account), now()).await?;
    let lines = review.into_iter().map(|access| Line {
        owner: Name(access.owner),
        share: Share::from(&access.listed),
        unused: access.unused,
    });
    Ok(Json(lines.collect()))
}
