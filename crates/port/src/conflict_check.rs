//! Address conflict detection: what a host asks its network before it takes an address (RFC 5227, RFC 4862), and what
//! it announces once it has the address, for a port that is being opened.
//!
//! The daemon asks, on the NIC itself, so that it works for every way to open a port and before any frame is steered to
//! it. Neighbours answer while the port is built, which takes longer than they do: the seconds that both documents
//! prescribe are for networks that have just come up. A later answer is seen by the port's owner.

use std::fmt::Display;
use std::io;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use xsknet_bpf::Vlan;
use xsknet_link::{Heard, MacAddr, PacketSocket};

use crate::arp_nd::{self, ADVERTISEMENT, ARP, ICMPV6, IPV6, SOLICITATION, mac_at};
use crate::attempt::Attempt;
use crate::claims::Claim;
use crate::error::OpenPortError;
use crate::nic::Nic;

/// How long an answer may take. A neighbour on the same wire takes less than a tenth of that. It is most of an opening:
/// to build a port takes some 4 ms.
const PATIENCE: Duration = Duration::from_millis(15);

/// Asked, and not answered yet.
pub(crate) struct ConflictCheck {
    /// `None` only while it is dropped.
    socket: Option<PacketSocket>,
    asked: Asked,
    until: Instant,
}

/// What nobody else may have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    /// Of the NIC, which asks.
    nic: MacAddr,
    mac: MacAddr,
    vlan: Vlan,
    addresses: Vec<IpAddr>,
}

/// What another host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conflict {
    Address { address: IpAddr, holder: MacAddr },
    Mac,
}

impl ConflictCheck {
    /// Asks. Where the NIC is down there is nobody to ask: the attempts tell.
    pub(crate) fn begin(nic: &Nic, claim: &Claim) -> Result<Self, Attempt> {
        let Claim { mac, uplink_mac, vlan, addresses, .. } = claim;
        let own = nic.state().mac;
        // The MAC that it shares is nobody's to ask for.
        let (mac, addresses) =
            if *uplink_mac { (own, addresses.clone()) } else { (*mac, with_link_local(*mac, addresses)) };
        let asked = Asked { nic: own, mac, vlan: *vlan, addresses };
        const STEP: &str = "ask the neighbours";
        let socket = PacketSocket::open(&nic.context.host.netns, nic.info.index)
            .map_err(|error| not_done(STEP, &error, error.errno()))?;
        let sent = asked.probes().try_for_each(|probe| socket.send(&probe));
        sent.map_err(|cause| not_done(STEP, &cause, cause.raw_os_error()))?;
        Ok(Self { socket: Some(socket), asked, until: Instant::now() + PATIENCE })
    }

    /// Waits as long as an answer may take, and returns what another host has.
    pub(crate) fn finish(&self, nic: &Nic) -> Result<(), OpenPortError> {
        let socket = self.socket();
        // A flood of answers that say nothing has no end.
        let enough = Instant::now().max(self.until) + PATIENCE;
        loop {
            match socket.heard() {
                Ok(Some(_)) if Instant::now() > enough => return Ok(()),
                Ok(Some(heard)) => {
                    if let Some(conflict) = self.asked.conflict(&heard) {
                        return Err(self.refusal(conflict, nic));
                    }
                }
                Ok(None) => {
                    let left = self.until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(());
                    }
                    let left = Timespec::try_from(left).expect("some milliseconds");
                    // A signal only means that it looks once more.
                    let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&left));
                }
                // The NIC went down: nobody answers any more.
                Err(_) => return Ok(()),
            }
        }
    }

    /// Announces to the neighbours that the port has its addresses now. Only for a port that works: a neighbour that
    /// knew another MAC forgets it.
    pub(crate) fn announce(&self, nic: &Nic, addresses: &[IpAddr]) -> Result<(), Attempt> {
        let Asked { mac, vlan, .. } = self.asked;
        let sent = announce(nic, self.socket(), (mac, vlan), addresses);
        sent.map_err(|cause| not_done(ANNOUNCE, &cause, cause.raw_os_error()))?;
        nic.context.passed("the port is announced");
        Ok(())
    }

    fn socket(&self) -> &PacketSocket {
        self.socket.as_ref().expect("it is not being dropped")
    }

    fn refusal(&self, conflict: Conflict, nic: &Nic) -> OpenPortError {
        let uplink = nic.info.device.clone();
        match conflict {
            Conflict::Address { address, holder } => {
                OpenPortError::AddressTaken { address, uplink, holder: format!("a neighbour with the MAC {holder}") }
            }
            Conflict::Mac => OpenPortError::MacTaken { mac: self.asked.mac, uplink, holder: "a neighbour".into() },
        }
    }
}

const ANNOUNCE: &str = "announce the port to the neighbours";

fn announce(nic: &Nic, socket: &PacketSocket, (mac, vlan): (MacAddr, Vlan), addresses: &[IpAddr]) -> io::Result<()> {
    let mut announcements = addresses.iter().map(|address| arp_nd::announcement(*address, mac, vlan.id()));
    announcements.try_for_each(|frame| {
        socket.send(&frame)?;
        nic.count_announcement();
        Ok(())
    })
}

/// Announces addresses that have another MAC from now on, as [`ConflictCheck::announce`] does those of a new port.
pub(crate) fn announce_again(nic: &Nic, mac: MacAddr, vlan: Vlan, addresses: &[IpAddr]) -> Result<(), Attempt> {
    let socket = PacketSocket::open(&nic.context.host.netns, nic.info.index)
        .map_err(|error| not_done(ANNOUNCE, &error, error.errno()))?;
    announce(nic, &socket, (mac, vlan), addresses).map_err(|cause| not_done(ANNOUNCE, &cause, cause.raw_os_error()))
}

/// Closing a packet socket waits until no CPU looks at it any more (`packet_release()`): no port has
/// to.
impl Drop for ConflictCheck {
    fn drop(&mut self) {
        let socket = self.socket.take();
        // Without a thread it is closed here.
        let _ = thread::Builder::new().name("closing".into()).spawn(move || drop(socket));
    }
}

fn not_done(step: &str, why: &dyn Display, errno: Option<i32>) -> Attempt {
    Attempt { hook: "uplink", step: step.into(), errno, why: format!("not done: {why}") }
}

/// Asked for even if the port does not have it: a neighbour that has it has the port's MAC.
fn with_link_local(mac: MacAddr, addresses: &[IpAddr]) -> Vec<IpAddr> {
    let link_local = IpAddr::from(mac.link_local_ipv6());
    let others = addresses.iter().copied().filter(|address| *address != link_local);
    others.chain([link_local]).collect()
}

impl Asked {
    /// From the NIC: a switch must not look for the port's MAC here before it is known to be free. Answers go to the
    /// port's all the same.
    fn probes(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.addresses.iter().map(|address| arp_nd::probe(*address, self.mac, self.nic, self.vlan.id()))
    }

    /// What a frame says against it. What is cut short says nothing.
    fn conflict(&self, Heard { frame, vlan }: &Heard) -> Option<Conflict> {
        if *vlan != self.vlan.id() {
            return None;
        }
        let source: MacAddr = mac_at(frame, 6)?;
        // Our own question, which some access points send back.
        if source == self.nic {
            return None;
        }
        if source == self.mac {
            return Some(Conflict::Mac);
        }
        let body = frame.get(14..)?;
        match <[u8; 2]>::try_from(frame.get(12..14)?).ok()? {
            ARP => self.conflict_in_arp(body),
            IPV6 => self.conflict_in_discovery(body, source),
            _ => None,
        }
    }

    fn conflict_in_arp(&self, arp: &[u8]) -> Option<Conflict> {
        if arp.get(..6)? != [0, 1, 0x08, 0x00, 6, 4] {
            return None;
        }
        let (request, holder) = (arp.get(6..8)? == [0, 1], mac_at(arp, 8)?);
        let address = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(arp.get(at..at + 4)?).ok()?));
        let (sender, target) = (address(14)?, address(24)?);
        // A port at the NIC's MAC shares it with the host, of which a neighbour may speak.
        if holder == self.mac {
            return (self.mac != self.nic).then_some(Conflict::Mac);
        }
        // A neighbour that probes for the same address at the same time wants it, too.
        let wants = request && sender.is_unspecified() && self.addresses.contains(&target);
        let has = self.addresses.contains(&sender);
        (has || wants).then_some(Conflict::Address { address: if has { sender } else { target }, holder })
    }

    /// Straight behind the header, as all neighbour discovery that a host makes is.
    fn conflict_in_discovery(&self, ip: &[u8], source: MacAddr) -> Option<Conflict> {
        let message = ip.get(40..)?;
        let kind = (*ip.get(6)? == ICMPV6).then_some(*message.first()?)?;
        let target = IpAddr::from(<[u8; 16]>::try_from(message.get(8..24)?).ok()?);
        let wants = kind == SOLICITATION && ip.get(8..24)? == [0; 16];
        if !(kind == ADVERTISEMENT || wants) || !self.addresses.contains(&target) {
            return None;
        }
        // A neighbour that has the link-local address of the port's MAC has that MAC; without it, it is the address
        // alone.
        let holder = match message.get(24..26) {
            Some([2, 1]) => mac_at(message, 26)?,
            _ => source,
        };
        Some(Conflict::Address { address: target, holder })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NIC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
    const PORT: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 2]);
    const OTHER: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 3]);

    fn asked() -> Asked {
        let addresses = with_link_local(PORT, &["192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap()]);
        Asked { nic: NIC, mac: PORT, vlan: Vlan::UNTAGGED, addresses }
    }

    /// The question as another host's, or what it answers.
    fn of(mac: MacAddr, target: &str) -> Vec<u8> {
        arp_nd::probe(target.parse().unwrap(), mac, mac, None)
    }

    fn heard(frame: Vec<u8>) -> Option<Conflict> {
        asked().conflict(&Heard { frame, vlan: None })
    }

    fn reply(mac: MacAddr, sender: [u8; 4]) -> Vec<u8> {
        let mut frame = of(mac, "192.0.2.1");
        frame[21] = 2;
        frame[28..32].copy_from_slice(&sender);
        frame
    }

    fn advertisement(mac: MacAddr, target: &str) -> Vec<u8> {
        let mut frame = of(mac, target);
        frame[54] = ADVERTISEMENT;
        frame[22] = 0xfe; // a source that is not `::`
        frame
    }

    fn taken(address: &str, holder: MacAddr) -> Option<Conflict> {
        Some(Conflict::Address { address: address.parse().unwrap(), holder })
    }

    #[test]
    fn an_answer_from_whoever_has_an_address_names_its_holder() {
        assert_eq!(heard(reply(OTHER, [192, 0, 2, 10])), taken("192.0.2.10", OTHER));
        assert_eq!(heard(reply(OTHER, [192, 0, 2, 11])), None);
        assert_eq!(heard(advertisement(OTHER, "2001:db8::10")), taken("2001:db8::10", OTHER));
        assert_eq!(heard(advertisement(OTHER, "2001:db8::11")), None);
        let mut told = advertisement(OTHER, "2001:db8::10");
        told.extend([2, 1, 2, 0, 0, 0, 0, 9]);
        assert_eq!(heard(told), taken("2001:db8::10", MacAddr::new([2, 0, 0, 0, 0, 9])));
        assert_eq!(heard(advertisement(OTHER, "fe80::ff:fe00:2")), taken("fe80::ff:fe00:2", OTHER));
    }

    #[test]
    fn who_probes_at_the_same_time_wants_it_too() {
        assert_eq!(heard(of(OTHER, "192.0.2.10")), taken("192.0.2.10", OTHER));
        assert_eq!(heard(of(OTHER, "192.0.2.11")), None);
        assert_eq!(heard(of(OTHER, "2001:db8::10")), taken("2001:db8::10", OTHER));
        // One that only looks for a neighbour does not.
        let mut looks = of(OTHER, "2001:db8::10");
        looks[22] = 0xfe;
        assert_eq!(heard(looks), None);
    }

    #[test]
    fn who_sends_with_the_ports_mac_has_it() {
        assert_eq!(heard(of(PORT, "192.0.2.99")), Some(Conflict::Mac));
        let mut inside = reply(OTHER, [192, 0, 2, 99]);
        inside[22..28].copy_from_slice(&PORT.octets());
        assert_eq!(heard(inside), Some(Conflict::Mac));
    }

    #[test]
    fn what_announces_an_address_has_it() {
        for (address, vlan) in [("192.0.2.10", None), ("2001:db8::10", Some(5)), ("fe80::ff:fe00:2", None)] {
            let address = address.parse().unwrap();
            let mut frame = arp_nd::announcement(address, OTHER, vlan);
            let asked = Asked { vlan: vlan.map_or(Vlan::UNTAGGED, |vlan| Vlan::tagged(vlan).unwrap()), ..asked() };
            // A packet socket has the tag beside the frame.
            if vlan.is_some() {
                assert_eq!(frame.drain(12..16).collect::<Vec<_>>(), [0x81, 0, 0, 5]);
            }
            let conflict = asked.conflict(&Heard { frame, vlan });
            assert_eq!(conflict, Some(Conflict::Address { address, holder: OTHER }));
        }
    }

    #[test]
    fn our_own_question_and_other_vlans_say_nothing() {
        let asked = asked();
        for frame in asked.probes() {
            assert_eq!(heard(frame), None);
        }
        let frame = reply(OTHER, [192, 0, 2, 10]);
        assert_eq!(asked.conflict(&Heard { frame: frame.clone(), vlan: Some(5) }), None);
        let tagged = Asked { vlan: Vlan::tagged(5).unwrap(), ..asked };
        assert_eq!(tagged.conflict(&Heard { frame: frame.clone(), vlan: None }), None);
        assert!(tagged.conflict(&Heard { frame, vlan: Some(5) }).is_some());
        assert!(tagged.probes().all(|probe| probe[12..16] == [0x81, 0, 0, 5]));
    }

    #[test]
    fn frames_cut_anywhere_are_no_answer_and_no_panic() {
        for whole in [reply(OTHER, [192, 0, 2, 10]), advertisement(OTHER, "2001:db8::10")] {
            for length in 0..38 {
                assert_eq!(heard(whole[..length].to_vec()), None, "{length}");
            }
        }
    }
}
