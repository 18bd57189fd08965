//! The lab for tests and the demo: namespaces, a wire, a remote host, frames, generators and captures
