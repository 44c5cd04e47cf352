//! What carries the sharing side to brokers and people: statements out, devices' words in,
//! letters, and the HTTP API.

pub mod hear;
pub mod http;
pub mod letters;
pub mod limits;
pub mod mail;
pub mod post;
mod serve;
pub mod watch;

pub use serve::{Options, serve};
