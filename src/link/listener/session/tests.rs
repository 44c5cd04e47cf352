use rumqttc::mqttbytes::v5::{ConnectAuth, ConnectProperties, LastWill};

use crate::link::listener::session::*;
use doorward_protocol::wire::topics;
use doorward_protocol::wire::{Bytes, SecretKey};

fn device() -> Id {
    Id::new("ups-7").unwrap()
}

fn hello(change: impl FnOnce(&mut Connect)) -> Vec<u8> {
    let mut connect = Connect {
        keep_alive: 60,
        client_id: "laptop".into(),
        clean_start: true,
        properties: None,
    };
    change(&mut connect);
    encoded(&Packet::Connect(connect, None, ConnectAuth::None))
}

fn publish(topic: &str, qos: QoS, pkid: u16, payload: &[u8]) -> Vec<u8> {
    let mut publish = Publish::new(topic, qos, payload.to_vec(), None);
    publish.pkid = pkid;
    encoded(&Packet::Publish(publish))
}

fn subscribe(path: &str) -> Vec<u8> {
    let filter = SubscribeFilter::new(path, QoS::AtLeastOnce);
    let mut subscribe = Subscribe::new(filter, None);
    subscribe.pkid = 7;
    encoded(&Packet::Subscribe(subscribe))
}

/// A session under test.
struct TestSession(Session);

impl TestSession {
    fn new() -> Self {
        Self(Session::new(device(), 100))
    }

    fn connected() -> Self {
        let mut session = Self::new();
        session.take(&hello(|_| {}));
        session
    }

    fn try_take(&mut self, bytes: &[u8]) -> Result<Vec<SessionAction>, Close> {
        let mut buffer = BytesMut::from(bytes);
        let mut actions = Vec::new();
        while let Some(more) = self.0.receive(&mut buffer)? {
            actions.extend(more);
        }
        Ok(actions)
    }

    fn take(&mut self, bytes: &[u8]) -> Vec<SessionAction> {
        self.try_take(bytes).unwrap()
    }

    /// The reason with which it closes the connection.
    fn ends(&mut self, bytes: &[u8]) -> Option<DisconnectReasonCode> {
        let Close(last) = self.try_take(bytes).unwrap_err();
        match sent(&last) {
            Some(Packet::Disconnect(disconnect)) => Some(disconnect.reason_code),
            None => None,
            other => panic!("{other:?}"),
        }
    }
}

fn sent(bytes: &[u8]) -> Option<Packet> {
    (!bytes.is_empty()).then(|| Packet::read(&mut BytesMut::from(bytes), None).unwrap())
}

fn granted(actions: &[SessionAction]) -> SubscribeReasonCode {
    let Some(SessionAction::Send(bytes)) = actions.first() else {
        panic!("{actions:?}")
    };
    match sent(bytes) {
        Some(Packet::SubAck(ack)) => ack.return_codes[0],
        other => panic!("{other:?}"),
    }
}

/// A command by a key without a share; only its structure counts here.
fn command(counter: u64) -> Vec<u8> {
    use doorward_protocol::wire::{Command, CommandBody, Map, Operation, Timestamp, sign};
    let command = Command {
        aud: doorward_protocol::wire::Audience::Device(device()),
        exp: Timestamp(60),
        iat: Timestamp(0),
        cti: Bytes([1; 16]),
        body: CommandBody {
            format: 1,
            counter,
            instance: Bytes([0; 4]),
            epoch: Bytes([0; 16]),
            operation: Operation::new("status.read").unwrap(),
            args: Map::default(),
            until: None,
            dry: None,
        },
    };
    sign(&command, &SecretKey::from_seed(&[1; 32]))
}

#[test]
fn whoever_connects_is_told_what_there_is_and_what_there_is_not() {
    let mut session = TestSession::new();
    assert_eq!(session.0.time_limit(), None);
    let actions = session.take(&hello(|connect| {
        connect.client_id.clear();
        connect.keep_alive = 0;
    }));
    let [SessionAction::Send(bytes)] = &actions[..] else {
        panic!("{actions:?}")
    };
    let Some(Packet::ConnAck(ack)) = sent(bytes) else {
        panic!("{bytes:?}")
    };
    assert_eq!(ack.code, ConnectReturnCode::Success);
    let properties = ack.properties.unwrap();
    assert_eq!(properties.max_qos, Some(1));
    assert_eq!(properties.session_expiry_interval, Some(0));
    assert_eq!(properties.wildcard_subscription_available, Some(0));
    assert_eq!(properties.server_keep_alive, Some(LONGEST_KEEP_ALIVE));
    assert!(properties.assigned_client_identifier.is_some());
    assert_eq!(session.0.time_limit(), Some(Duration::from_secs(180)));
}

#[test]
fn packets_may_come_in_any_pieces() {
    let mut session = TestSession::new();
    let mut buffer = BytesMut::new();
    let bytes = [hello(|_| {}), encoded(&Packet::PingReq)].concat();
    let mut actions = Vec::new();
    for byte in bytes {
        buffer.extend([byte]);
        actions.extend(session.0.receive(&mut buffer).unwrap().unwrap_or_default());
    }
    assert_eq!(actions.len(), 2);
    assert_eq!(actions[1], SessionAction::Send(encoded(&Packet::PingResp)));
}

#[test]
fn before_anybody_has_connected_nothing_else_is_heard_and_little_is_read() {
    let ping = encoded(&Packet::PingReq);
    let early = publish("doorward/v1/ups-7/command", QoS::AtMostOnce, 0, b"x");
    // Four bytes that crash the broker rumqttd.
    let rumqttd = [0x20, 2, 0, 0];
    let large = [&[0x10, 0xff, 0xff, 0x03][..], &[0; 16]].concat();
    for bytes in [&ping[..], &early, &rumqttd, &large, b"GET / HTTP/1.1\r\n"] {
        assert_eq!(TestSession::new().ends(bytes), None, "{bytes:?}");
    }
    let mut older = hello(|_| {});
    older[8] = 4;
    let Close(last) = TestSession::new().try_take(&older).unwrap_err();
    assert_eq!(last, CONNACK_OF_3_1_1);
    let challenged = hello(|connect| {
        connect.properties = Some(ConnectProperties {
            authentication_method: Some("x".into()),
            ..ConnectProperties::new()
        });
    });
    let Close(last) = TestSession::new().try_take(&challenged).unwrap_err();
    let Some(Packet::ConnAck(ack)) = sent(&last) else {
        panic!("{last:?}")
    };
    assert_eq!(ack.code, ConnectReturnCode::BadAuthenticationMethod);
}

#[test]
fn a_will_is_taken_and_never_published() {
    let connect = Connect {
        keep_alive: 10,
        client_id: "x".into(),
        clean_start: true,
        properties: None,
    };
    let will = LastWill::new("doorward/v1/ups-7/state", "x", QoS::AtLeastOnce, true, None);
    let bytes = encoded(&Packet::Connect(connect, Some(will), ConnectAuth::None));
    assert_eq!(TestSession::new().take(&bytes).len(), 1);
}

#[test]
fn commands_and_statements_are_delivered_and_acknowledged_when_they_are_done_with() {
    let mut session = TestSession::connected();
    let topic = topics::command(&device());
    let actions = session.take(&publish(&topic, QoS::AtLeastOnce, 9, b"x"));
    let deliver = |retained, number| {
        vec![SessionAction::Deliver {
            retained,
            number,
            payload: b"x".to_vec(),
        }]
    };
    assert_eq!(actions, deliver(false, 100));
    assert_eq!(session.0.acknowledge(99), None);
    let ack = sent(&session.0.acknowledge(100).unwrap());
    assert_eq!(ack, Some(Packet::PubAck(PubAck::new(9, None))));
    assert_eq!(session.0.acknowledge(100), None);
    session.take(&publish(&topic, QoS::AtLeastOnce, 10, b"x"));
    let refused = session.0.refuse(101).unwrap();
    assert_eq!(refused, puback(10, PubAckReason::QuotaExceeded));
    // A message with QoS 0 is not acknowledged.
    let actions = session.take(&publish(&topic, QoS::AtMostOnce, 0, b"x"));
    assert_eq!(actions, deliver(false, NO_ACK));
    assert_eq!(session.0.acknowledge(NO_ACK), None);
    // The retain flag is kept for commands and dropped for statements.
    for (topic, retained) in [
        (topic.as_str(), true),
        ("doorward/v1/ups-7/statements/share/01", false),
    ] {
        let mut bytes = publish(topic, QoS::AtMostOnce, 0, b"x");
        bytes[0] |= 1;
        let actions = session.take(&bytes);
        assert!(
            matches!(actions[..], [SessionAction::Deliver { retained: it, .. }] if it == retained),
            "{actions:?}"
        );
    }
}

#[test]
fn nobody_publishes_what_the_device_says() {
    let mut session = TestSession::connected();
    for topic in ["doorward/v1/ups-7/state", "doorward/v1/ups-8/command", "x"] {
        let actions = session.take(&publish(topic, QoS::AtLeastOnce, 3, b"x"));
        let expected = puback(3, PubAckReason::NotAuthorized);
        assert_eq!(actions, [SessionAction::Send(expected)], "{topic}");
        let actions = session.take(&publish(topic, QoS::AtMostOnce, 0, b"x"));
        assert_eq!(actions, [], "{topic}");
    }
}

#[test]
fn what_was_not_offered_ends_the_connection_with_the_reason() {
    use DisconnectReasonCode::{
        MalformedPacket, PacketTooLarge, ProtocolError, QoSNotSupported, ReceiveMaximumExceeded,
        TopicAliasInvalid,
    };
    let topic = topics::command(&device());
    let once = |bytes: &[u8]| TestSession::connected().ends(bytes);
    assert_eq!(
        once(&publish(&topic, QoS::ExactlyOnce, 1, b"x")),
        Some(QoSNotSupported)
    );
    assert_eq!(once(&hello(|_| {})), Some(ProtocolError));
    assert_eq!(once(&[0xf3, 0]), Some(MalformedPacket));
    assert_eq!(once(&[0x30, 0xff, 0xff, 0x7f]), Some(PacketTooLarge));
    assert_eq!(once(&[0x20, 2, 0, 0]), Some(MalformedPacket));
    // Section 3.3.2.3.4: no alias was offered.
    let alias = [0x30, 8, 0, 1, b'a', 3, 0x23, 0, 1, b'x'];
    assert_eq!(once(&alias), Some(TopicAliasInvalid));
    let many: Vec<u8> = (1..=RECEIVE_MAXIMUM + 1)
        .flat_map(|pkid| publish(&topic, QoS::AtLeastOnce, pkid, b"x"))
        .collect();
    assert_eq!(once(&many), Some(ReceiveMaximumExceeded));
    let Close(last) = TestSession::connected()
        .try_take(&encoded(&Packet::Disconnect(Disconnect::new(
            DisconnectReasonCode::NormalDisconnection,
        ))))
        .unwrap_err();
    assert!(last.is_empty());
}

#[test]
fn whole_names_of_what_the_device_tells_can_be_subscribed_to() {
    use SubscribeReasonCode::{
        NotAuthorized, QuotaExceeded, SharedSubscriptionsNotSupported, Success,
        WildcardSubscriptionsNotSupported,
    };
    let mut session = TestSession::connected();
    let state = topics::state(&device());
    let actions = session.take(&subscribe(&state));
    assert_eq!(granted(&actions), Success(QoS::AtMostOnce));
    assert_eq!(actions[1], SessionAction::ShowState);
    for (filter, code) in [
        ("doorward/v1/ups-7/#", WildcardSubscriptionsNotSupported),
        (
            "$share/g/doorward/v1/ups-7/state",
            SharedSubscriptionsNotSupported,
        ),
        ("doorward/v1/ups-7/command", NotAuthorized),
        ("doorward/v1/ups-7/records", NotAuthorized),
        ("doorward/v1/ups-8/state", NotAuthorized),
    ] {
        assert_eq!(granted(&session.take(&subscribe(filter))), code, "{filter}");
    }
    let receipts = |one: u8| topics::receipts(&device(), &Bytes([one; 32]));
    for one in 1..MAX_FILTERS as u8 {
        let actions = session.take(&subscribe(&receipts(one)));
        assert_eq!(granted(&actions), Success(QoS::AtMostOnce));
    }
    let actions = session.take(&subscribe(&receipts(99)));
    assert_eq!(granted(&actions), QuotaExceeded);
    // A renewed subscription needs no more capacity.
    let actions = session.take(&subscribe(&receipts(1)));
    assert_eq!(granted(&actions), Success(QoS::AtMostOnce));
    let mut leave = Unsubscribe::new(receipts(1), None);
    leave.filters.push("x".into());
    leave.pkid = 3;
    let actions = session.take(&encoded(&Packet::Unsubscribe(leave)));
    let expected = Packet::UnsubAck(UnsubAck {
        pkid: 3,
        reasons: vec![
            UnsubAckReason::Success,
            UnsubAckReason::NoSubscriptionExisted,
        ],
        properties: None,
    });
    assert_eq!(actions, [SessionAction::Send(encoded(&expected))]);
}

#[test]
fn a_receipt_goes_to_whoever_has_brought_its_command_and_listens() {
    let holder = Bytes([5; 32]);
    let topic = OutboundTopic::Receipts(holder);
    let command = command(1);
    let name = doorward_protocol::wire::hash(&command);
    let mut session = TestSession::connected();
    session.take(&subscribe(&topics::receipts(&device(), &holder)));
    assert_eq!(session.0.publish(&topic, Some(&name), b"r", false), None);
    let bring = publish(&topics::command(&device()), QoS::AtMostOnce, 0, &command);
    session.take(&bring);
    let Some(Packet::Publish(receipt)) =
        sent(&session.0.publish(&topic, Some(&name), b"r", false).unwrap())
    else {
        panic!("no receipt")
    };
    assert_eq!(receipt.payload, b"r"[..]);
    assert_eq!(receipt.qos, QoS::AtMostOnce);
    let other = Bytes([0; 32]);
    assert_eq!(session.0.publish(&topic, Some(&other), b"r", false), None);
    let mut unsubscribed = TestSession::connected();
    unsubscribed.take(&bring);
    assert_eq!(
        unsubscribed.0.publish(&topic, Some(&name), b"r", false),
        None
    );
}

#[test]
fn a_client_is_sent_nothing_larger_than_it_takes() {
    let mut session = TestSession::new();
    session.take(&hello(|connect| {
        connect.properties = Some(ConnectProperties {
            max_packet_size: Some(100),
            ..ConnectProperties::new()
        });
    }));
    session.take(&subscribe(&topics::state(&device())));
    assert!(
        session
            .0
            .publish(&OutboundTopic::State, None, &[0; 50], true)
            .is_some()
    );
    assert_eq!(
        session
            .0
            .publish(&OutboundTopic::State, None, &[0; 100], true),
        None
    );
}

#[test]
fn of_many_commands_the_last_ones_are_remembered() {
    let mut session = TestSession::connected();
    let topic = topics::command(&device());
    let mut bring = |counter: u64| {
        let bundle = command(counter);
        session.take(&publish(&topic, QoS::AtMostOnce, 0, &bundle));
        (
            session.0.own_commands.len(),
            doorward_protocol::wire::hash(&bundle),
        )
    };
    assert_eq!(bring(1).0, 1);
    assert_eq!(bring(1).0, 1, "the same command again");
    let most = MAX_OWN_COMMANDS as u64;
    for counter in 2..=most {
        bring(counter);
    }
    let (_, second) = bring(2);
    let (count, last) = bring(most + 1);
    assert_eq!(count, MAX_OWN_COMMANDS);
    assert_eq!(session.0.own_commands.front(), Some(&second));
    assert_eq!(session.0.own_commands.back(), Some(&last));
}
