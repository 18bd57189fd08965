// What is tried, what drivers are known to lack, and which steps may fail for it. All of it is data.

/** Kernels by the suite that they come from; the last one is the newest of all suites but experimental. */
export const kernels = [{ suite: 'bookworm' }, { suite: 'trixie' }, {}]

/** Modes of the uplink's program that are tested with a NIC. */
const both = ['native', 'skb']

/**
 * Each with the kernel's module and QEMU's device, of which the guest gets two, joined by a wire. The lab has neither:
 * `xsknetd lab` makes a veth pair.
 */
// biome-ignore format: a table
export const drivers = [
  { driver: 'veth',       modes: ['unspecified', ...both] },
  { driver: 'virtio-net', module: 'virtio_net', device: 'virtio-net-pci,mq=on,vectors=10', taps: true, modes: both },
  { driver: 'e1000e',     module: 'e1000e',     device: 'e1000e',                   modes: ['unspecified', ...both] },
  { driver: 'igb',        module: 'igb',        device: 'igb',                      modes: both },
  { driver: 'vmxnet3',    module: 'vmxnet3',    device: 'vmxnet3',                  modes: both },
]

/**
 * What kernels and drivers are known to lack: a step that fails for it, saying `says`, is not a fault of ours. What is
 * left out of a row is the same for all. A step that fails because something is missing in XSKNet has no place here.
 */
export const quirks = [
  {
    driver: 'e1000e',
    mode: 'native',
    step: 'start: daemon',
    says: /ERR_XSKNET_PROGRAM_REFUSED/,
    reason: 'the driver has no XDP',
    source: 'drivers/net/ethernet/intel/e1000e/netdev.c: e1000e_netdev_ops has no ndo_bpf',
  },
  {
    mode: 'skb',
    step: 'refused: sums',
    says: /"between the programs"/,
    reason: 'a redirect that the kernel refuses in skb mode is counted nowhere',
    source: 'net/core/filter.c: xdp_do_generic_redirect() frees the frame; docs/losses.md',
  },
  {
    driver: 'igb',
    mode: 'native',
    step: 'refused: sums',
    says: /"between the programs"/,
    reason: 'the driver counts a redirect that the kernel refuses nowhere: the sum is null',
    source: 'drivers/net/ethernet/intel/igb/igb_main.c: igb_run_xdp()',
  },
  {
    driver: 'e1000e',
    mode: 'unspecified',
    step: 'refused: sums',
    says: /"between the programs"/,
    reason: 'the same: without XDP in the driver, this mode is skb',
    source: 'drivers/net/ethernet/intel/e1000e/netdev.c: e1000e_netdev_ops has no ndo_bpf',
  },
  {
    kernel: '6.1',
    step: 'start: daemon',
    says: /ERR_XSKNET_ABILITY_MISSING/,
    reason: 'rings of a bound socket cannot be mapped, and the daemon refuses to start and says so',
    source: 'net/xdp/xsk.c: xsk_mmap() refuses any state but XSK_READY; since 6.4 it takes XSK_BOUND, too',
  },
  ...['traffic: udp', 'traffic: udp, 1400 bytes', 'traffic: udp IPv6', 'rings: udp, 1400 bytes'].map((step) => ({
    driver: 'virtio-net',
    mode: 'skb',
    step,
    says: /0 of \d+ bytes/,
    reason: 'the hypervisor leaves checksums of UDP unfinished, and generic XDP cannot see that; `attempts` says so',
    source: 'drivers/net/virtio_net.c: VIRTIO_NET_HDR_F_NEEDS_CSUM becomes CHECKSUM_PARTIAL; docs/recipes.md',
  })),
  ...['wire: foreign program after another MTU', 'wire: foreign program after NIC down and up'].map((step) => ({
    driver: 'vmxnet3',
    step,
    says: /the program is not run/,
    reason: 'the driver forgets a native program whenever it sets up its queues anew, and the kernel shows it attached',
    source:
      'drivers/net/vmxnet3/vmxnet3_drv.c: vmxnet3_change_mtu() and vmxnet3_close() call vmxnet3_quiesce_dev(), and ' +
      'vmxnet3_rq_cleanup_all() then sets xdp_bpf_prog to NULL, without bpf_prog_put()',
  })),
  ...['wire: driver with a foreign program unbound', 'gone: device', 'gone: device again'].map((step) => ({
    driver: 'virtio-net',
    step,
    reason: 'the driver cannot be unbound while a native program is attached, ours or another',
    source:
      'drivers/net/virtio_net.c: virtnet_xdp_set() takes the queues for XDP away while the device is unregistered, ' +
      'and net/core/dev.c: netif_set_real_num_rx_queues() then leaves their objects, which hold the device',
  })),
]
