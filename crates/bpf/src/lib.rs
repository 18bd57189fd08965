//! The BPF programs and their maps, typed: load, attach, pin, count, and run on a test packet
