//! One netlink socket: a request out, its answers in.

use std::io;
use std::sync::{Mutex, PoisonError};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
    NlasIterator,
};
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;

/// Length of `struct nlmsghdr`.
const HEADER_LEN: usize = 16;
const NLMSGERR_ATTR_MSG: u16 = 1;
const KERNEL: u32 = 0;
/// Room for a datagram. The kernel makes those of a dump as long as it has seen a reader ask for, up to 32 KiB
/// (netlink_recvmsg() in net/netlink/af_netlink.c); one that is looked at first, for its length, is of one device.
const RECEIVE_BYTES: usize = 64 << 10;
/// A dump that a change interrupts is begun anew, so often at most.
const DUMP_ATTEMPTS: usize = 16;

/// A blocking netlink socket in the namespace of the thread that opened it.
pub(crate) struct Netlink(Mutex<Connection>);

struct Connection {
    socket: Socket,
    sequence: u32,
    /// Of the last datagram.
    received: Vec<u8>,
}

/// One message of an answer. The payload is left to the caller, who reads the attributes wanted: typed parsers of whole
/// messages fail on one attribute that they find odd, and with it on a dump of all devices of the host.
pub(crate) struct Answer {
    pub payload: Vec<u8>,
}

/// What the kernel answered instead of an ack.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub cause: io::Error,
    /// The extended ack's text.
    pub said: Option<String>,
}

impl Refusal {
    pub fn errno(&self) -> Option<Errno> {
        Errno::from_io_error(&self.cause)
    }
}

impl From<io::Error> for Refusal {
    fn from(cause: io::Error) -> Self {
        Self { cause, said: None }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

impl Netlink {
    pub fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(KERNEL, 0))?;
        socket.set_ext_ack(true)?;
        // Acks then carry the request's header alone, so the kernel's text is found behind a fixed length.
        socket.set_cap_ack(true)?;
        // Lets dumps be filtered by device in the kernel.
        socket.set_netlink_get_strict_chk(true)?;
        Ok(Self(Mutex::new(Connection { socket, sequence: 0, received: Vec::with_capacity(RECEIVE_BYTES) })))
    }

    /// Sends a request and returns what came before the ack: nothing for a change, one message for a look-up.
    pub fn request(&self, message: impl NetlinkSerializable, flags: u16) -> Result<Vec<Answer>, Refusal> {
        self.lock().exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags).map(|(answers, _)| answers)
    }

    /// Sends a request and returns every message of the dump.
    pub fn dump<M: NetlinkSerializable + Clone>(&self, message: M) -> Result<Vec<Answer>, Refusal> {
        let mut connection = self.lock();
        for _ in 0..DUMP_ATTEMPTS {
            let (answers, interrupted) = connection.exchange(message.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            if !interrupted {
                return Ok(answers);
            }
        }
        Err(Errno::AGAIN.into())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Connection> {
        // Answers to a request whose thread panicked are recognised by their sequence number.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn exchange(&mut self, message: impl NetlinkSerializable, flags: u16) -> Result<(Vec<Answer>, bool), Refusal> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answers = Vec::new();
        let mut interrupted = false;
        loop {
            self.received.clear();
            let (length, sender) = match self.socket.recv_from(&mut self.received, libc::MSG_TRUNC) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                received => received?,
            };
            // Any process may send to a netlink socket whose port it knows.
            if sender.port_number() != KERNEL {
                continue;
            }
            // What is missing was its end.
            let mut rest = self.received.get(..length).ok_or(Errno::MSGSIZE)?;
            while !rest.is_empty() {
                let message = NetlinkBuffer::new_checked(rest).map_err(|_| malformed())?;
                let length = message.length() as usize;
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                if message.sequence_number() != self.sequence {
                    continue;
                }
                interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
                match message.message_type() {
                    NLMSG_NOOP => {}
                    NLMSG_OVERRUN => return Err(Errno::NOBUFS.into()),
                    NLMSG_ERROR | NLMSG_DONE => return ending(&message).map(|()| (answers, interrupted)),
                    _ => answers.push(Answer { payload: message.payload().to_vec() }),
                }
            }
        }
    }
}

/// Reads the ack, the refusal, or the end of a dump (which may be a refusal too).
fn ending(message: &NetlinkBuffer<&[u8]>) -> Result<(), Refusal> {
    let payload = message.payload();
    let Some((code, behind)) = payload.split_first_chunk() else {
        // Old kernels end a dump with an empty message.
        return if message.message_type() == NLMSG_DONE { Ok(()) } else { Err(malformed()) };
    };
    let code = i32::from_ne_bytes(*code);
    if code >= 0 {
        return Ok(());
    }
    let texts = match message.message_type() {
        NLMSG_ERROR if message.flags() & NLM_F_CAPPED != 0 => behind.get(HEADER_LEN..),
        NLMSG_DONE => Some(behind),
        _ => None,
    };
    let said = texts.filter(|_| message.flags() & NLM_F_ACK_TLVS != 0).and_then(|texts| {
        let text = attributes(texts).find(|&(kind, _)| kind == NLMSGERR_ATTR_MSG)?.1;
        Some(text_of(text)?.to_owned())
    });
    Err(Refusal { cause: io::Error::from_raw_os_error(code.saturating_neg()), said })
}

fn malformed() -> Refusal {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's netlink answer is cut short").into()
}

/// The attributes in `bytes`, by number; ends at one that is cut short.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).map(|attribute| {
        let length = attribute.value_length();
        (attribute.kind(), &attribute.into_inner()[4..4 + length])
    })
}

/// The text of an attribute without its NUL; `None` if it is not UTF-8.
pub(crate) fn text_of(value: &[u8]) -> Option<&str> {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    str::from_utf8(&value[..end]).ok()
}

/// The number in an attribute of exactly four bytes.
pub(crate) fn u32_of(value: &[u8]) -> Option<u32> {
    value.try_into().map(u32::from_ne_bytes).ok()
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_packet_route::link::LinkMessage;
    use netlink_sys::protocols::NETLINK_ROUTE;

    use super::*;

    #[test]
    fn attributes_end_where_one_is_cut_short() {
        let bytes = [8, 0, 1, 0x80, 1, 2, 3, 4, 5, 0, 2, 0, 7, 0, 0, 0, 9, 0, 3, 0, 1];
        let read: Vec<_> = attributes(&bytes).collect();
        assert_eq!(read, [(1, [1, 2, 3, 4].as_slice()), (2, &[7])]);
    }

    #[test]
    fn values_of_the_wrong_form_are_none() {
        assert_eq!(u32_of(&[1, 2, 3]), None);
        assert_eq!(text_of(b"eth0\0\0"), Some("eth0"));
        assert_eq!(text_of(b"eth0"), Some("eth0"));
        assert_eq!(text_of(&[0xff, 0]), None);
    }

    #[test]
    fn an_answer_that_nobody_read_is_not_taken_for_the_next_one() {
        let netlink = Netlink::open(NETLINK_ROUTE).unwrap();
        let mut unread = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::<RouteNetlinkMessage>::Noop);
        unread.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        unread.header.sequence_number = 99;
        unread.finalize();
        let mut bytes = vec![0; unread.buffer_len()];
        unread.serialize(&mut bytes);
        netlink.lock().socket.send(&bytes, 0).unwrap();

        let mut lo = LinkMessage::default();
        lo.header.index = 1;
        assert_eq!(netlink.request(RouteNetlinkMessage::GetLink(lo), 0).unwrap().len(), 1);
    }
}
