//! E-mails: their texts, and sending them.

pub mod smtp;
pub mod templates;
