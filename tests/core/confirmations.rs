//! Confirmations of shares that a device sends to the issuer.

use doorward::core::ReplyTopic;
use doorward_protocol::wire::*;
use doorward_testkit::*;

/// Confirmations published since the last call: hash of the share, outcome and code.
fn confirmed(bench: &mut Bench) -> Vec<(Hash, Outcome, String)> {
    let published = std::mem::take(&mut bench.published);
    let confirmations = published
        .iter()
        .filter(|(topic, _)| *topic == ReplyTopic::Confirmations)
        .map(|(_, bytes)| receipt(bytes).body);
    confirmations
        .map(|body| {
            let code = body.code.map_or_else(String::new, |code| code.to_string());
            (body.command, body.outcome, code)
        })
        .collect()
}

#[test]
fn s59_a_device_confirms_a_share_as_often_as_it_is_sent_and_once_it_is_durable() {
    let mut bench = Bench::with(&[]);
    let anna = signed(&share("anna", &["status.read"]));
    confirmed(&mut bench);
    bench.deliver(&anna);
    let confirmation = (hash(&anna), Outcome::Done, String::new());
    assert_eq!(confirmed(&mut bench), std::slice::from_ref(&confirmation));
    bench.restart();
    confirmed(&mut bench);
    bench.deliver(&anna);
    assert_eq!(
        confirmed(&mut bench),
        [confirmation],
        "the first confirmation may be lost"
    );
}

#[test]
fn s49_a_contradicting_share_is_refused_with_a_receipt_and_a_forged_one_without() {
    let anna = share("anna", &["status.read"]);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    confirmed(&mut bench);
    let mut wider = anna.clone();
    wider.body.permissions = share("anna", &["device.reboot"]).body.permissions;
    let wider = signed(&wider);
    bench.deliver(&wider);
    let refused = (hash(&wider), Outcome::Denied, "bad_grant".to_owned());
    assert_eq!(confirmed(&mut bench), [refused]);
    let mut forged = signed(&share("eve", &["status.read"]));
    let last = forged.len() - 1;
    forged[last] ^= 1;
    bench.deliver(&forged);
    let stranger = sign(&share("eve", &["status.read"]), &key("eve"));
    bench.deliver(&stranger);
    assert_eq!(confirmed(&mut bench), []);
}
