//! A TCP relay on loopback between a device and its broker, which a test can delay or interrupt,
//! since not every kernel can simulate a bad network.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// State of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Forwards everything.
    Good,
    /// Forwards everything, with a delay.
    Slow,
    /// Drops everything; neither end is notified.
    Silent,
    /// Closes all connections and accepts no new ones.
    Pulled,
}

#[derive(Clone)]
struct State {
    mode: Arc<AtomicU8>,
    /// Incremented when all connections are to be closed.
    cuts: Arc<AtomicU64>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    to: u16,
}

pub struct Cable {
    pub port: u16,
    state: State,
}

impl Cable {
    /// Starts a relay to a port on loopback.
    pub fn new(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State {
            mode: Arc::new(AtomicU8::new(Mode::Good as u8)),
            cuts: Arc::default(),
            open: Arc::default(),
            to,
        };
        let relay = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                relay.take(stream.unwrap());
            }
        });
        Self { port, state }
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    pub fn set(&self, mode: Mode) {
        self.state.mode.store(mode as u8, Ordering::SeqCst);
        if mode == Mode::Pulled {
            self.cut();
        }
    }

    /// Closes all connections; new ones follow the current mode.
    pub fn cut(&self) {
        self.state.cuts.fetch_add(1, Ordering::SeqCst);
        for stream in self.state.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl State {
    fn is(&self, mode: Mode) -> bool {
        self.mode.load(Ordering::SeqCst) == mode as u8
    }

    fn take(&self, device: TcpStream) {
        if self.is(Mode::Pulled) {
            return;
        }
        let Ok(broker) = TcpStream::connect(("127.0.0.1", self.to)) else {
            return;
        };
        for stream in [&device, &broker] {
            stream.set_nodelay(true).unwrap();
            let kept = stream.try_clone().unwrap();
            self.open.lock().unwrap().push(kept);
        }
        let (device2, broker2) = (device.try_clone().unwrap(), broker.try_clone().unwrap());
        for (from, to) in [(device, broker2), (broker, device2)] {
            let state = self.clone();
            std::thread::spawn(move || state.carry(from, to));
        }
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let cuts = self.cuts.load(Ordering::SeqCst);
        let mut bytes = [0; 4096];
        while let Ok(length) = from.read(&mut bytes) {
            if length == 0 || self.cuts.load(Ordering::SeqCst) != cuts {
                break;
            }
            if self.is(Mode::Slow) {
                std::thread::sleep(Duration::from_millis(100));
            }
            // Bytes dropped in `Silent` are lost, and so is the connection, without either end
            // being notified.
            let mut lost = false;
            while self.is(Mode::Silent) || (lost && self.cuts.load(Ordering::SeqCst) == cuts) {
                lost = true;
                std::thread::sleep(Duration::from_millis(5));
            }
            if lost || to.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
