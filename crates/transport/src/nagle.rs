//! Whether a broker holds its answers back: Nagle's algorithm (RFC 896) keeps a small packet until
//! the one before was acknowledged, and a receiver lets 40 ms and more pass before it does that.
//! Each command then takes so much longer.

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

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Answers that are looked at, two at a time.
const ATTEMPTS: usize = 3;

/// How much later the second of two answers comes that the broker has at once, at least.
///
/// # Errors
/// If the broker cannot be reached, or does not let us in.
pub async fn acknowledgement_delay(broker: &Broker) -> std::io::Result<Duration> {
    timeout(PATIENCE, connect_and_measure(broker)).await?
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
    say(
        &mut stream,
        &[Packet::Connect(connect, None, options.auth().clone())],
    )
    .await?;
    match hear(&mut stream, &mut received).await? {
        Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => {}
        _ => return Err(invalid("the broker does not let us in")),
    }
    let mut least = Duration::MAX;
    for _ in 0..ATTEMPTS {
        // It answers each of both by itself (MQTT 5 section 3.12.4).
        say(&mut stream, &[Packet::PingReq, Packet::PingReq]).await?;
        hear(&mut stream, &mut received).await?;
        let watch = Stopwatch::start();
        hear(&mut stream, &mut received).await?;
        least = least.min(watch.elapsed());
    }
    let goodbye = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
    say(&mut stream, &[Packet::Disconnect(goodbye)]).await?;
    Ok(least)
}

/// Everything in one packet of the network's.
async fn say<S: AsyncWrite + Unpin>(stream: &mut S, packets: &[Packet]) -> std::io::Result<()> {
    let mut bytes = BytesMut::new();
    for packet in packets {
        packet
            .write(&mut bytes, None)
            .map_err(std::io::Error::other)?;
    }
    stream.write_all(&bytes).await?;
    stream.flush().await
}

async fn hear<S>(stream: &mut S, received: &mut BytesMut) -> std::io::Result<Packet>
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
