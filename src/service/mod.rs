//! What carries the sharing side to brokers and people: statements out, devices' words in.

pub mod hear;
pub mod post;
