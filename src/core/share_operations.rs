//! Operations that the core carries out itself because they read or change its durable state:
//! listing shares, ending them on the device, suspending all of them.

use crate::core::io::OperationResult;
use doorward_protocol::event_log::record::Change;
use doorward_protocol::gate::{Code, DurableState, Now, Offer, Offers, Permit, StatementStore};
use doorward_protocol::wire::{
    ArgLimit, Bytes, Class, Map, Operation, Share, Text, Timestamp, Value, truncate,
};

/// Shares listed in one answer; the size of a receipt is limited.
const MAX_LISTED: usize = 40;

/// Shares ended on the device that it can record.
const MAX_ENDED: usize = 10_000;

/// Users who can subscribe to notifications.
pub(super) const MAX_SUBSCRIBERS: usize = 64;

/// End of a suspension without `until`: it lasts until it is lifted.
const FOREVER: Timestamp = Timestamp(doorward_protocol::wire::MAX_TIMESTAMP);

/// The operations of this module, offered by every device.
pub(super) fn offers() -> Offers {
    let argument = |required| doorward_protocol::gate::Argument {
        required,
        limit: ArgLimit::default(),
    };
    [
        ("share.mine", Class::Read, None),
        ("share.list", Class::Read, None),
        ("share.relinquish", Class::Change, Some(("share", true))),
        ("share.revoke", Class::Change, Some(("share", true))),
        ("share.freeze", Class::Change, Some(("until", false))),
        ("share.unfreeze", Class::Change, None),
        ("history.acknowledge", Class::Change, Some(("size", true))),
        ("device.delete", Class::Danger, None),
        ("notify.manage", Class::Change, Some(("on", true))),
    ]
    .into_iter()
    .filter_map(|(name, class, arg)| {
        let args = arg.and_then(|(arg, required)| Some((Text::new(arg).ok()?, argument(required))));
        let offer = Offer {
            args: args.into_iter().collect(),
            ..Offer::plain(class)
        };
        Some((Operation::new(name).ok()?, offer))
    })
    .collect()
}

/// Those of them that only read.
pub(super) fn read_only() -> impl Iterator<Item = Operation> {
    ["share.mine", "share.list"]
        .into_iter()
        .filter_map(|name| Operation::new(name).ok())
}

/// Executes a permit for one of these operations and returns its result and the change to record;
/// `None` for any other operation.
pub(super) fn execute(
    permit: &Permit,
    statements: &StatementStore,
    state: &DurableState,
    log_size: u64,
    now: &Now,
) -> Option<(OperationResult, Option<Change>)> {
    let caller = permit.caller();
    let ends = matches!(
        caller.operation.as_str(),
        "share.revoke" | "share.relinquish"
    );
    if ends && state.ended.len() >= MAX_ENDED {
        let why = "this device cannot record more ended shares; revoke this one at the issuer";
        return Some((OperationResult::failed(Code::Failed, why), None));
    }
    let done = |change| (OperationResult::done(Map::default()), change);
    Some(match caller.operation.as_str() {
        "share.mine" => {
            let shares = statements.shares_of(&caller.key);
            (
                OperationResult::done(list(shares, statements, state, now)),
                None,
            )
        }
        "share.list" => {
            let shares = statements.shares_by_age();
            (
                OperationResult::done(list(shares, statements, state, now)),
                None,
            )
        }
        "share.revoke" => match share_argument(permit, statements) {
            Some(share) => done(Some(Change::Ended(share.cti, share.exp))),
            None => (unknown_share(), None),
        },
        "share.relinquish" => match share_argument(permit, statements) {
            Some(share) if share.cnf.0 == caller.key && share.body.group.is_none() => {
                done(Some(Change::Ended(share.cti, share.exp)))
            }
            _ => (unknown_share(), None),
        },
        "share.freeze" => {
            let until = match permit.args().get("until") {
                Some(Value::Int(until)) => u64::try_from(*until).map_or(now.estimate, Timestamp),
                _ => FOREVER,
            };
            done(Some(Change::Frozen(until.min(FOREVER))))
        }
        "share.unfreeze" => done(Some(Change::Unfrozen)),
        "notify.manage" => match permit.args().get("on") {
            Some(Value::Bool(false)) => done(Some(Change::Unsubscribed)),
            Some(Value::Bool(true))
                if state.subscribers.contains_key(&caller.key)
                    || state.subscribers.len() < MAX_SUBSCRIBERS =>
            {
                done(Some(Change::Subscribed(permit.share())))
            }
            Some(Value::Bool(true)) => {
                let why = "the maximum number of subscribers is reached";
                (OperationResult::failed(Code::Failed, why), None)
            }
            _ => (
                OperationResult::failed(Code::Param, "`on` must be true or false"),
                None,
            ),
        },
        "device.delete" => done(Some(Change::Deleted)),
        "history.acknowledge" => match permit.args().get("size") {
            Some(Value::Int(size)) => match u64::try_from(*size) {
                Ok(size) if size <= log_size => done(Some(Change::Acknowledged(size))),
                _ => (
                    OperationResult::failed(
                        Code::Failed,
                        "`size` exceeds the number of records in the log",
                    ),
                    None,
                ),
            },
            _ => (
                OperationResult::failed(Code::Param, "`size` must be a number of records"),
                None,
            ),
        },
        _ => return None,
    })
}

fn unknown_share() -> OperationResult {
    OperationResult::failed(Code::Failed, "no such share of yours on this device")
}

fn share_argument<'a>(permit: &Permit, statements: &'a StatementStore) -> Option<&'a Share> {
    match permit.args().get("share") {
        Some(Value::Bytes(id)) => statements.share(&Bytes(id.as_slice().try_into().ok()?)),
        // Hexadecimal, as printed by `share.list`.
        Some(Value::Text(id)) => statements.share(&Bytes::from_hex(id)?),
        _ => None,
    }
}

fn list<'a>(
    shares: impl Iterator<Item = &'a Share>,
    statements: &StatementStore,
    state: &DurableState,
    now: &Now,
) -> Map<Text, Value> {
    let mut rows = Vec::new();
    let mut more = 0;
    for share in shares.filter(|share| share.exp > now.estimate) {
        if rows.len() == MAX_LISTED {
            more += 1;
            continue;
        }
        let is_ended = statements.is_revoked(share) || state.ended.contains_key(&share.cti);
        let names: Vec<&str> = share
            .body
            .permissions
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        let mut text = format!(
            "{} until {}{}: {}",
            share.sub,
            share.exp,
            if is_ended { ", cancelled" } else { "" },
            names.join(", ")
        );
        if let Some(description) = &share.body.description {
            text = format!("{text} ({description})");
        }
        truncate(&mut text, 300);
        rows.push((share.cti.hex(), Value::Text(text)));
    }
    if more > 0 {
        rows.push(("more".to_owned(), Value::Int(more)));
    }
    Map::named(rows)
}
