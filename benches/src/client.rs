//! An MQTT client for measurements: rumqttc with its defaults, without Nagle's algorithm.

use doorward_protocol::wire::MAX_BUNDLE;
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet, PublishOptions, QoS,
    SubscribeFilterInput,
};

/// Messages that can wait to be sent.
const WAITING: usize = 1 << 15;

/// A connection whose events are polled by its user.
pub struct Client {
    pub client: AsyncClient,
    eventloop: EventLoop,
}

impl Client {
    /// Connects and subscribes; returns when the broker has granted the subscriptions.
    pub async fn connect(port: u16, name: &str, filters: &[String]) -> Self {
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        let mut options = MqttOptions::new(name, ("127.0.0.1", port));
        options
            .set_network_options(network)
            .set_keep_alive(600)
            .set_clean_start(true)
            .set_receive_maximum(Some(1000))
            .set_max_packet_size(Some(MAX_BUNDLE as u32 + 1024))
            .set_outgoing_inflight_upper_limit(1000);
        let (client, eventloop) = AsyncClient::builder(options).capacity(WAITING).build();
        let mut connected = Self { client, eventloop };
        loop {
            match connected.eventloop.poll().await.unwrap() {
                Event::Incoming(Packet::ConnAck(_)) if filters.is_empty() => return connected,
                Event::Incoming(Packet::ConnAck(_)) => {
                    let filters = filters
                        .iter()
                        .map(|path| SubscribeFilterInput::new(path.clone(), QoS::AtLeastOnce));
                    connected.client.try_subscribe_many(filters).unwrap();
                }
                Event::Incoming(Packet::SubAck(_)) => return connected,
                _ => {}
            }
        }
    }

    pub fn publish(&self, topic: &str, payload: Vec<u8>, retain: bool) {
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(retain);
        self.client.try_publish(topic, payload, options).unwrap();
    }

    /// Waits for the next message; returns its topic and payload.
    pub async fn next(&mut self) -> (String, Vec<u8>) {
        loop {
            if let Event::Incoming(Packet::Publish(publish)) = self.eventloop.poll().await.unwrap()
            {
                let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                return (topic, publish.payload.to_vec());
            }
        }
    }

    /// Waits until the broker has acknowledged `count` messages.
    pub async fn taken(&mut self, mut count: usize) {
        while count > 0 {
            if let Event::Incoming(Packet::PubAck(_)) = self.eventloop.poll().await.unwrap() {
                count -= 1;
            }
        }
    }
}
