//! The session of one client of the listener, without I/O: bytes go in, actions come out. It is an
//! MQTT 5 server for that client and for the topics of one device, and keeps nothing after the
//! client disconnects. Section numbers are those of MQTT 5.0.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::Error as PacketError;
use rumqttc::mqttbytes::v5::{
    ConnAck, ConnAckProperties, Connect, ConnectReturnCode, Disconnect, DisconnectReasonCode,
    Packet, PubAck, PubAckReason, Publish, RetainForwardRule, SubAck, Subscribe, SubscribeFilter,
    SubscribeReasonCode, UnsubAck, UnsubAckReason, Unsubscribe,
};
use rumqttc::mqttbytes::{QoS, check, has_wildcards};

use doorward_protocol::wire::topics::{InboundTopic, OutboundTopic};
use doorward_protocol::wire::{Bundle, Hash, Id, MAX_BUNDLE};

/// Largest packet of a client, in bytes.
const MAX_PACKET: u32 = MAX_BUNDLE as u32 + 1024;
/// Largest first packet, in bytes, of a client that has not connected yet.
const MAX_CONNECT: u32 = 4096;
/// Messages of a client that can wait for their acknowledgement.
pub(super) const RECEIVE_MAXIMUM: u16 = 16;
/// Topics to which one client may subscribe.
const MAX_FILTERS: usize = 16;
/// Last commands of one client whose receipts it receives.
const MAX_OWN_COMMANDS: usize = 64;
/// Longest keep-alive interval of a client, in seconds.
const LONGEST_KEEP_ALIVE: u16 = 120;
/// CONNACK for a client of MQTT 3.1.1, in that version: unacceptable protocol version.
const CONNACK_OF_3_1_1: [u8; 4] = [0x20, 2, 0, 1];

/// The number of a message that is not acknowledged.
pub const NO_ACK: u64 = 0;

/// An action for a client.
#[derive(Debug, PartialEq, Eq)]
pub enum SessionAction {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Pass this message to the daemon. A packet causes at most one.
    Deliver {
        /// Whether the client set the retain flag.
        retained: bool,
        /// For [`Session::acknowledge`], unless it is [`NO_ACK`].
        number: u64,
        /// The payload.
        payload: Vec<u8>,
    },
    /// Send the current `state` to the client.
    ShowState,
}

/// The connection is to be closed after sending these bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Close(pub Vec<u8>);

/// The session of one client.
#[derive(Debug)]
pub struct Session {
    device: Id,
    connected: bool,
    keep_alive: u16,
    /// The largest packet that the client accepts, in bytes.
    max_packet: Option<u32>,
    subscriptions: BTreeSet<OutboundTopic>,
    next: u64,
    /// Packet identifiers by message number.
    unacknowledged: BTreeMap<u64, u16>,
    own_commands: VecDeque<Hash>,
}

impl Session {
    /// The session of a client that has sent nothing yet. Message numbers start with `first`.
    #[must_use]
    pub fn new(device: Id, first: u64) -> Self {
        Self {
            device,
            connected: false,
            keep_alive: LONGEST_KEEP_ALIVE,
            max_packet: None,
            subscriptions: BTreeSet::new(),
            next: first,
            unacknowledged: BTreeMap::new(),
            own_commands: VecDeque::new(),
        }
    }

    /// The time without a packet after which the connection is closed (section 3.1.2.10); `None`
    /// before the client has connected.
    #[must_use]
    pub fn time_limit(&self) -> Option<Duration> {
        let time_limit = Duration::from_millis(u64::from(self.keep_alive) * 1500);
        self.connected.then_some(time_limit)
    }

    /// The last packet after that time.
    pub(super) fn on_keep_alive_timeout(&self) -> Close {
        match self.connected {
            true => disconnect(DisconnectReasonCode::KeepAliveTimeout),
            false => Close(Vec::new()),
        }
    }

    /// Handles the next packet in `received`; `None` if it is not complete yet.
    ///
    /// # Errors
    /// If the connection is to be closed.
    pub fn receive(
        &mut self,
        received: &mut BytesMut,
    ) -> Result<Option<Vec<SessionAction>>, Close> {
        let max_size = if self.connected {
            MAX_PACKET
        } else {
            MAX_CONNECT
        };
        // A client that does not start with CONNECT uses another protocol, in which the length has
        // another meaning.
        if !self.connected && received.first().is_some_and(|first| first >> 4 != 1) {
            return Err(Close(Vec::new()));
        }
        // Only here do too few bytes mean that the packet is not complete yet.
        if let Err(PacketError::InsufficientBytes(_)) = check(received.iter(), Some(max_size)) {
            return Ok(None);
        }
        match Packet::read(received, Some(max_size)) {
            Ok(packet) if self.connected => self.packet(packet).map(Some),
            Ok(Packet::Connect(connect, _, _)) => self.connect(&connect).map(Some),
            Ok(_) => Err(Close(Vec::new())),
            Err(error) => Err(self.close_after(&error)),
        }
    }

    /// The PUBACK for a message of the client that was handled.
    pub fn acknowledge(&mut self, number: u64) -> Option<Vec<u8>> {
        let id = self.unacknowledged.remove(&number)?;
        Some(puback(id, PubAckReason::Success))
    }

    /// The PUBACK for a message of the client that was rejected (section 3.4.2.1).
    pub fn refuse(&mut self, number: u64) -> Option<Vec<u8>> {
        let id = self.unacknowledged.remove(&number)?;
        Some(puback(id, PubAckReason::QuotaExceeded))
    }

    /// The PUBLISH packet for a message of the device, if the client has subscribed to its topic. A
    /// receipt is sent only to the client that sent the command over this connection.
    #[must_use]
    pub fn publish(
        &self,
        topic: &OutboundTopic,
        command: Option<&Hash>,
        payload: &[u8],
        retain: bool,
    ) -> Option<Vec<u8>> {
        let is_own = command.is_none_or(|command| self.own_commands.contains(command));
        if !is_own || !self.subscriptions.contains(topic) {
            return None;
        }
        let topic = topic.topic(&self.device);
        let mut publish = Publish::new(topic, QoS::AtMostOnce, payload.to_vec(), None);
        publish.retain = retain;
        let mut bytes = BytesMut::new();
        // A packet above the client's maximum size is not sent (section 3.1.2.11.4).
        let written = Packet::Publish(publish).write(&mut bytes, self.max_packet);
        written.is_ok().then(|| bytes.to_vec())
    }

    fn connect(&mut self, connect: &Connect) -> Result<Vec<SessionAction>, Close> {
        let properties = connect.properties.as_ref();
        if properties.is_some_and(|p| p.authentication_method.is_some()) {
            return Err(Close(connack(
                ConnectReturnCode::BadAuthenticationMethod,
                None,
            )));
        }
        self.connected = true;
        self.max_packet = properties.and_then(|p| p.max_packet_size);
        let requested = connect.keep_alive;
        if (1..=LONGEST_KEEP_ALIVE).contains(&requested) {
            self.keep_alive = requested;
        }
        let properties = ConnAckProperties {
            session_expiry_interval: Some(0),
            receive_max: Some(RECEIVE_MAXIMUM),
            max_qos: Some(1),
            retain_available: None,
            max_packet_size: Some(MAX_PACKET),
            assigned_client_identifier: connect
                .client_id
                .is_empty()
                .then(|| format!("client-{}", self.next)),
            topic_alias_max: None,
            reason_string: None,
            user_properties: Vec::new(),
            wildcard_subscription_available: Some(0),
            subscription_identifiers_available: Some(0),
            shared_subscription_available: Some(0),
            server_keep_alive: (self.keep_alive != requested).then_some(self.keep_alive),
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        };
        let answer = connack(ConnectReturnCode::Success, Some(properties));
        Ok(vec![SessionAction::Send(answer)])
    }

    fn packet(&mut self, packet: Packet) -> Result<Vec<SessionAction>, Close> {
        match packet {
            Packet::Publish(publish) => self.published(publish),
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe),
            Packet::Unsubscribe(unsubscribe) => Ok(self.unsubscribe(&unsubscribe)),
            Packet::PingReq => Ok(vec![SessionAction::Send(encoded(&Packet::PingResp))]),
            Packet::Disconnect(_) => Err(Close(Vec::new())),
            // The listener sends no packet to which these would be the answer.
            _ => Err(disconnect(DisconnectReasonCode::ProtocolError)),
        }
    }

    fn published(&mut self, publish: Publish) -> Result<Vec<SessionAction>, Close> {
        let properties = publish.properties.as_ref();
        if properties.is_some_and(|p| p.topic_alias.is_some()) {
            return Err(disconnect(DisconnectReasonCode::TopicAliasInvalid));
        }
        if publish.qos == QoS::ExactlyOnce {
            return Err(disconnect(DisconnectReasonCode::QoSNotSupported));
        }
        let open = self.unacknowledged.len();
        if publish.qos == QoS::AtLeastOnce && open >= usize::from(RECEIVE_MAXIMUM) {
            return Err(disconnect(DisconnectReasonCode::ReceiveMaximumExceeded));
        }
        let topic = std::str::from_utf8(&publish.topic).unwrap_or_default();
        let Some(inbound) = InboundTopic::on(topic, &self.device) else {
            return match publish.qos {
                QoS::AtMostOnce => Ok(Vec::new()),
                _ => Ok(vec![SessionAction::Send(puback(
                    publish.pkid,
                    PubAckReason::NotAuthorized,
                ))]),
            };
        };
        let mut number = NO_ACK;
        if publish.qos == QoS::AtLeastOnce {
            number = self.next;
            self.next += 1;
            self.unacknowledged.insert(number, publish.pkid);
        }
        self.remember_command(&publish.payload);
        Ok(vec![SessionAction::Deliver {
            // The device stores statements itself, so the flag has no meaning for them.
            retained: publish.retain && inbound == InboundTopic::Command,
            number,
            payload: publish.payload.to_vec(),
        }])
    }

    fn remember_command(&mut self, payload: &[u8]) {
        let bundle = Bundle::parse(payload).unwrap_or_default();
        let Some(command) = bundle.command.map(|command| command.hash()) else {
            return;
        };
        if !self.own_commands.contains(&command) {
            self.own_commands.push_back(command);
        }
        if self.own_commands.len() > MAX_OWN_COMMANDS {
            self.own_commands.pop_front();
        }
    }

    fn subscribe(&mut self, subscribe: &Subscribe) -> Result<Vec<SessionAction>, Close> {
        if subscribe
            .properties
            .as_ref()
            .is_some_and(|p| p.id.is_some())
        {
            return Err(disconnect(
                DisconnectReasonCode::SubscriptionIdentifiersNotSupported,
            ));
        }
        let mut shows_state = false;
        let mut codes = Vec::new();
        for filter in &subscribe.filters {
            let (code, shows) = self.subscribe_to(filter);
            codes.push(code);
            shows_state |= shows;
        }
        let answer = Packet::SubAck(SubAck {
            pkid: subscribe.pkid,
            return_codes: codes,
            properties: None,
        });
        let mut actions = vec![SessionAction::Send(encoded(&answer))];
        if shows_state {
            actions.push(SessionAction::ShowState);
        }
        Ok(actions)
    }

    /// The answer to one filter, and whether the retained `state` is to be sent for it.
    fn subscribe_to(&mut self, filter: &SubscribeFilter) -> (SubscribeReasonCode, bool) {
        if filter.path.starts_with("$share/") {
            return (SubscribeReasonCode::SharedSubscriptionsNotSupported, false);
        }
        if has_wildcards(&filter.path) {
            return (
                SubscribeReasonCode::WildcardSubscriptionsNotSupported,
                false,
            );
        }
        let Some(topic) = OutboundTopic::under(&filter.path, &self.device) else {
            return (SubscribeReasonCode::NotAuthorized, false);
        };
        let is_renewal = self.subscriptions.contains(&topic);
        if !is_renewal && self.subscriptions.len() >= MAX_FILTERS {
            return (SubscribeReasonCode::QuotaExceeded, false);
        }
        self.subscriptions.insert(topic);
        let shows = match filter.retain_forward_rule {
            RetainForwardRule::OnEverySubscribe => true,
            RetainForwardRule::OnNewSubscribe => !is_renewal,
            RetainForwardRule::Never => false,
        };
        // QoS 0: no session outlives the connection, and a connection loses no messages by itself.
        let granted = SubscribeReasonCode::Success(QoS::AtMostOnce);
        (granted, shows && topic == OutboundTopic::State)
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe) -> Vec<SessionAction> {
        let reasons = unsubscribe.filters.iter().map(|filter| {
            let topic = OutboundTopic::under(filter, &self.device);
            if topic.is_some_and(|topic| self.subscriptions.remove(&topic)) {
                UnsubAckReason::Success
            } else {
                UnsubAckReason::NoSubscriptionExisted
            }
        });
        let answer = Packet::UnsubAck(UnsubAck {
            pkid: unsubscribe.pkid,
            reasons: reasons.collect(),
            properties: None,
        });
        vec![SessionAction::Send(encoded(&answer))]
    }

    /// The last packet after a protocol error. Before the client has connected nothing is sent,
    /// except for an unsupported version.
    fn close_after(&self, error: &PacketError) -> Close {
        match error {
            PacketError::InvalidProtocolLevel(3 | 4) => Close(CONNACK_OF_3_1_1.to_vec()),
            PacketError::InvalidProtocolLevel(_) => {
                Close(connack(ConnectReturnCode::UnsupportedProtocolVersion, None))
            }
            _ if !self.connected => Close(Vec::new()),
            PacketError::PayloadSizeLimitExceeded { .. } => {
                disconnect(DisconnectReasonCode::PacketTooLarge)
            }
            PacketError::ProtocolViolation(code) => disconnect(*code),
            PacketError::ProtocolError => disconnect(DisconnectReasonCode::ProtocolError),
            _ => disconnect(DisconnectReasonCode::MalformedPacket),
        }
    }
}

/// The last packet of a device that stops.
#[must_use]
pub(super) fn shutting_down() -> Close {
    disconnect(DisconnectReasonCode::ServerShuttingDown)
}

fn disconnect(reason: DisconnectReasonCode) -> Close {
    Close(encoded(&Packet::Disconnect(Disconnect::new(reason))))
}

fn puback(pkid: u16, reason: PubAckReason) -> Vec<u8> {
    let mut ack = PubAck::new(pkid, None);
    ack.reason = reason;
    encoded(&Packet::PubAck(ack))
}

fn connack(code: ConnectReturnCode, properties: Option<ConnAckProperties>) -> Vec<u8> {
    encoded(&Packet::ConnAck(ConnAck {
        session_present: false,
        code,
        properties,
    }))
}

/// Encodes a packet of the listener, which is small and thus never exceeds the size limit.
fn encoded(packet: &Packet) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    match packet.write(&mut bytes, None) {
        Ok(_) => bytes.to_vec(),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
