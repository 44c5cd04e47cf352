//! The machine: upsd, D-Bus, firmware, service managers.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "this is a test"
)]

mod dbus;
mod doctor;
mod firmware;
mod init_scripts;
mod nut;
mod system_bus;
mod systemd;
mod thin_edge;
