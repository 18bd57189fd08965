//! The binding of the client package to Node
