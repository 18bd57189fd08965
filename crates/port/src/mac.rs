//! Which MAC a port gets: always the same one for the same user, NIC and name, and nobody can choose it.
//!
//! A MAC is an identity: a switch sends frames where it was seen last, and an IPv6 link-local address follows from it.
//! So it comes out of a keyed hash, whose key no client knows: no name leads to a wanted MAC but by trying 2^46 of
//! them, each with an opening.

use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::Hasher as _;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::rand::{GetRandomFlags, getrandom};
use siphasher::sip::SipHasher24;
use xsknet_bpf::{Vlan, remedy};
use xsknet_link::MacAddr;

/// Its bytes.
const LENGTH: usize = 16;

/// The key of the hash.
#[derive(Clone)]
pub(crate) struct Secret([u8; LENGTH]);

/// What distinguishes a port from others of the same user and NIC.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Identity<'a> {
    /// Chosen by the user.
    Name(&'a str),
    /// Of a port without a name: where its addresses are valid, and they.
    Addresses(Vlan, &'a [IpAddr]),
}

/// The secret of the machine is not to be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt} the secret {}", path.display())]
pub struct SecretError {
    /// What was attempted.
    pub attempt: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// The kernel's word, or what is wrong with it.
    #[source]
    pub cause: io::Error,
}

impl SecretError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        match self.cause.kind() {
            io::ErrorKind::InvalidData => {
                format!("remove {}: all ports then get other MACs than before", self.path.display())
            }
            _ => match remedy(&self.cause) {
                Some(remedy) => format!("{remedy}; $STATE_DIRECTORY names another folder"),
                None => "the folder must be writable for root; $STATE_DIRECTORY names another one".into(),
            },
        }
    }
}

impl Secret {
    /// One that ends with this process.
    pub(crate) fn draw() -> Self {
        let mut bytes = [0; LENGTH];
        let filled = getrandom(&mut bytes, GetRandomFlags::empty());
        assert_eq!(filled, Ok(LENGTH), "getrandom answers up to 256 bytes at once");
        Self(bytes)
    }

    /// The one in this folder, which is made with it where there is none.
    pub(crate) fn keep_in(folder: &Path) -> Result<Self, SecretError> {
        let path = folder.join("secret");
        let failed = |attempt, cause| SecretError { attempt, path: path.clone(), cause };
        match Self::read(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            found => return found.map_err(|cause| failed("read", cause)),
        }
        Self::draw().write(folder, &path).map_err(|cause| failed("write", cause))?;
        // Another daemon may have been quicker.
        Self::read(&path).map_err(|cause| failed("read", cause))
    }

    fn read(path: &Path) -> io::Result<Self> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let found = fs::symlink_metadata(path)?;
        let own = rustix::process::geteuid().as_raw();
        if !found.is_file() || found.mode() & 0o077 != 0 || found.uid() != own {
            return Err(invalid(format!("it is not a file of user {own} alone, with mode 0600")));
        }
        let bytes = fs::read(path)?;
        bytes
            .try_into()
            .map(Self)
            .map_err(|bytes: Vec<u8>| invalid(format!("it has {} bytes, not {LENGTH}", bytes.len())))
    }

    /// Whole or not at all; one that is there stays.
    fn write(&self, folder: &Path, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let draft = folder.join(format!(".secret.{}", std::process::id()));
        let _ = fs::remove_file(&draft);
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).and_then(|mut file| {
            file.write_all(&self.0)?;
            file.sync_all()
        });
        let linked = written.and_then(|()| fs::hard_link(&draft, path));
        let _ = fs::remove_file(&draft);
        match linked {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            done => done,
        }
    }

    /// A unicast, locally administered address.
    pub(crate) fn mac(&self, uid: u32, nic: MacAddr, identity: Identity<'_>) -> MacAddr {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&uid.to_le_bytes());
        hasher.write(&nic.octets());
        // Each part has a length of its own, or is the last: no two inputs make the same bytes.
        match identity {
            Identity::Name(name) => {
                hasher.write(&[0]);
                hasher.write(name.as_bytes());
            }
            Identity::Addresses(vlan, addresses) => {
                hasher.write(&[1]);
                hasher.write(&vlan.id().unwrap_or(0).to_le_bytes());
                let mut addresses = addresses.to_vec();
                addresses.sort();
                for address in addresses {
                    match address {
                        IpAddr::V4(v4) => {
                            hasher.write(&[4]);
                            hasher.write(&v4.octets());
                        }
                        IpAddr::V6(v6) => {
                            hasher.write(&[6]);
                            hasher.write(&v6.octets());
                        }
                    }
                }
            }
        }
        MacAddr::local_of(hasher.finish())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const CARD: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);

    #[test]
    fn the_mac_is_that_of_siphash_2_4() {
        // Reckoned apart, by the reference implementation's test key.
        let secret = Secret(std::array::from_fn(|at| at as u8));
        let bytes = [&7_u32.to_le_bytes()[..], &CARD.octets(), &[0], b"web"].concat();
        let mut whole = SipHasher24::new_with_key(&secret.0);
        whole.write(&bytes);
        assert_eq!(secret.mac(7, CARD, Identity::Name("web")), MacAddr::local_of(whole.finish()));
    }

    #[test]
    fn another_user_nic_name_secret_vlan_or_address_makes_another_mac() {
        let (secret, other) = (Secret::draw(), Secret::draw());
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (a, b) = ([ip("192.0.2.10")], [ip("192.0.2.10"), ip("2001:db8::10")]);
        let all = [
            secret.mac(1, CARD, Identity::Name("web")),
            other.mac(1, CARD, Identity::Name("web")),
            secret.mac(2, CARD, Identity::Name("web")),
            secret.mac(1, MacAddr::new([2, 0, 0, 0, 0, 2]), Identity::Name("web")),
            secret.mac(1, CARD, Identity::Name("web1")),
            secret.mac(1, CARD, Identity::Addresses(Vlan::UNTAGGED, &a)),
            secret.mac(1, CARD, Identity::Addresses(Vlan::tagged(5).unwrap(), &a)),
            secret.mac(1, CARD, Identity::Addresses(Vlan::UNTAGGED, &b)),
        ];
        assert_eq!(BTreeSet::from(all).len(), all.len());
        assert!(all.iter().all(|mac| mac.is_locally_administered() && !mac.is_multicast()));
        let turned = [b[1], b[0]];
        assert_eq!(secret.mac(1, CARD, Identity::Addresses(Vlan::UNTAGGED, &turned)), all[7], "in any order");
    }

    #[test]
    fn a_secret_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("a/b");
        let first = Secret::keep_in(&state).unwrap();
        assert_eq!(Secret::keep_in(&state).unwrap().0, first.0);
        let path = state.join("secret");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "no draft is left");
        assert_ne!(Secret::keep_in(&folder.path().join("c")).unwrap().0, first.0);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Secret::keep_in(&state).unwrap_err();
        assert_eq!((error.attempt, error.cause.kind()), ("read", io::ErrorKind::InvalidData));
        assert!(error.hint().contains("other MACs"), "{}", error.hint());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        let cause = Secret::keep_in(&state).unwrap_err().cause.to_string();
        assert_eq!(cause, "it has 5 bytes, not 16");
    }
}
