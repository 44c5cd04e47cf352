//! The HTTP API from outside: who may do what on every route, and what a fuzzer makes of it.

mod matrix;
mod schemathesis;
mod server;
