//! AF_XDP sockets: UMEM, frames, rings, and the adoption of sockets that another process made
