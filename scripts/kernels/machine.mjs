// One virtual machine: QEMU in software, which works inside a virtual machine, too. The wire between its two NICs is a
// hub of QEMU's own where the host need not take part. All that it has of the host is gone with the process, and the
// process with this one.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, mkdirSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Stop } from '../lib/run.mjs'
import { TOOLS_FOLDER, tool } from './image.mjs'
import { place } from './place.mjs'

const PROCESSORS = 2
const MEMORY = 1536 // MiB; the system is in it
const MINUTES = 30 // more than any run has taken, with a machine that is busy otherwise
const QUEUES = 4 // virtio-net sends from XDP on queues of its own, one a processor

/**
 * What only a tap of the host offers a guest, and virtio-net has: several queues, checksums and segments that are left
 * to the receiver. The namespace of the taps and of the bridge between them has no name, so that it ends with QEMU.
 */
const TAPS = `
ip link set lo up
ip link add wire type bridge mcast_snooping 0
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 # nothing else is to speak on the wire
ip link set wire up
for tap in near far; do
  ip tuntap add $tap mode tap vnet_hdr multi_queue
  ip link set $tap master wire up
done
exec "$@"`

/** Runs the steps of a driver on a kernel; `onLine` gets the lines of the guest's console that begin with `@@`. */
export async function runMachine({ kernel, folder }, { driver, module = '', device, taps = false, modes }, onLine) {
  mkdirSync(`${place}log`, { recursive: true })
  const log = createWriteStream(`${place}log/${kernel}-${driver}.log`)
  const [qemu, before] = tool('bin/qemu-system-x86_64')
  const words =
    'console=ttyS0 quiet panic=-1 mitigations=off ' +
    `xsknet.driver=${driver} xsknet.module=${module} xsknet.modes=${modes}`
  const share = `${TOOLS_FOLDER}/usr/share`
  // biome-ignore format: an option a line
  const options = [
    '-nodefaults', '-no-reboot', '-display', 'none', '-serial', 'stdio',
    '-L', `${share}/qemu`, '-L', `${share}/seabios`,
    '-machine', 'q35,usb=off', '-accel', 'tcg', '-cpu', 'max', '-smp', `${PROCESSORS}`, '-m', `${MEMORY}`,
    '-kernel', `${folder}vmlinuz`, '-initrd', `${folder}initrd`, '-append', words,
    '-device', 'virtio-rng-pci',
    ...(device ? ['near', 'far'].flatMap((name, index) => nic(name, index + 1, device, taps)) : []),
  ]
  const surroundings = ['--pdeathsig', 'KILL', ...(taps ? ['unshare', '--net', 'sh', '-ec', TAPS, 'taps'] : [])]
  const child = spawn('setpriv', [...surroundings, qemu, ...before, ...options], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, QEMU_MODULE_DIR: `${TOOLS_FOLDER}/usr/lib/x86_64-linux-gnu/qemu` },
  })
  let ending
  const end = (why) => {
    ending = why
    child.kill('SIGKILL')
  }
  const timer = setTimeout(end, MINUTES * 60_000, 'late')
  process.on('SIGINT', end).on('SIGTERM', end)
  child.stderr.pipe(log, { end: false })
  child.stdout.pipe(log, { end: false })
  createInterface(child.stdout).on('line', (line) => {
    if (line.startsWith('@@ ')) onLine(line.slice(3).trimEnd())
    // It has no disk, and a device that hangs would not let it power off.
    if (line.startsWith('@@ end')) child.kill('SIGKILL')
  })
  await once(child, 'close')
  log.end()
  clearTimeout(timer)
  process.off('SIGINT', end).off('SIGTERM', end)
  if (ending && ending !== 'late') throw new Stop(`ended by ${ending}`)
}

function nic(name, number, device, taps) {
  return [
    ...[
      '-netdev',
      taps
        ? `tap,id=${name},ifname=${name},script=no,downscript=no,vhost=off,queues=${QUEUES}`
        : `hubport,id=${name},hubid=1`,
    ],
    // Behind a PCI Express port of its own, which igb and e1000e are made for and the others do not mind.
    ...['-device', `pcie-root-port,id=slot${number},slot=${number},chassis=${number}`],
    ...['-device', `${device},netdev=${name},bus=slot${number},mac=52:54:00:00:00:0${number},romfile=`],
  ]
}
