//! One client of the listener, without I/O: bytes in, what is to be done out. It is an MQTT 5
//! server for that one client and for the topics of one device, and keeps nothing when the
//! client goes. Section numbers are those of MQTT 5.0.

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
/// Largest first packet, in bytes, from somebody of whom nothing is known.
const MAX_CONNECT: u32 = 4096;
/// Messages of a client that may wait for their acknowledgement.
pub(super) const RECEIVE_MAXIMUM: u16 = 16;
/// Topics that one client may listen to.
const MAX_FILTERS: usize = 16;
/// Commands of one client whose receipts it gets.
const MAX_OWN_COMMANDS: usize = 64;
/// Longest time between two packets of a client, in seconds.
const LONGEST_KEEP_ALIVE: u16 = 120;
/// What a client of MQTT 3.1.1 is answered, in its own words: unacceptable protocol version.
const CONNACK_OF_3_1_1: [u8; 4] = [0x20, 2, 0, 1];

/// The number of deliveries that are not acknowledged.
pub const NO_ACK: u64 = 0;

/// What is to be done for a client.
#[derive(Debug, PartialEq, Eq)]
pub enum SessionAction {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Hand this message to the agent. A packet asks for at most one.
    Deliver {
        /// Whether the client wanted it kept.
        retained: bool,
        /// For [`Session::acknowledge`], unless it is [`NOBODY_WAITS`].
        number: u64,
        /// The payload.
        payload: Vec<u8>,
    },
    /// Tell the client the current `state`.
    ShowState,
}

/// The connection is over, once these bytes are sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Close(pub Vec<u8>);

/// One client.
#[derive(Debug)]
pub struct Session {
    device: Id,
    connected: bool,
    keep_alive: u16,
    /// The largest packet that the client takes.
    largest: Option<u32>,
    told: BTreeSet<OutboundTopic>,
    next: u64,
    /// Packet identifiers by the number of their delivery.
    unacknowledged: BTreeMap<u64, u16>,
    own_commands: VecDeque<Hash>,
}

impl Session {
    /// A client of this device that has said nothing yet. Numbers of deliveries begin with
    /// `first`.
    #[must_use]
    pub fn new(device: Id, first: u64) -> Self {
        Self {
            device,
            connected: false,
            keep_alive: LONGEST_KEEP_ALIVE,
            largest: None,
            told: BTreeSet::new(),
            next: first,
            unacknowledged: BTreeMap::new(),
            own_commands: VecDeque::new(),
        }
    }

    /// The time between two packets after which the client is taken for gone (section
    /// 3.1.2.10), or nothing as long as it has not connected.
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        let patience = Duration::from_millis(u64::from(self.keep_alive) * 1500);
        self.connected.then_some(patience)
    }

    /// The last words when that time is over.
    pub(super) fn on_keep_alive_timeout(&self) -> Close {
        match self.connected {
            true => ended(DisconnectReasonCode::KeepAliveTimeout),
            false => Close(Vec::new()),
        }
    }

    /// Takes the next packet from what was received; nothing if it is not whole yet.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn receive(
        &mut self,
        received: &mut BytesMut,
    ) -> Result<Option<Vec<SessionAction>>, Close> {
        let most = if self.connected {
            MAX_PACKET
        } else {
            MAX_CONNECT
        };
        // Whoever does not begin with CONNECT speaks something else; its length means nothing.
        if !self.connected && received.first().is_some_and(|first| first >> 4 != 1) {
            return Err(Close(Vec::new()));
        }
        // Only here do too few bytes mean that more will come.
        if let Err(PacketError::InsufficientBytes(_)) = check(received.iter(), Some(most)) {
            return Ok(None);
        }
        match Packet::read(received, Some(most)) {
            Ok(packet) if self.connected => self.packet(packet).map(Some),
            Ok(Packet::Connect(connect, _, _)) => self.connect(&connect).map(Some),
            Ok(_) => Err(Close(Vec::new())),
            Err(error) => Err(self.last_words(&error)),
        }
    }

    /// What is sent to the client when a message that it has published is done with.
    pub fn acknowledge(&mut self, number: u64) -> Option<Vec<u8>> {
        let id = self.unacknowledged.remove(&number)?;
        Some(puback(id, PubAckReason::Success))
    }

    /// What is sent to the client of a message that was not heard (section 3.4.2.1).
    pub fn refuse(&mut self, number: u64) -> Option<Vec<u8>> {
        let id = self.unacknowledged.remove(&number)?;
        Some(puback(id, PubAckReason::QuotaExceeded))
    }

    /// What is sent to the client of something that the device publishes, if it is to be told.
    /// A receipt goes to whoever has brought the command over this connection.
    #[must_use]
    pub fn publish(
        &self,
        told: &OutboundTopic,
        command: Option<&Hash>,
        payload: &[u8],
        retain: bool,
    ) -> Option<Vec<u8>> {
        let is_theirs = command.is_none_or(|command| self.own_commands.contains(command));
        if !is_theirs || !self.told.contains(told) {
            return None;
        }
        let topic = told.topic(&self.device);
        let mut publish = Publish::new(topic, QoS::AtMostOnce, payload.to_vec(), None);
        publish.retain = retain;
        let mut bytes = BytesMut::new();
        // One that is larger than the client takes is not sent (section 3.1.2.11.4).
        let written = Packet::Publish(publish).write(&mut bytes, self.largest);
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
        self.largest = properties.and_then(|p| p.max_packet_size);
        let wanted = connect.keep_alive;
        if (1..=LONGEST_KEEP_ALIVE).contains(&wanted) {
            self.keep_alive = wanted;
        }
        let said = ConnAckProperties {
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
            server_keep_alive: (self.keep_alive != wanted).then_some(self.keep_alive),
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        };
        let answer = connack(ConnectReturnCode::Success, Some(said));
        Ok(vec![SessionAction::Send(answer)])
    }

    fn packet(&mut self, packet: Packet) -> Result<Vec<SessionAction>, Close> {
        match packet {
            Packet::Publish(publish) => self.published(publish),
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe),
            Packet::Unsubscribe(unsubscribe) => Ok(self.unsubscribe(&unsubscribe)),
            Packet::PingReq => Ok(vec![SessionAction::Send(encoded(&Packet::PingResp))]),
            Packet::Disconnect(_) => Err(Close(Vec::new())),
            // Nothing is sent that a client would answer with any of the others.
            _ => Err(ended(DisconnectReasonCode::ProtocolError)),
        }
    }

    fn published(&mut self, publish: Publish) -> Result<Vec<SessionAction>, Close> {
        let properties = publish.properties.as_ref();
        if properties.is_some_and(|p| p.topic_alias.is_some()) {
            return Err(ended(DisconnectReasonCode::TopicAliasInvalid));
        }
        if publish.qos == QoS::ExactlyOnce {
            return Err(ended(DisconnectReasonCode::QoSNotSupported));
        }
        let open = self.unacknowledged.len();
        if publish.qos == QoS::AtLeastOnce && open >= usize::from(RECEIVE_MAXIMUM) {
            return Err(ended(DisconnectReasonCode::ReceiveMaximumExceeded));
        }
        let topic = std::str::from_utf8(&publish.topic).unwrap_or_default();
        let Some(heard) = InboundTopic::on(topic, &self.device) else {
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
            // Statements are kept by the device, so there is nothing more to keep.
            retained: publish.retain && heard == InboundTopic::Command,
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
            return Err(ended(
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
        let mut steps = vec![SessionAction::Send(encoded(&answer))];
        if shows_state {
            steps.push(SessionAction::ShowState);
        }
        Ok(steps)
    }

    /// The answer to one filter, and whether the retained state is to be shown for it.
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
        let Some(told) = OutboundTopic::under(&filter.path, &self.device) else {
            return (SubscribeReasonCode::NotAuthorized, false);
        };
        let known = self.told.contains(&told);
        if !known && self.told.len() >= MAX_FILTERS {
            return (SubscribeReasonCode::QuotaExceeded, false);
        }
        self.told.insert(told);
        let shows = match filter.retain_forward_rule {
            RetainForwardRule::OnEverySubscribe => true,
            RetainForwardRule::OnNewSubscribe => !known,
            RetainForwardRule::Never => false,
        };
        // At most once: nothing outlives the connection, and that loses nothing by itself.
        let granted = SubscribeReasonCode::Success(QoS::AtMostOnce);
        (granted, shows && told == OutboundTopic::State)
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe) -> Vec<SessionAction> {
        let reasons = unsubscribe.filters.iter().map(|filter| {
            let told = OutboundTopic::under(filter, &self.device);
            if told.is_some_and(|told| self.told.remove(&told)) {
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

    /// The last words to somebody who does not speak MQTT 5 well. Who has not connected is
    /// told nothing, but for the version.
    fn last_words(&self, error: &PacketError) -> Close {
        match error {
            PacketError::InvalidProtocolLevel(3 | 4) => Close(CONNACK_OF_3_1_1.to_vec()),
            PacketError::InvalidProtocolLevel(_) => {
                Close(connack(ConnectReturnCode::UnsupportedProtocolVersion, None))
            }
            _ if !self.connected => Close(Vec::new()),
            PacketError::PayloadSizeLimitExceeded { .. } => {
                ended(DisconnectReasonCode::PacketTooLarge)
            }
            PacketError::ProtocolViolation(code) => ended(*code),
            PacketError::ProtocolError => ended(DisconnectReasonCode::ProtocolError),
            _ => ended(DisconnectReasonCode::MalformedPacket),
        }
    }
}

/// The last words of a device that stops.
#[must_use]
pub(super) fn goodbye() -> Close {
    ended(DisconnectReasonCode::ServerShuttingDown)
}

fn ended(reason: DisconnectReasonCode) -> Close {
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

/// A packet of our own as bytes. It is small, and so never too large to be written.
fn encoded(packet: &Packet) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    match packet.write(&mut bytes, None) {
        Ok(_) => bytes.to_vec(),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
