//! Shortened ids of shares and invitations, looked up in the database.

use crate::cli::value_parsers::IdPrefix;
use crate::ledger;
use crate::service::Platform;
use doorward_protocol::wire::Bytes;
use doorward_terminal::{CliError, exit_status};

/// Number of candidates that an error lists.
const MAX_CANDIDATES: usize = 8;

/// The id of the only share whose id begins with `prefix`.
pub(crate) async fn find_share(
    platform: &Platform,
    prefix: &IdPrefix,
) -> Result<Bytes<16>, CliError> {
    let mut connection = platform.ledger().read().await?;
    let limit = MAX_CANDIDATES as u64 + 1;
    let shares = ledger::shares_with_prefix(&mut connection, prefix.digits(), limit).await?;
    let candidates = shares.into_iter().map(|share| {
        let text = format!("{} for {}", share.audience, share.recipient.name());
        (share.id, text)
    });
    pick("share", prefix, candidates.collect())
}

/// The id of the only invitation whose id begins with `prefix`.
pub(crate) async fn find_invitation(
    platform: &Platform,
    prefix: &IdPrefix,
) -> Result<Bytes<16>, CliError> {
    let mut connection = platform.ledger().read().await?;
    let limit = MAX_CANDIDATES as u64 + 1;
    let found = ledger::invitations_with_prefix(&mut connection, prefix.digits(), limit).await?;
    pick("invitation", prefix, found)
}

/// The only candidate; an error that lists them if there are several.
pub(crate) fn pick(
    kind: &str,
    prefix: &IdPrefix,
    mut candidates: Vec<(Bytes<16>, String)>,
) -> Result<Bytes<16>, CliError> {
    if candidates.len() > 1 {
        let mut message = format!("{prefix} is the beginning of several {kind} ids:");
        for (id, text) in candidates.iter().take(MAX_CANDIDATES) {
            message.push_str(&format!("\n  {id}  {text}"));
        }
        if candidates.len() > MAX_CANDIDATES {
            message.push_str("\n  ...");
        }
        return Err(CliError::new(exit_status::DATA, message).with_remedy("Give more digits."));
    }
    let found = candidates.pop().map(|(id, _)| id);
    found.ok_or_else(|| CliError::new(exit_status::DATA, format!("there is no {kind} {prefix}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ambiguous_prefix_lists_the_candidates() {
        let prefix: IdPrefix = "0102".parse().unwrap();
        let ids = [Bytes([1; 16]), Bytes([2; 16])];
        let one = vec![(ids[0], "ups-7 for anna".to_owned())];
        assert_eq!(pick("share", &prefix, one.clone()).unwrap(), ids[0]);
        let two = [one, vec![(ids[1], "ups-8 for ben".to_owned())]].concat();
        let error = pick("share", &prefix, two).unwrap_err();
        for part in [
            &*ids[0].hex(),
            &*ids[1].hex(),
            "ups-7 for anna",
            "ups-8 for ben",
        ] {
            assert!(error.message.contains(part), "{}", error.message);
        }
        let none = pick("share", &prefix, Vec::new()).unwrap_err();
        assert_eq!(none.message, "there is no share 0102");
    }
}
