//! The running daemon: its event loop, and the modules that carry out the effects of the
//! [`core`](crate::core).

mod commit_thread;
mod effects;
mod event_loop;
mod import_socket;
mod inbox;
mod links;
#[cfg_attr(not(feature = "local-listener"), path = "listener_disabled.rs")]
mod listener_link;
mod log_upload;
mod service_manager;
mod startup;
mod status_json;
mod status_socket;

pub use event_loop::run;
pub use import_socket::IMPORT_SOCKET;
pub use startup::StartError;
pub use status_socket::STATUS_SOCKET;
