//! The data path on rings on the heap: the test plays the kernel, and the other language that has the frames.
#![allow(clippy::duplicate_mod, reason = "the same tests, on each kind of rings")]

mod bpf;
mod handing_over;
mod socket;
