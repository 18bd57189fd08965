//! The data path on rings on the heap: the test plays the kernel, and the other language that has the frames.

mod batches;
mod handing_over;
mod hostile;
mod kicks;
mod lease;
mod plain;
mod random;
mod sharing;
