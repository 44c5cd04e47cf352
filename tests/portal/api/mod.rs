//! The HTTP API from outside: permissions of every role on every route, and a fuzzer.

mod matrix;
mod schemathesis;
mod server;
