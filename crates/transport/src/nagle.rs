//! Detection of delayed responses of a broker. Nagle's algorithm (RFC 896) holds a small packet
//! until the previous one was acknowledged, and a receiver delays its acknowledgement by 40 ms or
//! more. Each command then takes that much longer.

use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::v5::{
    Connect, ConnectReturnCode, Disconnect, DisconnectReasonCode, Packet,
};
use rumqttc::{MqttOptions, NetworkOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::broker::Broker;
use crate::clock::Stopwatch;
use crate::files::invalid;
use crate::tls;
use crate::tls::TrustedTime;

/// Timeout of the whole measurement.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Number of measurements.
const ATTEMPTS: usize = 3;

/// Measures the delay between two responses that the broker can send at the same time. Returns the
/// shortest delay of several attempts.
///
/// # Errors
/// If the broker cannot be reached or refuses the connection.
pub async fn acknowledgement_delay(broker: &Broker) -> std::io::Result<Duration> {
    timeout(TIMEOUT, connect_and_measure(broker)).await?
}

async fn connect_and_measure(broker: &Broker) -> std::io::Result<Duration> {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    let address = format!("{}:{}", broker.url.host, broker.url.port);
    if broker.url.tls {
        let (host, time) = (&broker.url.host, TrustedTime::default());
        let stream = tls::connect(address, network, host, &broker.tls, &time).await?;
        measure(broker, stream).await
    } else {
        let stream = rumqttc::default_socket_connect(address, network).await?;
        measure(broker, stream).await
    }
}

async fn measure<S>(broker: &Broker, mut stream: S) -> std::io::Result<Duration>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let random = getrandom::u64().map_err(std::io::Error::from)?;
    let client_id = format!("doorward-doctor-{random:016x}");
    let mut options = MqttOptions::new(client_id.clone(), ("", 0));
    broker.log_in(&mut options).map_err(std::io::Error::other)?;
    let connect = Connect {
        keep_alive: 60,
        client_id,
        clean_start: true,
        properties: None,
    };
    let mut received = BytesMut::new();
    send(
        &mut stream,
        &[Packet::Connect(connect, None, options.auth().clone())],
    )
    .await?;
    match receive(&mut stream, &mut received).await? {
        Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => {}
        _ => return Err(invalid("the broker refused the connection")),
    }
    let mut shortest = Duration::MAX;
    for _ in 0..ATTEMPTS {
        // Each of the two has a response of its own (MQTT 5 section 3.12.4).
        send(&mut stream, &[Packet::PingReq, Packet::PingReq]).await?;
        receive(&mut stream, &mut received).await?;
        let watch = Stopwatch::start();
        receive(&mut stream, &mut received).await?;
        shortest = shortest.min(watch.elapsed());
    }
    let disconnect = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
    send(&mut stream, &[Packet::Disconnect(disconnect)]).await?;
    Ok(shortest)
}

/// Sends MQTT packets in one TCP segment.
async fn send<S: AsyncWrite + Unpin>(stream: &mut S, packets: &[Packet]) -> std::io::Result<()> {
    let mut bytes = BytesMut::new();
    for packet in packets {
        packet
            .write(&mut bytes, None)
            .map_err(std::io::Error::other)?;
    }
    stream.write_all(&bytes).await?;
    stream.flush().await
}

async fn receive<S>(stream: &mut S, received: &mut BytesMut) -> std::io::Result<Packet>
where
    S: AsyncRead + Unpin,
{
    loop {
        match Packet::read(received, Some(1024)) {
            Ok(packet) => return Ok(packet),
            Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
            Err(error) => return Err(std::io::Error::other(error)),
        }
        if stream.read_buf(received).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
