//! Closing what came from a peer, on a thread of its own.
//!
//! A close can block for as long as whoever made the file likes: the flush of a FUSE file waits for its server, a TCP socket
//! lingers, and what lies unread in a socket is closed with it. Those who wait for one connection must be its own alone.

use std::thread;

use tokio::sync::oneshot;

/// Drops `what` elsewhere; the receiver resolves once that is done.
pub(crate) fn drop_aside(what: impl Send + 'static) -> oneshot::Receiver<()> {
    let (done, when_done) = oneshot::channel();
    let work = move || {
        drop(what);
        // Nobody waits for the last one of a connection.
        let _ = done.send(());
    };
    // Where the system has no thread left, the work is dropped here, which closes just the same.
    let _ = thread::Builder::new().name("closing".to_owned()).spawn(work);
    when_done
}
