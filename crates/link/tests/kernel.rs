//! What is read from and done to devices, filters and namespaces of a kernel.

mod common;
mod devices;
mod filters;
mod monitor;
mod netns;
mod offloads;
mod quiet;
