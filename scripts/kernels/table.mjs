// What is tried, what drivers are known to lack, and which steps may fail for it. All of it is data.

/** Kernels by the suite that they come from; the last one is the newest of all suites but experimental. */
export const kernels = [{ suite: 'bookworm' }, { suite: 'trixie' }, {}]

/** Modes of the uplink's program that are tried with a card. */
const both = ['native', 'skb']

/**
 * Each with the kernel's module and QEMU's device, of which the guest gets two, joined by a wire. The lab has neither: `xsknetd lab`
 * makes a veth pair.
 */
// biome-ignore format: a table
export const drivers = [
  { driver: 'veth',       modes: ['unspecified', ...both] },
  { driver: 'virtio-net', module: 'virtio_net', device: 'virtio-net-pci,mq=on,vectors=10', modes: both },
  { driver: 'e1000e',     module: 'e1000e',     device: 'e1000e',                          modes: ['unspecified', ...both] },
  { driver: 'igb',        module: 'igb',        device: 'igb',                             modes: both },
  { driver: 'vmxnet3',    module: 'vmxnet3',    device: 'vmxnet3',                         modes: both },
]

/**
 * Steps that fail for a reason that is not ours, each with its source. What is left out is the same for all: a kernel, a driver, a mode.
 * A step that fails because something is missing in XSKNet has no place here.
 */
export const expectations = []
