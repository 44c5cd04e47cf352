//! Operations that the core carries out itself, because they read or change what it
//! remembers: who holds shares, ending them on the spot, suspending all of them.

use crate::core::io::OperationResult;
use doorward_protocol::event_log::record::Change;
use doorward_protocol::gate::{Code, DurableState, Now, Offer, Offers, Permit, StatementStore};
use doorward_protocol::wire::{
    ArgLimit, Bytes, Class, Map, Operation, Share, Text, Timestamp, Value,
};

/// Most shares that one answer lists; a receipt is bounded.
const MAX_LISTED: usize = 40;

/// Most shares that the device itself remembers to be ended.
const MAX_ENDED: usize = 10_000;

/// Most people who are told the news.
pub(super) const MAX_SUBSCRIBERS: usize = 64;

/// How long a freeze lasts if nobody says, in seconds: until it is lifted.
const FOREVER: Timestamp = Timestamp(doorward_protocol::wire::MAX_TIMESTAMP);

/// These operations, offered by every device.
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

/// Those that only look.
pub(super) fn read_only() -> impl Iterator<Item = Operation> {
    ["share.mine", "share.list"]
        .into_iter()
        .filter_map(|name| Operation::new(name).ok())
}

/// Carries a permit out, if it is for one of these operations: how it ended, and what has
/// changed.
pub(super) fn execute(
    permit: &Permit,
    known: &StatementStore,
    memory: &DurableState,
    log_size: u64,
    now: &Now,
) -> Option<(OperationResult, Option<Change>)> {
    let caller = permit.caller();
    let ends = matches!(
        caller.operation.as_str(),
        "share.revoke" | "share.relinquish"
    );
    if ends && memory.ended.len() >= MAX_ENDED {
        let why = "too many shares were ended on the device; let the issuer cancel this one";
        return Some((OperationResult::failed(Code::Failed, why), None));
    }
    let done = |change| (OperationResult::done(Map::default()), change);
    Some(match caller.operation.as_str() {
        "share.mine" => {
            let shares = known.shares_of(&caller.key);
            (
                OperationResult::done(list(shares, known, memory, now)),
                None,
            )
        }
        "share.list" => {
            let shares = known.shares_by_age();
            (
                OperationResult::done(list(shares, known, memory, now)),
                None,
            )
        }
        "share.revoke" => match named(permit, known) {
            Some(share) => done(Some(Change::Ended(share.cti, share.exp))),
            None => (unknown_share(), None),
        },
        "share.relinquish" => match named(permit, known) {
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
                if memory.subscribers.contains_key(&caller.key)
                    || memory.subscribers.len() < MAX_SUBSCRIBERS =>
            {
                done(Some(Change::Subscribed(permit.share())))
            }
            Some(Value::Bool(true)) => {
                let why = "as many are told the news as this device can remember";
                (OperationResult::failed(Code::Failed, why), None)
            }
            _ => (
                OperationResult::failed(Code::Param, "on is true or false"),
                None,
            ),
        },
        "device.delete" => done(Some(Change::Deleted)),
        "history.acknowledge" => match permit.args().get("size") {
            Some(Value::Int(size)) => match u64::try_from(*size) {
                Ok(size) if size <= log_size => done(Some(Change::Acknowledged(size))),
                _ => (
                    OperationResult::failed(Code::Failed, "the log is not that long"),
                    None,
                ),
            },
            _ => (
                OperationResult::failed(Code::Param, "size is a number of records"),
                None,
            ),
        },
        _ => return None,
    })
}

fn unknown_share() -> OperationResult {
    OperationResult::failed(Code::Failed, "the device knows no such share of yours")
}

fn named<'a>(permit: &Permit, known: &'a StatementStore) -> Option<&'a Share> {
    match permit.args().get("share") {
        Some(Value::Bytes(id)) => known.share(&Bytes(id.as_slice().try_into().ok()?)),
        // As `share.list` shows it, and as people type it.
        Some(Value::Text(id)) => known.share(&Bytes::from_hex(id)?),
        _ => None,
    }
}

fn list<'a>(
    shares: impl Iterator<Item = &'a Share>,
    known: &StatementStore,
    memory: &DurableState,
    now: &Now,
) -> Map<Text, Value> {
    let mut rows = Vec::new();
    let mut more = 0;
    for share in shares.filter(|share| share.exp > now.estimate) {
        if rows.len() == MAX_LISTED {
            more += 1;
            continue;
        }
        let over = known.is_revoked(share) || memory.ended.contains_key(&share.cti);
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
            if over { ", cancelled" } else { "" },
            names.join(", ")
        );
        if let Some(description) = &share.body.description {
            text = format!("{text} ({description})");
        }
        while text.len() > 300 {
            text.pop();
        }
        rows.push((share.cti.hex(), Value::Text(text)));
    }
    if more > 0 {
        rows.push(("more".to_owned(), Value::Int(more)));
    }
    Map::named(rows)
}
