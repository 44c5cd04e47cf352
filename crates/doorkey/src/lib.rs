//! doorkey: the command-line tool and the service for owners, installers and platforms.
//!
//! Imports go one way: [`domain`] (the rules of sharing, without I/O) <- [`ledger`] (the database)
//! and [`keys`] <- [`service`] (use cases) <- [`http`], [`email`] and [`broker`] <- [`cli`].

pub mod broker;
pub mod cli;
pub mod domain;
pub mod email;
mod error;
pub mod http;
pub mod keys;
pub mod ledger;
pub mod serve;
pub mod service;

pub use error::{IssuerError, PerAudience};
