//! E-mails: their texts, and the mail server.

pub mod smtp;
pub mod templates;
