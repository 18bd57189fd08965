//! Devices: made, found, changed, moved, deleted.

use std::net::IpAddr;
use std::time::Duration;

use crate::common::{Pair, name};
use xsknet_link::{
    DeviceRef, DropReader, Drops, End, IfIndex, LinkError, Links, MacAddr, Netns, PacketSocket, VethPair, VlanOf,
};

#[test]
fn one_message_makes_a_pair_across_two_namespaces() {
    let (here, there) = (Netns::create().unwrap(), Netns::create().unwrap());
    let (outer_mac, inner_mac) = (MacAddr::random_local(), MacAddr::random_local());
    let links = Links::in_namespace(&here).unwrap();
    let made = links
        .add_veth(&VethPair::new(
            End::new(name("p0")).mac(outer_mac).mtu(1400),
            End::new(name("p0i")).mac(inner_mac).mtu(1300).inside(&there),
        ))
        .unwrap();

    let outer = links.by_name(&name("p0")).unwrap();
    let inner = Links::in_namespace(&there).unwrap().by_name(&name("p0i")).unwrap();
    assert_eq!((outer.index, inner.index), (made.outer, made.inner));
    assert_eq!((outer.peer_index, inner.peer_index), (Some(inner.index), Some(outer.index)));
    assert_eq!((outer.mac, inner.mac), (Some(outer_mac), Some(inner_mac)));
    assert_eq!((outer.mtu, inner.mtu), (1400, 1300));
    for end in [&outer, &inner] {
        assert_eq!((end.tx_queues, end.rx_queues), (1, 1), "{end:?}");
        assert_eq!(end.kind.as_deref(), Some("veth"));
        assert_eq!((end.up, end.lower_up, end.alias.as_deref(), end.xdp.len()), (false, false, None, 0));
    }
    assert!(matches!(links.by_name(&name("p0i")), Err(LinkError::DeviceMissing { .. })));
    assert_eq!(links.by_index(outer.index).unwrap(), outer);
    assert!(links.list().unwrap().contains(&outer));
}

#[test]
fn either_end_may_be_made_elsewhere() {
    let (here, there) = (Netns::create().unwrap(), Netns::create().unwrap());
    let links = Links::in_namespace(&here).unwrap();
    let made = links.add_veth(&VethPair::new(End::new(name("a")).inside(&there), End::new(name("b")))).unwrap();
    assert_eq!(links.by_name(&name("b")).unwrap().index, made.inner);
    assert_eq!(Links::in_namespace(&there).unwrap().by_name(&name("a")).unwrap().index, made.outer);
}

/// Where the kernel has none it says so, and that is all that can be seen there.
#[test]
fn a_vlan_device_is_made_in_another_namespace_and_once() {
    let (pair, elsewhere) = (Pair::new(), Netns::create().unwrap());
    let (links, nic) = (&pair.outer.links, pair.outer.index);
    match links.add_vlan(nic, 42, &name("v1.42"), &elsewhere) {
        Ok(made) => {
            assert!(made);
            let device = Links::in_namespace(&elsewhere).unwrap().by_name(&name("v1.42")).unwrap();
            assert_eq!(
                (device.kind.as_deref(), device.up, device.vlan),
                (Some("vlan"), false, None),
                "of another namespace"
            );
            assert!(!links.add_vlan(nic, 42, &name("again"), &elsewhere).unwrap(), "the interface has one");
            assert!(!links.add_vlan(nic, 42, &name("here"), &pair.outer.netns).unwrap(), "wherever it is");
            assert!(links.add_vlan(nic, 43, &name("here"), &pair.outer.netns).unwrap());
            let here = links.by_name(&name("here")).unwrap();
            assert_eq!(here.vlan, Some(VlanOf { nic, id: 43 }));
        }
        Err(error) => assert_eq!(error.errno(), Some(libc::EOPNOTSUPP), "{error}"),
    }
    assert!(matches!(
        links.add_vlan(IfIndex::new(4711).unwrap(), 42, &name("none"), &elsewhere),
        Err(LinkError::DeviceMissing { .. } | LinkError::Refused { .. })
    ));
}

#[test]
fn a_taken_name_is_named_and_nothing_is_made() {
    let pair = Pair::new();
    for (outer, inner, taken) in [("outer", "free", "outer"), ("free", "inner", "inner")] {
        let wanted = VethPair::new(End::new(name(outer)), End::new(name(inner)).inside(&pair.inner.netns));
        let before = [pair.outer.links.list().unwrap().len(), pair.inner.links.list().unwrap().len()];
        match pair.outer.links.add_veth(&wanted) {
            Err(error @ LinkError::NameTaken { .. }) => {
                assert_eq!(error.to_string(), format!("the network namespace already has a device named {taken}"));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!([pair.outer.links.list().unwrap().len(), pair.inner.links.list().unwrap().len()], before);
    }
}

#[test]
fn changes_are_read_back() {
    let pair = Pair::new();
    let outer = &pair.outer;
    let mac = MacAddr::random_local();
    outer.links.set_mac(outer.index, mac).unwrap();
    outer.links.set_mtu(outer.index, 3000).unwrap();
    outer.links.set_alias(outer.index, "xsknet:default:web").unwrap();
    outer.links.rename(outer.index, &name("renamed")).unwrap();
    outer.links.set_promiscuous(outer.index, true).unwrap();
    outer.links.set_up(outer.index).unwrap();
    let device = outer.links.by_name(&name("renamed")).unwrap();
    assert_eq!((device.mac, device.mtu, device.alias.as_deref()), (Some(mac), 3000, Some("xsknet:default:web")));
    assert_eq!((device.up, device.lower_up, device.promiscuous, device.promiscuity), (true, false, true, 1));

    outer.links.set_alias(outer.index, "").unwrap();
    outer.links.set_promiscuous(outer.index, false).unwrap();
    outer.links.set_down(outer.index).unwrap();
    let device = outer.device();
    assert_eq!((device.alias, device.up, device.promiscuous, device.promiscuity), (None, false, false, 0));
}

#[test]
fn a_moved_device_is_found_in_its_new_namespace_only() {
    let pair = Pair::new();
    let third = Netns::create().unwrap();
    pair.outer.links.move_to(pair.outer.index, &third).unwrap();
    assert!(matches!(pair.outer.links.by_name(&pair.outer.name), Err(LinkError::DeviceMissing { .. })));
    let there = Links::in_namespace(&third).unwrap();
    let index = there.by_name(&pair.outer.name).unwrap().index;

    there.rename(index, &pair.inner.name).unwrap();
    match there.move_to(index, &pair.inner.netns) {
        Err(LinkError::NameTaken { name }) => assert_eq!(name, pair.inner.name),
        other => panic!("{other:?}"),
    }
}

#[test]
fn deleting_one_end_deletes_both() {
    let pair = Pair::new();
    pair.outer.links.delete(pair.outer.index).unwrap();
    assert!(matches!(pair.inner.links.by_index(pair.inner.index), Err(LinkError::DeviceMissing { .. })));
    match pair.outer.links.delete(pair.outer.index) {
        Err(LinkError::DeviceMissing { device }) => assert_eq!(device, DeviceRef::Index(pair.outer.index)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_device_is_said_to_be_missing_by_every_call() {
    let netns = Netns::create().unwrap();
    let links = Links::in_namespace(&netns).unwrap();
    let none = IfIndex::new(4711).unwrap();
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let mac = MacAddr::random_local();
    let answers = [
        ("by_name", links.by_name(&name("ghost")).map(drop)),
        ("by_index", links.by_index(none).map(drop)),
        ("set_up", links.set_up(none)),
        ("set_mtu", links.set_mtu(none, 1500)),
        ("delete", links.delete(none)),
        ("set_addrgenmode_none", links.set_addrgenmode_none(none).map(drop)),
        ("add_address", links.add_address(none, address, 24)),
        ("del_address", links.del_address(none, address, 24).map(drop)),
        ("addresses", links.addresses(none).map(drop)),
        ("add_filter", links.add_filter(none, mac).map(drop)),
        ("remove_filter", links.remove_filter(none, mac).map(drop)),
        ("filters", links.filters(none).map(drop)),
        ("xdp_features", links.xdp_features(none).map(drop)),
        ("coalesce", links.coalesce(none, Duration::from_micros(20)).map(drop)),
        ("disable_ipv6", netns.run(|| xsknet_link::disable_ipv6(&name("ghost"))).unwrap().map(drop)),
    ];
    for (call, answer) in answers {
        match answer {
            Err(error @ LinkError::DeviceMissing { .. }) => assert_eq!(error.errno(), Some(libc::ENODEV)),
            other => panic!("{call}: {other:?}"),
        }
    }
}

#[test]
fn a_refusal_names_the_device_the_numbers_and_the_kernels_reason() {
    let pair = Pair::new();
    let outer = &pair.outer;
    let error = outer.links.set_mtu(outer.index, 100_000).unwrap_err();
    assert_eq!(error.to_string(), "outer: cannot set the MTU to 100000 (mtu greater than device maximum)");
    assert_eq!(error.errno(), Some(libc::EINVAL));
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "Invalid argument (os error 22)");

    let multicast: MacAddr = "01:00:5e:00:00:01".parse().unwrap();
    let error = outer.links.set_mac(outer.index, multicast).unwrap_err();
    assert_eq!(error.errno(), Some(libc::EADDRNOTAVAIL));
}

#[test]
fn a_handle_is_shared_by_threads_and_stays_in_its_namespace() {
    let pair = Pair::new();
    let outer = &pair.outer;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    assert_eq!(outer.links.by_name(&outer.name).unwrap().index, outer.index);
                    assert!(outer.links.list().unwrap().iter().any(|device| device.index == outer.index));
                }
            });
        }
    });
}

#[test]
fn addresses_are_taken_told_and_given_back() {
    let pair = Pair::new().up();
    let outer = &pair.outer;
    let links = &outer.links;
    let four: IpAddr = "192.0.2.1".parse().unwrap();
    let six: IpAddr = "2001:db8::1".parse().unwrap();
    links.add_address(outer.index, four, 24).unwrap();
    links.add_address(outer.index, six, 64).unwrap();
    let addresses = links.addresses(outer.index).unwrap();
    assert!(addresses.contains(&(four, 24)) && addresses.contains(&(six, 64)), "{addresses:?}");
    let again = links.add_address(outer.index, four, 24).unwrap_err();
    assert_eq!((again.errno(), again.to_string().contains("192.0.2.1/24")), (Some(libc::EEXIST), true));

    // A socket connected to a neighbour is given the device's address: both can be used.
    for (own, any, neighbour) in [(four, "0.0.0.0", "192.0.2.7:9"), (six, "::", "[2001:db8::7]:9")] {
        let reach = || {
            let socket = std::net::UdpSocket::bind((any.parse::<IpAddr>().unwrap(), 0))?;
            socket.connect(neighbour)?;
            socket.local_addr()
        };
        assert_eq!(outer.netns.run(reach).unwrap().unwrap().ip(), own);
    }

    assert!(links.del_address(outer.index, four, 24).unwrap());
    assert!(!links.del_address(outer.index, four, 24).unwrap());
    assert!(!links.addresses(outer.index).unwrap().contains(&(four, 24)));
}

#[test]
fn what_devices_dropped_is_told_by_index_whatever_they_are_called() {
    let pair = Pair::new().up();
    // A veth drops what is too long for its far end, and both count it.
    pair.inner.links.set_mtu(pair.inner.index, 1000).unwrap();
    let socket = PacketSocket::open(&pair.outer.netns, pair.outer.index).unwrap();
    let mut frame = vec![0; 1400];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
    for _ in 0..5 {
        assert_eq!(socket.send(&frame).unwrap_err().raw_os_error(), Some(libc::ENOBUFS));
    }

    let readers = [&pair.outer, &pair.inner].map(|side| DropReader::in_namespace(&side.netns).unwrap());
    pair.inner.links.rename(pair.inner.index, &name("renamed")).unwrap();
    let nowhere = IfIndex::new(4_000_000).unwrap();
    let [outer, inner] = [(&readers[0], &pair.outer), (&readers[1], &pair.inner)].map(|(reader, side)| {
        let drops = reader.of(&[nowhere, side.index]).unwrap();
        assert_eq!(drops[0], None);
        let told = side.links.by_index(side.index).unwrap().stats;
        assert_eq!(drops[1], Some(Drops { received: told.rx_dropped, sent: told.tx_dropped }));
        drops[1].unwrap()
    });
    assert_eq!((outer, inner), (Drops { received: 0, sent: 5 }, Drops { received: 5, sent: 0 }));
}
