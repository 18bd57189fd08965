//! Tests of several files together, on rings in plain memory.

mod lending;
mod ownership;
