//! Classifies what arrived from the results of one `recvmsg` alone.

/// The longest message, in bytes.
pub const MAX_MESSAGE: usize = 65_536;
/// The most descriptors beside one message.
pub const MAX_DESCRIPTORS: usize = 40;

/// The result of `recvmsg(2)` for one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Its real length, also where the buffer was shorter (`MSG_TRUNC` was asked for).
    pub length: usize,
    /// The buffer was shorter (`MSG_TRUNC`).
    pub cut: bool,
    /// How many descriptors were installed in this process.
    pub descriptors: usize,
    /// Others came that were not (`MSG_CTRUNC`).
    pub descriptors_lost: bool,
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A message; it is whole in the buffer.
    Message {
        /// Bytes in the buffer, 1 to [`MAX_MESSAGE`].
        length: usize,
    },
    /// It was longer than [`MAX_MESSAGE`], or than the buffer. What the buffer holds is not a whole message.
    Oversized {
        /// Its real length.
        length: usize,
    },
    /// A message that is whole in the buffer, with more than [`MAX_DESCRIPTORS`] beside it.
    TooManyDescriptors {
        /// Bytes in the buffer.
        length: usize,
    },
    /// A message that is whole in the buffer, but this process could not take all descriptors that came with it: it has
    /// as many open as it may (`RLIMIT_NOFILE`), or a security module refused them.
    DescriptorsLost {
        /// Bytes in the buffer.
        length: usize,
    },
    /// An empty message, or the peer has closed its side: nothing more comes.
    End,
}

impl Arrival {
    /// Its bytes, as the peer sent it.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::End => 0,
            Self::Message { length }
            | Self::Oversized { length }
            | Self::TooManyDescriptors { length }
            | Self::DescriptorsLost { length } => length,
        }
    }
}

impl Packet {
    /// Decides what the packet is. The worst comes first: what is not a message is not searched for descriptors.
    #[must_use]
    pub const fn arrival(self) -> Arrival {
        let Self { length, cut, descriptors, descriptors_lost } = self;
        if cut || length > MAX_MESSAGE {
            Arrival::Oversized { length }
        } else if length == 0 {
            Arrival::End
        } else if descriptors > MAX_DESCRIPTORS {
            Arrival::TooManyDescriptors { length }
        } else if descriptors_lost {
            Arrival::DescriptorsLost { length }
        } else {
            Arrival::Message { length }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(length: usize, descriptors: usize) -> Packet {
        Packet { length, cut: false, descriptors, descriptors_lost: false }
    }

    #[test]
    fn each_bound_lies_where_it_is_said_to() {
        assert_eq!(whole(0, 0).arrival(), Arrival::End);
        assert_eq!(whole(0, 3).arrival(), Arrival::End);
        assert_eq!(whole(1, 0).arrival(), Arrival::Message { length: 1 });
        assert_eq!(whole(65_536, MAX_DESCRIPTORS).arrival(), Arrival::Message { length: 65_536 });
        assert_eq!(whole(65_537, 0).arrival(), Arrival::Oversized { length: 65_537 });
        assert_eq!(whole(1, MAX_DESCRIPTORS + 1).arrival(), Arrival::TooManyDescriptors { length: 1 });
        assert_eq!(Packet { descriptors_lost: true, ..whole(9, 2) }.arrival(), Arrival::DescriptorsLost { length: 9 });
        assert_eq!(Packet { cut: true, ..whole(9, 0) }.arrival(), Arrival::Oversized { length: 9 });
    }

    proptest! {
        #[test]
        fn only_a_whole_packet_within_both_bounds_is_a_message(
            length in 0..70_000_usize, cut: bool, descriptors in 0..300_usize, descriptors_lost: bool,
        ) {
            let arrival = Packet { length, cut, descriptors, descriptors_lost }.arrival();
            let sound = !cut && (1..=65_536).contains(&length) && descriptors <= MAX_DESCRIPTORS && !descriptors_lost;
            prop_assert_eq!(matches!(arrival, Arrival::Message { .. }), sound);
            match arrival {
                Arrival::End => prop_assert_eq!(length, 0),
                Arrival::Oversized { length: told } => prop_assert_eq!(told, length),
                Arrival::Message { length: told }
                | Arrival::TooManyDescriptors { length: told }
                | Arrival::DescriptorsLost { length: told } => {
                    prop_assert!(told == length && told <= MAX_MESSAGE && !cut, "bytes in the buffer are claimed");
                }
            }
        }
    }
}
