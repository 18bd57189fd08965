//! Attaching to veth pairs, in each mode.

use rstest::rstest;

use super::frames::{MAC_A, MAC_FAR, ethernet};
use super::lab::{device, in_namespace, ip};
use crate::{AttachError, Datapath, DatapathOptions, Device, Mode, Obtained, PortProgram, describe_program};

fn datapath() -> Datapath {
    Datapath::load(DatapathOptions { uplink_mtu: 1500, queue_seed: 0, pins: None }).unwrap()
}

/// Mode and errno of each step.
fn steps(attempts: &[crate::Attempt]) -> Vec<(Obtained, Option<i32>)> {
    attempts.iter().map(|attempt| (attempt.mode, attempt.errno)).collect()
}

#[rstest]
#[case::native("a0", Mode::Native, Obtained::Native, &[(Obtained::Native, None)])]
#[case::skb("a0", Mode::Skb, Obtained::Skb, &[(Obtained::Skb, None)])]
#[case::unspecified_is_native_where_it_can_be("a0", Mode::Unspecified, Obtained::Native, &[(Obtained::Native, None)])]
#[case::unspecified_is_skb_where_it_must_be("lo", Mode::Unspecified, Obtained::Skb,
    &[(Obtained::Native, Some(libc::EOPNOTSUPP)), (Obtained::Skb, None)])]
fn attached(
    #[case] name: &str,
    #[case] mode: Mode,
    #[case] obtained: Obtained,
    #[case] attempts: &[(Obtained, Option<i32>)],
) {
    in_namespace(&["a0"], || {
        let datapath = datapath();
        let attachment = datapath.attach_uplink(&device(name), mode).unwrap();
        assert_eq!((attachment.obtained(), steps(attachment.attempts())), (obtained, attempts.to_vec()));
        assert_eq!(attachment.ifindex(), device(name).index);
        let program = describe_program(attachment.program_id()).unwrap().expect("it is loaded");
        assert_eq!(program.name, "uplink");
        assert_eq!(program.tag.len(), 16);
    });
}

#[rstest]
#[case::native_on_a_device_without_it("lo", Mode::Native, libc::EOPNOTSUPP)]
#[case::offload_to_a_veth("a0", Mode::Hw, libc::EINVAL)]
fn refused(#[case] name: &str, #[case] mode: Mode, #[case] errno: i32) {
    in_namespace(&["a0"], || {
        let port = PortProgram::load(None).unwrap();
        let error = port.attach(&device(name), mode).unwrap_err();
        assert!(matches!(&error, AttachError::ModeRefused { attempts, .. } if attempts.len() == 1), "{error:?}");
        assert_eq!(error.errno(), Some(errno), "{error:?}");
        let source = std::error::Error::source(&error).expect("the kernel's answer");
        assert_eq!(source.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error), Some(errno));
        assert!(error.hint().is_some());
        let _free = port.attach(&device(name), Mode::Skb).expect("nothing was left on the device");
    });
}

#[test]
fn a_device_that_is_not_there_is_said_to_be_missing() {
    in_namespace(&[], || {
        let device = Device { name: "wlan7".into(), index: 4711 };
        let error = datapath().attach_guard(&device, Mode::Unspecified).unwrap_err();
        assert!(matches!(error, AttachError::DeviceMissing { .. }));
        assert_eq!(error.to_string(), "there is no wlan7 (ifindex 4711) to attach the guard program to");
    });
}

#[rstest]
#[case::in_the_same_mode(Mode::Native, Mode::Native, libc::EBUSY)]
#[case::in_another_mode(Mode::Native, Mode::Skb, libc::EEXIST)]
#[case::however_it_can_be(Mode::Skb, Mode::Unspecified, libc::EEXIST)]
fn a_foreign_program_is_never_replaced(#[case] first: Mode, #[case] second: Mode, #[case] errno: i32) {
    in_namespace(&["a0"], || {
        let foreign = PortProgram::load(None).unwrap();
        let theirs = foreign.attach(&device("a0"), first).unwrap();
        let ours = datapath();
        let error = ours.attach_uplink(&device("a0"), second).unwrap_err();
        assert!(matches!(error, AttachError::ForeignProgram { .. }), "{error:?}");
        assert_eq!(error.errno(), Some(errno));
        theirs.detach().unwrap();
        let _ours = ours.attach_uplink(&device("a0"), second).expect("the device is free now");
    });
}

#[test]
fn a_program_attached_by_netlink_is_foreign_too() {
    in_namespace(&["a0", "b0"], || {
        // By bpftool and not by `ip link set a0 xdp obj …`: iproute2's loader mounts /sys/fs/bpf and leaves folders
        // there.
        let port = PortProgram::load(None).unwrap();
        let loaded = port.attach(&device("b0"), Mode::Native).unwrap();
        let status = std::process::Command::new("bpftool")
            .args(["net", "attach", "xdpdrv", "id", &loaded.program_id().to_string(), "dev", "a0"])
            .status()
            .expect("bpftool is installed");
        assert!(status.success());
        let error = datapath().attach_guard(&device("a0"), Mode::Unspecified).unwrap_err();
        assert!(matches!(error, AttachError::ForeignProgram { .. }), "{error:?}");
    });
}

#[test]
fn dropping_an_attachment_frees_the_device() {
    in_namespace(&["a0"], || {
        let datapath = datapath();
        for _ in 0..3 {
            let _attachment = datapath.attach_guard(&device("a0"), Mode::Native).unwrap();
        }
    });
}

#[test]
fn an_attachment_outlives_the_datapath_and_its_device_may_go_first() {
    in_namespace(&["a0"], || {
        let datapath = datapath();
        let attachment = datapath.attach_uplink(&device("a0"), Mode::Native).unwrap();
        drop(datapath);
        assert!(describe_program(attachment.program_id()).unwrap().is_some());
        ip(&["link", "del", "a0"]);
        attachment.detach().expect("a device that is gone is not an error");
    });
}

#[test]
fn live_frames_run_through_the_uplink_program() {
    in_namespace(&["a0"], || {
        let datapath = datapath();
        let frame = ethernet(MAC_FAR, MAC_A, 0x88b5, &[0; 46]);
        datapath.inject_at_uplink(&frame, device("a0").index, 1000).unwrap();
        datapath.inject_at_uplink(&frame, device("a0").index, 0).unwrap();
        let counters = datapath.uplink_counters().unwrap();
        assert_eq!((counters.seen(), counters.passed()), (1000, 1000));
    });
}
