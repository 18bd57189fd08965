//! A socket on its way to another thread of the process.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use xsknet_path::{ChannelEnd, Parcel, Registry, channel};

/// A socket that says when it is closed.
struct Thing(Arc<Mutex<Vec<&'static str>>>);

impl Drop for Thing {
    fn drop(&mut self) {
        self.0.lock().unwrap().push("closed");
    }
}

fn is_readable(end: &ChannelEnd) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(end.as_fd(), PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
}

fn some(messages: &[&str]) -> Vec<Option<String>> {
    messages.iter().map(|message| Some((*message).to_owned())).collect()
}

#[test]
fn a_key_takes_its_socket_once() {
    let registry = Registry::new();
    let log = Arc::new(Mutex::new(Vec::new()));
    let (ours, theirs) = channel().unwrap();
    let key = registry.give(Parcel { socket: Thing(Arc::clone(&log)), channel: theirs }).unwrap();
    let (_, another) = channel().unwrap();
    let other = registry.give(Parcel { socket: Thing(Arc::clone(&log)), channel: another }).unwrap();
    assert_ne!(key, other);
    assert!(registry.take(&[0; 4]).is_none());
    let parcel = registry.take(&key).unwrap();
    assert!(registry.take(&key).is_none());
    assert!(log.lock().unwrap().is_empty());
    drop(parcel);
    assert_eq!((log.lock().unwrap().clone(), ours.take_messages()), (vec!["closed"], vec![None]));
}

#[test]
fn a_socket_that_nobody_takes_is_closed_before_its_giver_is_notified() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let registry = Registry::new();
    let (ours, theirs) = channel().unwrap();
    registry.give(Parcel { socket: Thing(Arc::clone(&log)), channel: theirs }).unwrap();
    let watched = Arc::clone(&log);
    let giver = thread::spawn(move || {
        poll(&mut [PollFd::from_borrowed_fd(ours.as_fd(), PollFlags::IN)], None).unwrap();
        (ours.take_messages(), watched.lock().unwrap().clone())
    });
    drop(registry);
    assert_eq!(giver.join().unwrap(), (vec![None], vec!["closed"]));
}

#[test]
fn messages_arrive_in_their_order_and_the_descriptor_is_readable_until_they_are_taken() {
    let (giver, taker) = channel().unwrap();
    assert!(!is_readable(&giver) && !is_readable(&taker));
    giver.post("one".to_owned());
    giver.post("two".to_owned());
    assert!(is_readable(&taker) && !is_readable(&giver));
    assert_eq!(taker.take_messages(), some(&["one", "two"]));
    assert!(!is_readable(&taker));
    assert_eq!(taker.take_messages(), []);
    taker.post("three".to_owned());
    drop(taker);
    assert_eq!(giver.take_messages(), [Some("three".to_owned()), None]);
    giver.post("nobody reads it".to_owned());
}

#[test]
fn a_closed_end_says_so_once_and_nothing_after_it() {
    let (mut giver, taker) = channel().unwrap();
    taker.post("too late".to_owned());
    giver.close();
    giver.close();
    giver.post("nothing".to_owned());
    assert_eq!((giver.take_messages(), taker.take_messages()), (vec![], vec![None]));
    assert!(is_readable(&giver), "its descriptor is open until it is dropped");
    drop(giver);
    assert_eq!(taker.take_messages(), []);
}
