//! Uplinks and ports: composes sockets, programs and devices, keeps the journal, and undoes what it did
