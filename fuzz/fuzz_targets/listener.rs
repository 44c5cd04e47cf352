//! A client of the listener that sends arbitrary bytes in arbitrary pieces: nothing is delivered
//! before it has connected, no message exceeds its limit, and every answer is a packet.
#![no_main]

use bytes::BytesMut;
use doorward::link::listener::{Close, NO_ACK, Session, SessionAction};
use doorward_protocol::wire::{Id, MAX_BUNDLE};
use rumqttc::mqttbytes::v5::Packet;

/// Reads all packets of an answer.
fn packets(bytes: &[u8]) -> Vec<Packet> {
    // The only answer in the format of MQTT 3.1.1.
    if bytes == [0x20, 2, 0, 1] {
        return Vec::new();
    }
    let mut rest = BytesMut::from(bytes);
    let mut packets = Vec::new();
    while !rest.is_empty() {
        packets.push(Packet::read(&mut rest, None).expect("an answer is not a packet"));
    }
    packets
}

libfuzzer_sys::fuzz_target!(|pieces: Vec<Vec<u8>>| {
    let Ok(device) = Id::new("ups-7") else { return };
    let mut session = Session::new(device, 1);
    let mut received = BytesMut::new();
    let (mut connected, mut open) = (false, Vec::new());
    for piece in pieces {
        received.extend_from_slice(&piece);
        loop {
            let steps = match session.receive(&mut received) {
                Ok(Some(steps)) => steps,
                Ok(None) => break,
                Err(Close(last)) => {
                    packets(&last);
                    return;
                }
            };
            for step in steps {
                match step {
                    SessionAction::Send(bytes) => {
                        let sent = packets(&bytes);
                        connected |= sent.iter().any(|p| matches!(p, Packet::ConnAck(_)));
                    }
                    SessionAction::Deliver {
                        number, payload, ..
                    } => {
                        assert!(connected && payload.len() <= MAX_BUNDLE + 1024);
                        if number != NO_ACK {
                            open.push(number);
                        }
                    }
                    SessionAction::ShowState => assert!(connected),
                }
            }
            assert!(open.len() <= 16);
            // Messages are acknowledged immediately in about half of the cases.
            if received.len() % 2 == 0 {
                for number in open.drain(..) {
                    let ack = session.acknowledge(number).expect("no acknowledgement");
                    assert_eq!(packets(&ack).len(), 1);
                }
            }
        }
    }
});
