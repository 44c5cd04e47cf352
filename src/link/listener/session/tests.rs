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

/// A session, and what it does with bytes.
struct Table(Session);

impl Table {
    fn new() -> Self {
        Self(Session::new(device(), 100))
    }

    fn connected() -> Self {
        let mut table = Self::new();
        table.take(&hello(|_| {}));
        table
    }

    fn try_take(&mut self, bytes: &[u8]) -> Result<Vec<SessionAction>, Close> {
        let mut buffer = BytesMut::from(bytes);
        let mut steps = Vec::new();
        while let Some(more) = self.0.receive(&mut buffer)? {
            steps.extend(more);
        }
        Ok(steps)
    }

    fn take(&mut self, bytes: &[u8]) -> Vec<SessionAction> {
        self.try_take(bytes).unwrap()
    }

    /// Why it ends the connection.
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

fn granted(steps: &[SessionAction]) -> SubscribeReasonCode {
    let Some(SessionAction::Send(bytes)) = steps.first() else {
        panic!("{steps:?}")
    };
    match sent(bytes) {
        Some(Packet::SubAck(ack)) => ack.return_codes[0],
        other => panic!("{other:?}"),
    }
}

/// A command of nobody; only its shape counts here.
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
    let mut table = Table::new();
    assert_eq!(table.0.patience(), None);
    let steps = table.take(&hello(|connect| {
        connect.client_id.clear();
        connect.keep_alive = 0;
    }));
    let [SessionAction::Send(bytes)] = &steps[..] else {
        panic!("{steps:?}")
    };
    let Some(Packet::ConnAck(ack)) = sent(bytes) else {
        panic!("{bytes:?}")
    };
    assert_eq!(ack.code, ConnectReturnCode::Success);
    let said = ack.properties.unwrap();
    assert_eq!(said.max_qos, Some(1));
    assert_eq!(said.session_expiry_interval, Some(0));
    assert_eq!(said.wildcard_subscription_available, Some(0));
    assert_eq!(said.server_keep_alive, Some(LONGEST_KEEP_ALIVE));
    assert!(said.assigned_client_identifier.is_some());
    assert_eq!(table.0.patience(), Some(Duration::from_secs(180)));
}

#[test]
fn packets_may_come_in_any_pieces() {
    let mut table = Table::new();
    let mut buffer = BytesMut::new();
    let bytes = [hello(|_| {}), encoded(&Packet::PingReq)].concat();
    let mut steps = Vec::new();
    for byte in bytes {
        buffer.extend([byte]);
        steps.extend(table.0.receive(&mut buffer).unwrap().unwrap_or_default());
    }
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[1], SessionAction::Send(encoded(&Packet::PingResp)));
}

#[test]
fn before_anybody_has_connected_nothing_else_is_heard_and_little_is_read() {
    let ping = encoded(&Packet::PingReq);
    let early = publish("doorward/v1/ups-7/command", QoS::AtMostOnce, 0, b"x");
    // The four bytes that end a broker that trusts its clients.
    let rumqttd = [0x20, 2, 0, 0];
    let large = [&[0x10, 0xff, 0xff, 0x03][..], &[0; 16]].concat();
    for bytes in [&ping[..], &early, &rumqttd, &large, b"GET / HTTP/1.1\r\n"] {
        assert_eq!(Table::new().ends(bytes), None, "{bytes:?}");
    }
    let mut older = hello(|_| {});
    older[8] = 4;
    let Close(last) = Table::new().try_take(&older).unwrap_err();
    assert_eq!(last, CONNACK_OF_3_1_1);
    let challenged = hello(|connect| {
        connect.properties = Some(ConnectProperties {
            authentication_method: Some("x".into()),
            ..ConnectProperties::new()
        });
    });
    let Close(last) = Table::new().try_take(&challenged).unwrap_err();
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
    assert_eq!(Table::new().take(&bytes).len(), 1);
}

#[test]
fn commands_and_statements_are_delivered_and_acknowledged_when_they_are_done_with() {
    let mut table = Table::connected();
    let topic = topics::command(&device());
    let steps = table.take(&publish(&topic, QoS::AtLeastOnce, 9, b"x"));
    let deliver = |retained, number| {
        vec![SessionAction::Deliver {
            retained,
            number,
            payload: b"x".to_vec(),
        }]
    };
    assert_eq!(steps, deliver(false, 100));
    assert_eq!(table.0.acknowledge(99), None);
    let ack = sent(&table.0.acknowledge(100).unwrap());
    assert_eq!(ack, Some(Packet::PubAck(PubAck::new(9, None))));
    assert_eq!(table.0.acknowledge(100), None);
    table.take(&publish(&topic, QoS::AtLeastOnce, 10, b"x"));
    let refused = table.0.refuse(101).unwrap();
    assert_eq!(refused, puback(10, PubAckReason::QuotaExceeded));
    // What was published at most once is acknowledged to nobody.
    let steps = table.take(&publish(&topic, QoS::AtMostOnce, 0, b"x"));
    assert_eq!(steps, deliver(false, NO_ACK));
    assert_eq!(table.0.acknowledge(NO_ACK), None);
    // Retained: a command stays marked, and a statement need not be.
    for (topic, retained) in [
        (topic.as_str(), true),
        ("doorward/v1/ups-7/statements/share/01", false),
    ] {
        let mut bytes = publish(topic, QoS::AtMostOnce, 0, b"x");
        bytes[0] |= 1;
        let steps = table.take(&bytes);
        assert!(
            matches!(steps[..], [SessionAction::Deliver { retained: kept, .. }] if kept == retained),
            "{steps:?}"
        );
    }
}

#[test]
fn nobody_publishes_what_the_device_says() {
    let mut table = Table::connected();
    for topic in ["doorward/v1/ups-7/state", "doorward/v1/ups-8/command", "x"] {
        let steps = table.take(&publish(topic, QoS::AtLeastOnce, 3, b"x"));
        let expected = puback(3, PubAckReason::NotAuthorized);
        assert_eq!(steps, [SessionAction::Send(expected)], "{topic}");
        let steps = table.take(&publish(topic, QoS::AtMostOnce, 0, b"x"));
        assert_eq!(steps, [], "{topic}");
    }
}

#[test]
fn what_was_not_offered_ends_the_connection_with_the_reason() {
    use DisconnectReasonCode::{
        MalformedPacket, PacketTooLarge, ProtocolError, QoSNotSupported, ReceiveMaximumExceeded,
        TopicAliasInvalid,
    };
    let topic = topics::command(&device());
    let once = |bytes: &[u8]| Table::connected().ends(bytes);
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
    let Close(last) = Table::connected()
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
    let mut table = Table::connected();
    let state = topics::state(&device());
    let steps = table.take(&subscribe(&state));
    assert_eq!(granted(&steps), Success(QoS::AtMostOnce));
    assert_eq!(steps[1], SessionAction::ShowState);
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
        assert_eq!(granted(&table.take(&subscribe(filter))), code, "{filter}");
    }
    let receipts = |one: u8| topics::receipts(&device(), &Bytes([one; 32]));
    for one in 1..MAX_FILTERS as u8 {
        let steps = table.take(&subscribe(&receipts(one)));
        assert_eq!(granted(&steps), Success(QoS::AtMostOnce));
    }
    let steps = table.take(&subscribe(&receipts(99)));
    assert_eq!(granted(&steps), QuotaExceeded);
    // What is known already needs no more room.
    let steps = table.take(&subscribe(&receipts(1)));
    assert_eq!(granted(&steps), Success(QoS::AtMostOnce));
    let mut leave = Unsubscribe::new(receipts(1), None);
    leave.filters.push("x".into());
    leave.pkid = 3;
    let steps = table.take(&encoded(&Packet::Unsubscribe(leave)));
    let expected = Packet::UnsubAck(UnsubAck {
        pkid: 3,
        reasons: vec![
            UnsubAckReason::Success,
            UnsubAckReason::NoSubscriptionExisted,
        ],
        properties: None,
    });
    assert_eq!(steps, [SessionAction::Send(encoded(&expected))]);
}

#[test]
fn a_receipt_goes_to_whoever_has_brought_its_command_and_listens() {
    let holder = Bytes([5; 32]);
    let told = OutboundTopic::Receipts(holder);
    let command = command(1);
    let name = doorward_protocol::wire::hash(&command);
    let mut table = Table::connected();
    table.take(&subscribe(&topics::receipts(&device(), &holder)));
    assert_eq!(table.0.publish(&told, Some(&name), b"r", false), None);
    let bring = publish(&topics::command(&device()), QoS::AtMostOnce, 0, &command);
    table.take(&bring);
    let Some(Packet::Publish(receipt)) =
        sent(&table.0.publish(&told, Some(&name), b"r", false).unwrap())
    else {
        panic!("no receipt")
    };
    assert_eq!(receipt.payload, b"r"[..]);
    assert_eq!(receipt.qos, QoS::AtMostOnce);
    let other = Bytes([0; 32]);
    assert_eq!(table.0.publish(&told, Some(&other), b"r", false), None);
    let mut deaf = Table::connected();
    deaf.take(&bring);
    assert_eq!(deaf.0.publish(&told, Some(&name), b"r", false), None);
}

#[test]
fn a_client_is_sent_nothing_larger_than_it_takes() {
    let mut table = Table::new();
    table.take(&hello(|connect| {
        connect.properties = Some(ConnectProperties {
            max_packet_size: Some(100),
            ..ConnectProperties::new()
        });
    }));
    table.take(&subscribe(&topics::state(&device())));
    assert!(
        table
            .0
            .publish(&OutboundTopic::State, None, &[0; 50], true)
            .is_some()
    );
    assert_eq!(
        table
            .0
            .publish(&OutboundTopic::State, None, &[0; 100], true),
        None
    );
}

#[test]
fn of_many_commands_the_last_ones_are_remembered() {
    let mut table = Table::connected();
    let topic = topics::command(&device());
    let mut bring = |counter: u64| {
        let bundle = command(counter);
        table.take(&publish(&topic, QoS::AtMostOnce, 0, &bundle));
        (
            table.0.own_commands.len(),
            doorward_protocol::wire::hash(&bundle),
        )
    };
    assert_eq!(bring(1).0, 1);
    assert_eq!(bring(1).0, 1, "the same again");
    let most = MAX_OWN_COMMANDS as u64;
    for counter in 2..=most {
        bring(counter);
    }
    let (_, second) = bring(2);
    let (count, last) = bring(most + 1);
    assert_eq!(count, MAX_OWN_COMMANDS);
    assert_eq!(table.0.own_commands.front(), Some(&second));
    assert_eq!(table.0.own_commands.back(), Some(&last));
}
