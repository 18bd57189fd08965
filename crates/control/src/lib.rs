//! The control protocol's transport: messages with descriptors beside them, over SOCK_SEQPACKET UNIX sockets.
//!
//! It carries messages and reads none. A message has 1 to [`MAX_MESSAGE`] bytes and at most [`MAX_DESCRIPTORS`]
//! descriptors; an empty one is the end. A client waits for a [`Seqpacket`] in its own event loop. The daemon's side,
//! with its limits, comes with the feature `server`.
#![deny(unsafe_code)]

#[cfg(feature = "server")]
mod arrived;
#[cfg(feature = "server")]
mod aside;
#[cfg(feature = "server")]
mod connection;
mod credentials;
#[cfg(feature = "server")]
mod limits;
#[cfg(feature = "server")]
mod listener;
mod message;
#[cfg(feature = "server")]
mod peer;
#[cfg(feature = "server")]
mod place;
mod seqpacket;
#[expect(unsafe_code, reason = "calls that rustix lacks, and the promise that tokio wants")]
mod sys;

#[cfg(feature = "server")]
pub use arrived::Arrived;
#[cfg(feature = "server")]
pub use connection::{Connection, Ended, Event, Handle};
pub use credentials::Credentials;
#[cfg(feature = "server")]
pub use limits::{Bounds, Limits, Party, Rates, Shared, Trust};
#[cfg(feature = "server")]
pub use listener::{ListenError, Listener, Reach, Words};
pub use message::{Arrival, MAX_DESCRIPTORS, MAX_MESSAGE};
pub use seqpacket::{ConnectError, InvalidMessage, MAX_PATH, Received, Seqpacket};
