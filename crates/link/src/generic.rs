//! Requests of the generic netlink family `netdev`.

use netlink_packet_core::{DefaultNla, Emitable, NetlinkSerializable};
use rustix::io::Errno;

use crate::Links;
use crate::netlink::{Answer, Refusal, attributes};

/// The number under which a kernel has the family.
#[derive(Clone, Copy)]
pub(crate) struct Family(u16);

impl Links {
    /// The family `netdev`; `None` where the kernel has none (before 6.3).
    pub(crate) fn netdev_family(&self) -> Result<Option<Family>, Refusal> {
        let attributes = vec![DefaultNla::new(CTRL_ATTR_FAMILY_NAME, b"netdev\0".to_vec())];
        let request = GenericRequest { family: GENL_ID_CTRL, command: CTRL_CMD_GETFAMILY, attributes };
        match self.generic.request(request, 0) {
            Ok(answers) => {
                let id = answers.first().and_then(|answer| attribute(answer, CTRL_ATTR_FAMILY_ID)?.try_into().ok());
                Ok(id.map(|id| Family(u16::from_ne_bytes(id))))
            }
            Err(refusal) if refusal.errno() == Some(Errno::NOENT) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }
}

impl Family {
    /// A request with numbers as its attributes.
    pub(crate) fn request(self, command: u8, numbers: &[(u16, u32)]) -> GenericRequest {
        let attributes = numbers.iter().map(|(kind, number)| DefaultNla::new(*kind, number.to_ne_bytes().to_vec()));
        GenericRequest { family: self.0, command, attributes: attributes.collect() }
    }
}

/// An attribute of an answer.
pub(crate) fn attribute(answer: &Answer, wanted: u16) -> Option<&[u8]> {
    attributes(answer.payload.get(HEADER_LEN..)?).find(|&(kind, _)| kind == wanted).map(|(_, value)| value)
}

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// Of both families.
const VERSION: u8 = 1;
/// Length of `struct genlmsghdr`.
const HEADER_LEN: usize = 4;

/// A request of a generic netlink family.
#[derive(Clone)]
pub(crate) struct GenericRequest {
    family: u16,
    command: u8,
    attributes: Vec<DefaultNla>,
}

impl NetlinkSerializable for GenericRequest {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        HEADER_LEN + self.attributes.as_slice().buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer[..HEADER_LEN].copy_from_slice(&[self.command, VERSION, 0, 0]);
        self.attributes.as_slice().emit(&mut buffer[HEADER_LEN..]);
    }
}
