/**
 * Every error that can be provoked from outside, as its receiver sees it; what cannot is listed in
 * unit/error-codes.test.ts. Whatever was refused has changed nothing.
 *
 * @module
 */
import { chmodSync, closeSync, copyFileSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { createServer } from 'node:net'
import { release } from 'node:os'
import { crc32 } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import { type Batch, connect, type Network, type PortEntry, type PortOptions, type XsknetErrorCode } from 'xsknet'
import { RELEASE } from 'xsknet/protocol'
import type { DaemonOptions } from 'xsknetd'
import { native } from '../../packages/xsknet/src/platform/native.js'
import { thisPlatform } from '../../packages/xsknetd/src/platform/native.js'
import { withRightsOf } from '../helpers/client.js'
import { Conversation } from '../helpers/conversation.js'
import { Daemon, GRANT, NOBODY, STATE } from '../helpers/daemon.js'
import { CARD, FAR, HOST, Lab, portAddresses, portPrefixes, REMOTE, rustExample } from '../helpers/lab.js'
import { inside, Program, run, waitUntil } from '../helpers/program.js'
import { Scene } from '../helpers/scene.js'
import { root } from '../helpers/workspace.js'

/** All that an error tells. */
interface Told {
  code: XsknetErrorCode
  message: string | RegExp
  /** Absent where the message says all there is to do. */
  hint?: RegExp
  details?: Record<string, unknown>
  /** What the kernel said. */
  cause?: { code: string; errno: number; syscall?: string }
}

function tells(t: ExecutionContext, told: unknown, expected: Told): void {
  const { code, message, hint, details = {}, cause } = told as Told
  const all = JSON.stringify({ code, message, hint, details, cause })
  t.is(code, expected.code, all)
  if (typeof expected.message === 'string') t.is(message, expected.message)
  else t.regex(message as string, expected.message)
  if (expected.hint) t.regex(String(hint), expected.hint, all)
  else t.is(hint, undefined, all)
  t.deepEqual(details, expected.details ?? {}, all)
  if (expected.cause) t.like(cause, expected.cause, all)
}

async function refused(t: ExecutionContext, attempt: Promise<unknown>, expected: Told): Promise<void> {
  tells(t, await t.throwsAsync(attempt, undefined, `no ${expected.code}`), expected)
}

function throws(t: ExecutionContext, attempt: () => unknown, expected: Told): void {
  tells(t, t.throws(attempt, undefined, `no ${expected.code}`), expected)
}

/** Starts daemons on the lab's host and tells how they were refused; `front` are words in front of its command. */
class Starter {
  readonly #conversation: Conversation

  constructor(lab: Lab, ...front: string[]) {
    const node = [process.execPath, '--import=@oxc-node/core/register', '__test__/helpers/programs/starter.ts']
    const env = { STATE_DIRECTORY: `${lab.folder}/${STATE}` }
    this.#conversation = new Conversation(inside(lab.host.namespace, [...front, ...node]), { cwd: root, env })
    lab.owner.teardown(async () => {
      await this.#conversation.program.kill()
    })
  }

  start(options: DaemonOptions): Promise<void> {
    return this.#conversation.ask({ do: 'start', options })
  }
}

test.serial('a daemon that cannot start says why, and leaves the machine as it was', async (t) => {
  const lab = await Lab.create(t)
  await lab.snapshot()
  const starter = new Starter(lab)
  const instance = `${lab.instances}b`
  const start = (options: Partial<DaemonOptions>) => starter.start({ uplinks: [CARD], instance, ...options })
  const rows: [Partial<DaemonOptions>, Told][] = [
    [
      { uplinks: [CARD, 'nosuch0'] },
      {
        code: 'ERR_XSKNET_DEVICE_MISSING',
        message: 'there is no device `nosuch0`',
        hint: /`ip link` lists/,
        details: { device: 'nosuch0' },
      },
    ],
    [
      { uplinks: ['all'] },
      {
        code: 'ERR_XSKNET_DEVICE_NAME_INVALID',
        message: /^"all" is not a device name: 1 to 15 bytes/,
        details: { device: 'all' },
      },
    ],
    [
      { uplinks: ['lo'] },
      {
        code: 'ERR_XSKNET_DEVICE_NOT_ETHERNET',
        message: '`lo` is not an Ethernet device',
        hint: /^Choose an Ethernet interface\.$/,
        details: { device: 'lo' },
      },
    ],
    [
      { mode: 'hw' },
      {
        code: 'ERR_XSKNET_PROGRAM_REFUSED',
        message: `cannot attach to \`${CARD}\``,
        hint: /ask for native or skb mode/,
        details: { device: CARD },
        cause: { code: 'EINVAL', errno: -22 },
      },
    ],
    [
      { grants: [{ user: NOBODY, uplinks: [CARD], addresses: ['192.0.2.9/29'] }] },
      {
        code: 'ERR_XSKNET_CONFIGURATION_INVALID',
        message:
          /`grants\[0\]\.addresses\[0\]`: invalid address `192\.0\.2\.9\/29`: .* Did you mean 192\.0\.2\.8\/29\?$/,
        hint: /`xsknetd --help`/,
        details: { key: 'grants[0].addresses[0]' },
      },
    ],
    [
      { socket: `${lab.folder}/not/there.sock` },
      {
        code: 'ERR_XSKNET_KERNEL_REFUSED',
        message: `cannot make the socket ${lab.folder}/not/there.sock`,
        hint: /^The folder does not exist: make it\.$/,
        details: { attempt: 'make the socket', path: `${lab.folder}/not/there.sock` },
        cause: { code: 'ENOENT', errno: -2 },
      },
    ],
  ]
  for (const [options, told] of rows) {
    await refused(t, start(options), told)
    t.deepEqual(await lab.compare(), [], told.code)
  }

  const { id, name, tag, takeOff } = await foreignProgram(lab)
  await refused(t, start({}), {
    code: 'ERR_XSKNET_DEVICE_FOREIGN_PROGRAM',
    message: `\`${CARD}\` carries XDP program ${id} \`${name}\` (tag ${tag}, skb mode), which is not ours`,
    hint: /`ip link set dev card0 xdp off`.*choose another NIC/,
    details: { device: CARD, id, name, tag, mode: 'skb' },
  })
  await takeOff()
  t.deepEqual(await lab.compare(), [])

  await lab.host.output('ip', 'link', 'add', 'mv0', 'link', CARD, 'type', 'macvlan', 'mode', 'bridge')
  await refused(t, start({ uplinks: ['mv0'] }), {
    code: 'ERR_XSKNET_DEVICE_DEAF',
    message: 'no port on `mv0` would receive a unicast frame: a macvlan gets unicast frames for its own MAC only',
    hint: /^Choose the device below it, or a macvlan in mode passthru/,
    details: { device: 'mv0' },
  })
  await lab.host.output('ip', 'link', 'del', 'mv0')
  t.deepEqual(await lab.compare(), [])

  const running = await Daemon.start(lab)
  await refused(t, start({}), {
    code: 'ERR_XSKNET_DEVICE_MANAGED',
    message: `\`${CARD}\` is already managed by instance \`${running.instance}\``,
    hint: new RegExp(`a start of instance \`${running.instance}\` gives the NIC back`),
    details: { device: CARD, instance: running.instance },
  })
  await refused(t, start({ instance: running.instance }), {
    code: 'ERR_XSKNET_INSTANCE_RUNNING',
    message: `instance \`${running.instance}\` is already running`,
    hint: /choose another instance name/,
    details: { instance: running.instance },
  })
  const journal = `/run/xsknet/${instance}.journal`
  writeFileSync(journal, 'no journal at all\n')
  t.teardown(() => rmSync(journal, { force: true }))
  await refused(t, start({}), {
    code: 'ERR_XSKNET_JOURNAL_DAMAGED',
    message: `line 1 of the journal ${journal} is damaged: no checksum`,
    hint: new RegExp(`remove ${journal} and start again`),
    details: { path: journal, line: 1, why: 'no checksum' },
  })
  t.is(readFileSync(journal, 'utf8'), 'no journal at all\n')
  // As a later release would begin it.
  const header = '{"record":"header","version":99,"more":true}'
  const later = `${crc32(header).toString(16).padStart(8, '0')} ${header}\n`
  writeFileSync(journal, later)
  await refused(t, start({}), {
    code: 'ERR_XSKNET_JOURNAL_VERSION',
    message: `the journal ${journal} has version 99; this release reads up to version 2`,
    hint: /start the newer release that wrote it.* or reboot/,
    details: { path: journal, found: 99, known: 2 },
  })
  t.is(readFileSync(journal, 'utf8'), later)
  rmSync(journal)
  const secret = `${lab.folder}/${STATE}/secret`
  const kept = readFileSync(secret)
  writeFileSync(secret, 'short')
  await refused(t, start({}), {
    code: 'ERR_XSKNET_SECRET_INVALID',
    message: `cannot read the secret ${secret}`,
    hint: new RegExp(`^Remove ${secret}`),
    details: { attempt: 'read', path: secret },
  })
  writeFileSync(secret, kept)

  t.like(await running.ask('status'), { instance: running.instance, uplinks: [{ uplink: CARD }] })
  await running.stop()

  // The configuration has a word for this first.
  const invalid = `${lab.instances}${'x'.repeat(32)}`
  await refused(t, thisPlatform.instance().begin(invalid), {
    code: 'ERR_XSKNET_INSTANCE_NAME_INVALID',
    message: new RegExp(`${invalid}.*1 to 32`),
    details: { name: invalid },
  })

  await start({})
  t.deepEqual(await lab.compare(), [])
})

/** An XDP program of somebody's on the uplink. */
async function foreignProgram(lab: Lab) {
  const source = `${lab.folder}/foreign.c`
  const object = `${lab.folder}/foreign.o`
  writeFileSync(source, 'int pass(void *frame) __attribute__((section("xdp"))); int pass(void *frame) { return 2; }\n')
  await lab.host.output('clang', '-O2', '-target', 'bpf', '-c', source, '-o', object)
  // It mounts bpffs, which must not stay.
  await lab.host.output('unshare', '--mount', 'ip', 'link', 'set', CARD, 'xdpgeneric', 'obj', object, 'sec', 'xdp')
  const [link] = JSON.parse(await lab.host.output('ip', '-json', '-details', 'link', 'show', CARD))
  const { id, name = '', tag } = link.xdp.prog as { id: number; name?: string; tag: string }
  const takeOff = () => lab.host.output('ip', 'link', 'set', CARD, 'xdpgeneric', 'off')
  return { id, name, tag, takeOff }
}

test.serial('a daemon in a sandbox, or without a right that it needs, says what is missing', async (t) => {
  const lab = await Lab.create(t)
  await lab.snapshot()
  const instance = `${lab.instances}b`
  const netns = `/run/xsknet/${instance}/netns`
  const without = (capability: string) => [
    'setpriv',
    `--bounding-set=-${capability}`,
    `--inh-caps=-${capability}`,
    '--',
  ]
  const rows: [string[], Told][] = [
    [
      ['unshare', '--mount', '--propagation', 'private', '--'],
      {
        code: 'ERR_XSKNET_MOUNTS_HIDDEN',
        message: `process 1 does not see the mount at ${netns}: the mounts of this process are its own`,
        hint: /PrivateMounts=.*nsenter --target 1 --mount/,
        details: { path: netns },
      },
    ],
    [
      without('net_raw'),
      {
        code: 'ERR_XSKNET_ABILITY_MISSING',
        message: `this kernel, Linux ${release()}, gives this process no AF_XDP sockets (CONFIG_XDP_SOCKETS)`,
        hint: /CAP_NET_RAW/,
        details: { ability: 'AF_XDP sockets (CONFIG_XDP_SOCKETS)' },
        cause: { code: 'EPERM', errno: -1 },
      },
    ],
    [
      without('sys_admin'),
      {
        code: 'ERR_XSKNET_ABILITY_MISSING',
        message: `this kernel, Linux ${release()}, gives this process no network namespaces (CONFIG_NET_NS)`,
        hint: /CAP_SYS_ADMIN/,
        details: { ability: 'network namespaces (CONFIG_NET_NS)' },
        cause: { code: 'EPERM', errno: -1 },
      },
    ],
  ]
  for (const [front, told] of rows) {
    await refused(t, new Starter(lab, ...front).start({ uplinks: [CARD], instance }), told)
    t.deepEqual(await lab.compare(), [], told.code)
  }
})

test.serial(
  'a port that cannot be is refused with what stands in its way, and the port beside it goes on',
  async (t) => {
    const scene = await Scene.open(t)
    const { lab, daemon } = scene
    const first = await scene.answering(0, {}, { name: 'first' })
    const net = await connected(t, daemon)
    // Names are each user's own, and this one's is root.
    const named = await net.openPort({ uplink: CARD, addresses: [portAddresses(2)[0]], name: 'first' })
    const [free] = portAddresses(1)
    const taken = portAddresses(0)[0]
    const open = (options: Partial<PortOptions>) => net.openPort({ uplink: CARD, addresses: [free], ...options })
    const rows: [Partial<PortOptions>, Told][] = [
      [
        { uplink: 'nosuch0' },
        {
          code: 'ERR_XSKNET_UPLINK_MISSING',
          message: '`nosuch0` is not managed by this instance',
          hint: /xsknetd status/,
          details: { uplink: 'nosuch0' },
        },
      ],
      [
        { addresses: [] },
        {
          code: 'ERR_XSKNET_ADDRESS_MISSING',
          message: `the request for a port on ${CARD} has neither an address nor flows`,
          hint: /such as 192\.0\.2\.10\/24, or flows of the host/,
          details: { uplink: CARD },
        },
      ],
      [
        { addresses: ['192.0.2.300'] },
        {
          code: 'ERR_XSKNET_ADDRESS_INVALID',
          message: 'invalid address `192.0.2.300`: it is not an IP address',
          hint: /Write an address such as 192\.0\.2\.10/,
          details: { address: '192.0.2.300' },
        },
      ],
      [
        { addresses: ['224.0.0.1'] },
        {
          code: 'ERR_XSKNET_ADDRESS_INVALID',
          message: "224.0.0.1 cannot be a port's address: it is a multicast address",
          hint: /^Give it the address of one host/,
          details: { address: '224.0.0.1', what: 'a multicast address' },
        },
      ],
      [
        { addresses: [free, taken] },
        {
          code: 'ERR_XSKNET_ADDRESS_TAKEN',
          message: `${taken} on \`${CARD}\` belongs to port \`first\``,
          hint: /^Choose an address/,
          details: { address: taken, uplink: CARD, holder: 'port `first`' },
        },
      ],
      [
        { addresses: [REMOTE.v4] },
        {
          code: 'ERR_XSKNET_ADDRESS_TAKEN',
          message: `${REMOTE.v4} on \`${CARD}\` belongs to a neighbour with the MAC ${lab.farMac}`,
          hint: /^Choose an address/,
          details: { address: REMOTE.v4, uplink: CARD, holder: `a neighbour with the MAC ${lab.farMac}` },
        },
      ],
      [
        { addresses: [free, REMOTE.v6] },
        {
          code: 'ERR_XSKNET_ADDRESS_TAKEN',
          message: `${REMOTE.v6} on \`${CARD}\` belongs to a neighbour with the MAC ${lab.farMac}`,
          hint: /^Choose an address/,
          details: { address: REMOTE.v6, uplink: CARD, holder: `a neighbour with the MAC ${lab.farMac}` },
        },
      ],
      [
        { addresses: [HOST.v6] },
        {
          code: 'ERR_XSKNET_ADDRESS_TAKEN',
          message: `${HOST.v6} on \`${CARD}\` belongs to the host`,
          hint: /^Choose an address/,
          details: { address: HOST.v6, uplink: CARD, holder: 'the host' },
        },
      ],
      [
        { name: 'a:b' },
        {
          code: 'ERR_XSKNET_NAME_INVALID',
          message: '`a:b` cannot name a port: it takes 1 to 64 letters, digits, `-`, `_` and `.`',
          hint: /^Names have 1 to 64 letters/,
          details: { name: 'a:b' },
        },
      ],
      [
        { name: 'first' },
        {
          code: 'ERR_XSKNET_NAME_TAKEN',
          message: `\`${CARD}\` has a port named \`first\``,
          hint: /^Choose another name/,
          details: { name: 'first', uplink: CARD },
        },
      ],
      [
        { vlan: 4095 },
        {
          code: 'ERR_XSKNET_VLAN_INVALID',
          message: 'invalid VLAN ID 4095',
          hint: /1 to 4094; omit `vlan`/,
          details: { vlan: 4095 },
        },
      ],
      [
        { mtu: 1501 },
        {
          code: 'ERR_XSKNET_MTU_ABOVE_UPLINK',
          message: `an MTU of 1501 is more than the 1500 of \`${CARD}\``,
          hint: /^Leave the MTU out/,
          details: { mtu: 1501, uplinkMtu: 1500, uplink: CARD },
        },
      ],
      [
        { mtu: 67 },
        {
          code: 'ERR_XSKNET_MTU_TOO_SMALL',
          message: 'an MTU of 67 is less than 68, the minimum of IPv4',
          hint: /^Leave the MTU out/,
          details: { mtu: 67, least: 68 },
        },
      ],
      [
        { headroom: 400, multiBuffer: false },
        {
          code: 'ERR_XSKNET_MTU_TOO_LARGE',
          message:
            'an MTU of 1500 needs 1518 bytes per frame, and with chunks of 2048 bytes a frame can have 1392: ' +
            'that is an MTU of 1374 at most',
          hint: /several chunks \(multi-buffer\)/,
          details: { mtu: 1500, needed: 1518, frameSize: 2048, capacity: 1392, most: 1374 },
        },
      ],
      [
        { ringSize: 100 },
        {
          code: 'ERR_XSKNET_LAYOUT_INVALID',
          message: '100 slots were asked for the RX ring; it can have a power of two up to 65536',
          details: { ring: 'RX', slots: 100 },
        },
      ],
      [
        { frameSize: 1000 },
        {
          code: 'ERR_XSKNET_LAYOUT_INVALID',
          message: 'a chunk of 1000 bytes was asked for; it can have 2048 or 4096',
          details: { frameSize: 1000 },
        },
      ],
      [
        { zeroCopy: 'require' },
        {
          code: 'ERR_XSKNET_SOCKET_REFUSED',
          message: "cannot make the port's socket",
          hint: /^The driver has no zero-copy/,
          details: { call: 'bind', mode: 'zero-copy', device: first.info.inner.replace(/-1$/, '-3'), queue: 0 },
          cause: { code: 'EOPNOTSUPP', errno: -95, syscall: 'bind' },
        },
      ],
      [
        { rings: 'bpf', frameSize: 4096 },
        {
          code: 'ERR_XSKNET_RINGS_UNAVAILABLE',
          message: `a port of \`${CARD}\` cannot have BPF rings: BPF rings take chunks of 2048 bytes, not of 4096`,
          hint: /^Open the port with AF_XDP's rings/,
          details: { uplink: CARD, why: 'BPF rings take chunks of 2048 bytes, not of 4096' },
        },
      ],
      [
        { mac: 'own', addresses: [], flows: ['udp dst port 5301'] },
        {
          code: 'ERR_XSKNET_NOT_SUPPORTED',
          message: 'a port without addresses has no MAC of its own',
          hint: /use 'uplink'/,
          details: { mac: 'own' },
        },
      ],
    ]
    const links = await lab.host.output('ip', '-o', 'link')
    for (const [options, told] of rows) {
      await refused(t, open(options), told)
      t.is(await lab.host.output('ip', '-o', 'link'), links, told.code)
    }

    await refused(t, net.portStatistics(99), {
      code: 'ERR_XSKNET_PORT_UNKNOWN',
      message: 'user 0 has no port 99',
      hint: /the number in their info/,
      details: { port: 99 },
    })

    await lab.remote.output('ip', 'link', 'set', FAR, 'down')
    await refused(t, open({}), {
      code: 'ERR_XSKNET_LINK_DOWN',
      message: `\`${CARD}\` has no carrier, so no frame can be sent`,
      hint: /its other end/,
      details: { uplink: CARD, state: 'has no carrier' },
    })
    await lab.remote.output('ip', 'link', 'set', FAR, 'up')

    t.deepEqual(
      (await net.ports()).map(({ name, uid }) => [name, uid]),
      [
        ['first', NOBODY],
        ['first', 0],
      ],
    )
    t.is((await lab.udpEcho(taken, [100, 1472])).identical, 2)
    await (await open({})).close()
    await named.close()
    await scene.end(t)
  },
)

test.serial('a MAC that a neighbour has is refused: a named port keeps its own through all starts', async (t) => {
  const { lab, daemon } = await Scene.open(t)
  const asked = { uplink: CARD, addresses: portPrefixes(0) }
  const net = await connected(t, daemon)
  const first = await net.openPort({ ...asked, name: 'dns' })
  const { mac } = first.info
  await first.close()
  t.deepEqual(await daemon.stop(), { code: 0, signal: null })

  await lab.remote.output('ip', 'link', 'set', FAR, 'address', mac)
  // The host hears of it.
  await lab.remote.output('ping', '-c', '1', '-W', '1', HOST.v4)
  const again = await Daemon.start(lab)
  const later = await connected(t, again)
  await refused(t, later.openPort({ ...asked, name: 'dns' }), {
    code: 'ERR_XSKNET_MAC_TAKEN',
    message: `${mac} on \`${CARD}\` belongs to a neighbour`,
    hint: /^Leave the MAC out/,
    details: { mac, uplink: CARD, holder: 'a neighbour' },
  })
  await (await later.openPort({ ...asked, name: 'other' })).close()
  t.deepEqual(await again.stop(), { code: 0, signal: null })
})

test.serial('what the policy does not grant is refused, with the lines that would grant it', async (t) => {
  const addresses = '"192.0.2.10", "192.0.2.11"'
  const limits = 'ports = 2\nmemory = "24MiB"'
  const grant = `[[grant]]\nuser = ${NOBODY}\nuplinks = ["${CARD}"]\naddresses = [${addresses}]\n${limits}\n`
  const scene = await Scene.open(t, { config: grant })
  const { lab, daemon } = scene
  const origin = `the 1st [[grant]] of ${lab.folder}/${daemon.instance}.toml`
  const first = await scene.answering(0, {}, { addresses: ['192.0.2.10'] })
  const client = await scene.client()
  const wish = { uid: NOBODY, uplink: CARD, addresses: ['192.0.2.11'], vlan: null }
  const lines = (...all: string[]) => new RegExp(`:\\n${all.map(escaped).join('\\n')}$`)
  const rows: [Partial<PortOptions>, Told][] = [
    [
      { uplink: 'lo' },
      {
        code: 'ERR_XSKNET_NOT_PERMITTED',
        message: `user ${NOBODY} may not open a port on the uplink lo`,
        hint: lines('[[grant]]', `user = ${NOBODY}`, 'uplinks = ["lo"]', 'addresses = ["192.0.2.11"]'),
        details: { ...wish, uplink: 'lo' },
      },
    ],
    [
      { addresses: ['192.0.2.12/24'] },
      {
        code: 'ERR_XSKNET_NOT_PERMITTED',
        message: `user ${NOBODY} may not use the address 192.0.2.12 on the uplink ${CARD}`,
        hint: lines(`addresses = [${addresses}, "192.0.2.12"]`),
        details: { ...wish, addresses: ['192.0.2.12'] },
      },
    ],
    [
      { vlan: 7 },
      {
        code: 'ERR_XSKNET_NOT_PERMITTED',
        message: `user ${NOBODY} may not use VLAN 7 on the uplink ${CARD}`,
        hint: lines('vlans = ["untagged", 7]'),
        details: { ...wish, vlan: 7 },
      },
    ],
    [
      { frames: 8192 },
      {
        code: 'ERR_XSKNET_LIMIT_REACHED',
        message: `user ${NOBODY} has 16777216 bytes of UMEM and requests 16777216 more; the limit is 25165824`,
        hint: new RegExp(`or raise \`memory\` in ${escaped(origin)}\\.$`),
        details: { uid: NOBODY, limit: 'memory', has: 2 ** 24, asked: 2 ** 24, most: 24 * 2 ** 20 },
      },
    ],
  ]
  // What no grant would help is told as such, whatever the grants say of it.
  const invalid: [Partial<PortOptions>, XsknetErrorCode, RegExp][] = [
    [{ addresses: ['224.0.0.1'] }, 'ERR_XSKNET_ADDRESS_INVALID', /it is a multicast address$/],
    [{ addresses: ['198.51.100.0/24'] }, 'ERR_XSKNET_ADDRESS_INVALID', /the network address of 198\.51\.100\.0\/24$/],
    [
      { addresses: ['198.51.100.255/24'] },
      'ERR_XSKNET_ADDRESS_INVALID',
      /the broadcast address of 198\.51\.100\.0\/24$/,
    ],
    [{ addresses: ['198.51.100.1', '198.51.100.1'] }, 'ERR_XSKNET_ADDRESS_INVALID', /listed twice$/],
    [{ ringSize: 100, frames: 2 ** 20 }, 'ERR_XSKNET_LAYOUT_INVALID', /^100 slots were asked for the RX ring/],
    [{ mtu: 1501, vlan: 7 }, 'ERR_XSKNET_MTU_ABOVE_UPLINK', /^an MTU of 1501/],
    // Of an uplink that the user may not know of, nothing is told.
    [{ mtu: 1501, uplink: FAR }, 'ERR_XSKNET_NOT_PERMITTED', /^user 65534 may not open a port/],
  ]
  const open = (options: Partial<PortOptions>) =>
    client.ask({ do: 'open', uplink: CARD, addresses: ['192.0.2.11'], ...options })
  for (const [options, told] of rows) await refused(t, open(options), told)
  for (const [options, code, message] of invalid) await t.throwsAsync(open(options), { code, message })
  await open({ ringSize: 64 })
  await refused(t, open({ ringSize: 64 }), {
    code: 'ERR_XSKNET_LIMIT_REACHED',
    message: `user ${NOBODY} has 2 ports and requests 1 more; the limit is 2`,
    hint: new RegExp(`or raise \`ports\` in ${escaped(origin)}\\.$`),
    details: { uid: NOBODY, limit: 'ports', has: 2, asked: 1, most: 2 },
  })
  chmodSync(daemon.socket, 0o600)
  await refused(t, scene.stranger().ask({ do: 'connect' }), {
    code: 'ERR_XSKNET_NOT_PERMITTED',
    message: `this user cannot access the socket ${daemon.socket}`,
    hint: /writable, for this user/,
    details: { socket: daemon.socket },
    cause: { code: 'EACCES', errno: -13, syscall: 'connect' },
  })
  t.is((await lab.udpEcho('192.0.2.10', [100])).identical, 1)
  t.is((await first.seen()).strange, 0)
  await scene.end(t)
})

test.serial(
  'no user, not even root, gets more memory than all ports together may take, and the daemon goes on',
  async (t) => {
    const lab = await Lab.create(t)
    await lab.snapshot()
    const memory = 40 * 2 ** 20
    const daemon = await Daemon.start(lab, { config: `[daemon]\nmemory = ${memory}\n${GRANT}` })
    const net = await connected(t, daemon)
    const open = (n: number, options: Partial<PortOptions> = {}) =>
      net.openPort({ uplink: CARD, addresses: portPrefixes(n), ...options })
    const told = (asked: number, has: number): Told => ({
      code: 'ERR_XSKNET_LIMIT_REACHED',
      message:
        `${asked} more bytes of UMEM would exceed the limit of ${memory} bytes for all ports together, ` +
        `of which ${has} are in use`,
      hint: /raise `memory` under \[daemon\] of the configuration\.$/,
      details: { uid: 0, limit: 'memory of all ports', asked, most: memory, has },
    })
    await refused(t, open(0, { frames: 2 ** 20, frameSize: 4096, queues: 8 }), told(2 ** 35, 0))
    const first = await open(0)
    const second = await open(1)
    await refused(t, open(2), told(2 ** 24, 2 ** 25))
    await second.close()
    for (const port of [first, await open(2)]) await port.close()
    // Unless it is said, it follows from what the machine has.
    t.deepEqual(await daemon.stop(), { code: 0, signal: null })
    const usual = await Daemon.start(lab)
    const { memory: half } = readyOf(usual)
    const [, kib] = /^MemTotal:\s*(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8')) ?? []
    t.true(half > 2 ** 25 && half <= (Number(kib) * 1024) / 2, `${half} bytes`)
    t.deepEqual(await usual.stop(), { code: 0, signal: null })
    t.deepEqual(await lab.compare(), [])
  },
)

/** What the log of a daemon says with `ready`. */
function readyOf({ program }: Daemon): { memory: number } {
  const line = program.lines.find((line) => / ready /.test(line)) ?? ''
  const [, memory] = / memory=(\d+)/.exec(line) ?? []
  return { memory: Number(memory) }
}

test.serial(
  'one user’s connections and one connection’s requests have a bound, and what is within it goes on',
  async (t) => {
    const scene = await Scene.open(t)
    const { daemon } = scene
    const net = await connected(t, daemon)
    // Root's places are more than anybody else's, so that it gets in whatever others do.
    const others = await Promise.all(Array.from({ length: 63 }, () => connect({ socket: daemon.socket })))
    await refused(t, connect({ socket: daemon.socket }), {
      code: 'ERR_XSKNET_LIMIT_REACHED',
      message: 'too many connections to the daemon',
      hint: /^The limit is 16 for a user with a grant, 4 for any other user, and 64 for all of these together/,
      details: { limit: 'connections', mostOfUser: 16, mostOfStranger: 4, mostOfStrangers: 64 },
    })
    await scene.client()
    await Promise.all(others.map((other) => other.close()))
    await waitUntil('without the others', async () => (await net.status()).clients === 2)

    daemon.program.signal('SIGSTOP')
    const asked: Promise<unknown>[] = []
    const refusals: unknown[] = []
    // The kernel takes some first, and the rest waits its turn here.
    while (refusals.length === 0) {
      for (let n = 0; n < 64; n++) asked.push(net.uplinks().catch((error) => refusals.push(error)))
      await Promise.resolve()
      if (asked.length > 100_000) throw new Error(`${asked.length} requests wait, and none was refused`)
    }
    for (const error of refusals)
      tells(t, error, {
        code: 'ERR_XSKNET_LIMIT_REACHED',
        message: '256 requests wait to be sent, and the daemon reads none',
        hint: /Await requests/,
        details: { limit: 'requests', most: 256 },
      })
    daemon.program.signal('SIGCONT')
    const answers = await Promise.all(asked)
    t.is(answers.filter((answer) => Array.isArray(answer)).length, asked.length - refusals.length)
    await scene.end(t)
  },
)

test.serial('a port that is used in ways that cannot be says so, and goes on', async (t) => {
  const scene = await Scene.open(t)
  const { lab, daemon } = scene
  const net = await connected(t, daemon)
  const port = await net.openPort({ uplink: CARD, addresses: portPrefixes(0), name: 'used' })
  const [address] = portAddresses(0)
  const arrive = (frames: number) => lab.flood({ mac: port.info.mac, address, port: 9 }, { frames }).done

  const reader = port.batches()
  let next = reader.next()
  const busy = { code: 'ERR_XSKNET_READER_BUSY', hint: /Read a port in one place/ } as const
  await refused(t, port.batches().next(), { ...busy, message: 'port used is being read already' })
  await refused(t, reader.next(), { ...busy, message: 'the last `next()` of this reader has not been answered yet' })

  const ended = (message: RegExp): Told => ({ code: 'ERR_XSKNET_LEASE_ENDED', message, hint: /`frame\.copy\(\)`/ })
  await arrive(1)
  const first: Batch = (await next).value
  const kept = first.at(0)
  next = reader.next()
  throws(t, () => first.length, ended(/^the batch was used after its lease/))
  throws(t, () => kept.uint8(0), ended(/^the frame was used after its lease/))

  await arrive(1)
  const second: Batch = (await next).value
  const sent = second.at(0)
  t.true(sent.send())
  throws(t, () => sent.uint8(0), ended(/after it was sent, forwarded, kept or dropped$/))
  const dropped = second.allocate()
  dropped?.drop()
  throws(t, () => dropped?.bytes(), ended(/after it was sent, forwarded, kept or dropped$/))
  next = reader.next()

  await refused(t, port.send(new Uint8Array(1515)), {
    code: 'ERR_XSKNET_FRAME_TOO_LONG',
    message: 'port used sends frames of at most 1514 bytes (its MTU of 1500, 14 of the Ethernet header), not 1515',
    hint: /in several packets, or open the port with a larger `mtu`/,
    details: { length: 1515, mtu: 1500, most: 1514 },
  })
  const short = { instanceOf: RangeError, code: 'ERR_OUT_OF_RANGE', message: /at least 14, an Ethernet header/ }
  await t.throwsAsync(port.send(new Uint8Array(13)), short)
  t.throws(() => port.trySend(new Uint8Array(1)), short)
  // Of what the kernel would complete and drop at the pair, nothing gets there.
  await reader.return?.()
  const descriptors = port.queue(0).batch(4)
  t.is(port.queue(0).allocate(descriptors), 4)
  for (const [n, length] of [13, 14, 1514, 1519].entries()) descriptors.descriptors[2 * n + 1] = length
  const { client: before } = await port.stats()
  t.is(port.queue(0).transmit(descriptors), 2)
  port.queue(0).kick()
  await waitUntil('both are sent', async () => (await port.stats()).chunks.tx === 0)
  const { client, daemon: told } = await port.stats()
  t.deepEqual(
    [client.refusedLengths - before.refusedLengths, client.sent - before.sent, client.refusedQueued],
    [2, 2, 0],
  )
  t.is(told?.innerTransmitDrops, 0)
  next = reader.next()
  await port.close()
  t.like(await next, { done: true }, 'a reader that waits ends as after the last frame')
  const closed: Told = {
    code: 'ERR_XSKNET_PORT_CLOSED',
    message: `port used on ${CARD} was closed`,
    details: { port: port.info.port, uplink: CARD },
  }
  await refused(t, port.send(new Uint8Array(60)), closed)
  await refused(t, port.batches().next(), closed)
  await refused(t, port.stats(), closed)
  await port.closed

  const stuck = await net.openPort({ uplink: CARD, addresses: portPrefixes(0), ringSize: 64 })
  await inPortsNamespace(daemon, 'ip', 'link', 'set', stuck.info.inner, 'down')
  await Promise.all(Array.from({ length: 64 }, () => stuck.send(new Uint8Array(60))))
  const waiting = stuck.send(new Uint8Array(60))
  const reason = new Error('enough')
  await Promise.all([
    refused(t, waiting, {
      code: 'ERR_XSKNET_PORT_CLOSED',
      message: `port ${stuck.info.name} on ${CARD} was closed`,
      details: { port: stuck.info.port, uplink: CARD },
    }),
    t.throwsAsync(stuck.closed, { is: reason }),
    stuck.destroy(reason),
  ])

  await net.close()
  await refused(t, net.uplinks(), { code: 'ERR_XSKNET_NETWORK_CLOSED', message: 'the network was closed' })
  t.deepEqual(await daemon.ask<PortEntry[]>('ports'), [])
  await scene.end(t)
})

test.serial(
  'a port that is taken away tells those who wait for it, and so does one whose rings were written over',
  async (t) => {
    const scene = await Scene.open(t)
    const { lab, daemon } = scene
    const net = await connected(t, daemon)
    const neighbour = await scene.answering(1)
    const open = () => net.openPort({ uplink: CARD, addresses: portPrefixes(0), ringSize: 64 })

    const port = await open()
    const { port: number, name, outer } = port.info
    const next = port.batches().next()
    await lab.host.deleteLink(outer)
    const lost: Told = {
      code: 'ERR_XSKNET_PORT_LOST',
      message: `port ${number} \`${name}\` on ${CARD} is lost: its devices were deleted`,
      hint: /Open a new port/,
      details: { port: number, name, uplink: CARD, why: 'its devices were deleted' },
    }
    await refused(t, next, lost)
    await refused(t, port.closed, lost)
    await refused(t, port.send(new Uint8Array(60)), lost)

    const broken = await open()
    overwriteProducerOfRx()
    const told: Told = {
      code: 'ERR_XSKNET_RING_BROKEN',
      message: /RX ring/,
      hint: /open another port/,
      details: { ring: 'RX', size: 64 },
    }
    await refused(t, broken.batches().next(), told)
    await refused(t, broken.closed, told)

    const fine = await open()
    await fine.send(new Uint8Array(60))
    await fine.close()
    t.is((await lab.udpEcho(portAddresses(1)[0], [100])).identical, 1)
    t.is((await neighbour.seen()).strange, 0)
    await net.close()
    await scene.end(t)
  },
)

test.serial('an uplink that is deleted is not an uplink any more, and the daemon stays', async (t) => {
  const scene = await Scene.open(t)
  const { lab, daemon } = scene
  const net = await connected(t, daemon)
  const gone = new Promise<{ uplink: string; error: Error }>((resolve) => net.once('uplinkGone', resolve))
  await lab.host.deleteLink(CARD)
  const { uplink, error } = await gone
  t.is(uplink, CARD)
  tells(t, error, {
    code: 'ERR_XSKNET_UPLINK_CLOSED',
    message: `the uplink ${CARD} is gone`,
    hint: /Restart the daemon once the interface is back/,
    details: { uplink: CARD },
  })
  t.like(await net.status(), { uplinks: [], gone: [{ uplink: CARD }], ports: 0 })
  await refused(t, net.openPort({ uplink: CARD, addresses: [portAddresses(0)[0]] }), {
    code: 'ERR_XSKNET_UPLINK_CLOSED',
    message: `the uplink ${CARD} is gone`,
    hint: /Restart the daemon once the interface is back/,
    details: { uplink: CARD },
  })
  await net.close()
  t.deepEqual(await daemon.stop(), { code: 0, signal: null })
})

test.serial('a daemon that is not there, that is something else, or that dies in the middle', async (t) => {
  const scene = await Scene.open(t)
  const { lab, daemon } = scene
  const net = await connected(t, daemon)
  daemon.program.signal('SIGSTOP')
  const pending = net.uplinks()
  await daemon.kill()
  await refused(t, pending, {
    code: 'ERR_XSKNET_DAEMON_GONE',
    message: new RegExp(`^the connection to ${daemon.socket} was`),
    hint: /Open ports go on without it/,
    details: { socket: daemon.socket },
  })
  await refused(t, net.closed, {
    code: 'ERR_XSKNET_DAEMON_GONE',
    message: new RegExp(`^the connection to ${daemon.socket} was`),
    hint: /connect\(\) again/,
    details: { socket: daemon.socket },
  })

  const absent = (socket: string, code: string, errno: number): Told => ({
    code: 'ERR_XSKNET_DAEMON_ABSENT',
    message: `no daemon listens on ${socket}`,
    hint: /^Start one \(`xsknetd run --uplink <interface>`, as root\)/,
    details: { socket },
    cause: { code, errno, syscall: 'connect' },
  })
  await refused(t, connect({ socket: daemon.socket }), absent(daemon.socket, 'ECONNREFUSED', -111))
  const nowhere = `${lab.folder}/nobody.sock`
  await refused(t, connect({ socket: nowhere }), absent(nowhere, 'ENOENT', -2))

  const stream = `${lab.folder}/stream.sock`
  const server = createServer()
  t.teardown(() => server.close())
  await new Promise<void>((resolve) => server.listen(stream, resolve))
  await refused(t, connect({ socket: stream }), {
    code: 'ERR_XSKNET_DAEMON_ABSENT',
    message: `${stream} is not a SOCK_SEQPACKET socket, so it is not a daemon’s`,
    hint: /\$XSKNET_SOCKET/,
    details: { socket: stream },
    cause: { code: 'EPROTOTYPE', errno: -91, syscall: 'connect' },
  })
  const long = `${lab.folder}/${'x'.repeat(120)}`
  await refused(t, connect({ socket: long }), {
    code: 'ERR_XSKNET_KERNEL_REFUSED',
    message: `connecting to ${long} failed: connect ENAMETOOLONG ${long}`,
    hint: /at most 107 bytes/,
    details: { socket: long },
    cause: { code: 'ENAMETOOLONG', errno: -36, syscall: 'connect' },
  })

  t.deepEqual(await (await Daemon.start(lab)).stop(), { code: 0, signal: null })
  t.deepEqual(await lab.compare(), [])
})

test.serial('a pinned port whose guard would run in skb mode is refused, and a brokered one is not', async (t) => {
  const scene = await Scene.open(t, { mode: 'skb' })
  const port = { uplink: CARD, addresses: portPrefixes(0) }
  const namespace = openSync('/proc/self/ns/net', 'r')
  t.teardown(async () => closeSync(namespace))
  const raw = new Raw(t, scene.daemon.socket)
  raw.say({ version: 2, id: 1, operation: 'hello', client: 'raw' })
  await waitUntil('greeted', () => raw.heard.length === 1)
  raw.say({ version: 2, id: 2, operation: 'openPinnedPort', port }, [namespace])
  await waitUntil('answered', () => raw.heard.length === 2)
  const why = `the program of \`${CARD}\` runs in skb mode`
  tells(t, raw.heard[1]?.error, {
    code: 'ERR_XSKNET_GUARD_INVALID',
    message: `a pinned port of \`${CARD}\` is not possible, because its guard would run in skb mode: ${why}`,
    hint: /^Open a brokered port/,
    details: { uplink: CARD, why },
  })
  const net = await connected(t, scene.daemon)
  await (await net.openPort(port)).close()
  await net.close()
  await scene.end(t)
})

test.serial('a client that violates the protocol is told the rule and disconnected; the daemon stays', async (t) => {
  // Who may send descriptors.
  const scene = await Scene.open(t, { config: `${GRANT}pinned = true\n` })
  const { lab, daemon } = scene
  const net = await connected(t, daemon)
  const silent = new Raw(t, daemon.socket)

  const hello = { version: 2, id: 1, operation: 'hello', client: 'raw' }
  const rows: [unknown[], Told][] = [
    [
      ['hello?'],
      {
        code: 'ERR_XSKNET_MESSAGE_MALFORMED',
        message: 'the message is not valid JSON',
        hint: /docs\/protocol\.md/,
        details: { path: '' },
      },
    ],
    [
      [{ ...hello, client: 7 }],
      {
        code: 'ERR_XSKNET_MESSAGE_MALFORMED',
        message: '`client` of the message is not valid: Invalid type: Expected string but received 7',
        hint: /docs\/protocol\.md/,
        details: { path: 'client' },
      },
    ],
    [
      [{ ...hello, version: 3, client: 'xsknet/0.2.0 node/30.0.0' }],
      {
        code: 'ERR_XSKNET_PROTOCOL_VERSION',
        message:
          `the client speaks version 3 of the protocol, this daemon (release ${RELEASE}) version 2: ` +
          'the daemon is older',
        hint: /^Update the package xsknetd to release 0\.2\.0 or a later one\.$/,
        details: { theirs: 3, ours: 2, older: 'daemon', release: RELEASE },
      },
    ],
    [
      [{ version: 2, id: 1, operation: 'uplinks' }],
      {
        code: 'ERR_XSKNET_HELLO_MISSING',
        message: '`hello` must be the first message and be sent once: `uplinks` came first',
        hint: /docs\/protocol\.md/,
      },
    ],
    [
      [hello, hello],
      {
        code: 'ERR_XSKNET_HELLO_MISSING',
        message: '`hello` must be the first message and be sent once: it came a second time',
        hint: /docs\/protocol\.md/,
      },
    ],
  ]
  for (const [messages, told] of rows) {
    const raw = new Raw(t, daemon.socket)
    for (const message of messages) raw.say(message)
    await raw.ended
    t.is(raw.heard.length, messages.length, told.message as string)
    tells(t, raw.heard.at(-1)?.error, told)
  }

  const port = { uplink: CARD, addresses: [portAddresses(0)[0]] }
  const [namespace, file] = ['/proc/self/ns/net', '/proc/self/ns/mnt'].map((path) => openSync(path, 'r')) as [
    number,
    number,
  ]
  t.teardown(async () => [namespace, file].map(closeSync))
  for (const [operation, fds] of [
    [{ operation: 'openPinnedPort', port }, []],
    [{ operation: 'openPinnedPort', port }, [namespace, namespace]],
    [{ operation: 'shareSocket', port: 1 }, []],
    [{ operation: 'shareSocket', port: 1 }, [namespace, file]],
    [{ operation: 'openPort', port }, [namespace]],
  ] as const) {
    const raw = new Raw(t, daemon.socket)
    raw.say(hello)
    // Before, the kernel lets no descriptor through.
    await waitUntil('greeted', () => raw.heard.length === 1)
    raw.say({ version: 2, id: 2, ...operation }, fds)
    await raw.ended
    const expected = operation.operation === 'openPort' ? 0 : 1
    tells(t, raw.heard.at(-1)?.error, {
      code: 'ERR_XSKNET_UNEXPECTED_DESCRIPTORS',
      message: `\`${operation.operation}\` came with ${fds.length} file descriptors instead of ${expected}`,
      hint: /docs\/protocol\.md/,
      details: { came: fds.length, expected, operation: operation.operation },
    })
  }
  const invalid = new Raw(t, daemon.socket)
  invalid.say(hello)
  await waitUntil('greeted', () => invalid.heard.length === 1)
  invalid.say({ version: 2, id: 2, operation: 'openPinnedPort', port }, [file])
  invalid.say({ version: 2, id: 3, operation: 'uplinks' })
  await waitUntil('answered', () => invalid.heard.length === 3)
  tells(t, invalid.heard[1]?.error, {
    code: 'ERR_XSKNET_NAMESPACE_INVALID',
    message: /not a network namespace: a namespace of type 0x20000/,
    hint: /\/proc\/self\/ns\/net/,
    details: { found: 'not a network namespace: a namespace of type 0x20000' },
  })
  t.like(invalid.heard[2], { id: 3, result: { uplinks: [{ uplink: CARD }] } })

  // A newer client may ask for what this daemon does not have.
  const newer = new Raw(t, daemon.socket)
  newer.say(hello)
  newer.say({ version: 2, id: 2, operation: 'dance' })
  newer.say({ version: 2, id: 3, operation: 'uplinks' })
  await waitUntil('answered', () => newer.heard.length === 3)
  t.is(newer.heard[1]?.id, 2)
  tells(t, newer.heard[1]?.error, {
    code: 'ERR_XSKNET_OPERATION_UNKNOWN',
    message: 'there is no operation `dance`',
    hint: /^Operations are hello, status, /,
    details: { operation: 'dance' },
  })
  t.like(newer.heard[2], { id: 3, result: { uplinks: [{ uplink: CARD }] } })

  tells(t, await hostile(t, lab, daemon, 'oversized'), {
    code: 'ERR_XSKNET_MESSAGE_TOO_LONG',
    message: 'the message has 65537 bytes; the maximum is 65536',
    details: { length: 65_537, most: 65_536 },
  })
  tells(t, await hostile(t, lab, daemon, 'descriptors'), {
    code: 'ERR_XSKNET_UNEXPECTED_DESCRIPTORS',
    message: '`status` came with 200 file descriptors instead of 0',
    hint: /docs\/protocol\.md/,
    details: { came: 200, expected: 0, operation: 'status' },
  })

  await silent.ended
  tells(t, silent.heard[0]?.error, {
    code: 'ERR_XSKNET_HELLO_MISSING',
    message: '`hello` must be the first message and be sent once: nothing was received within 2 s',
    hint: /docs\/protocol\.md/,
  })
  // This one, and the two that did nothing wrong.
  t.like(await net.status(), { pid: daemon.program.pid, clients: 3 })
  await scene.end(t)
})

/** A connection that sends whatever it is told to. */
class Raw {
  readonly heard: { id?: number; result?: unknown; error?: unknown }[] = []
  readonly ended: Promise<void>
  readonly #control: ReturnType<ReturnType<typeof native>['Control']['connect']>

  constructor(t: ExecutionContext, socket: string) {
    let end: () => void
    this.ended = new Promise((resolve) => {
      end = resolve
    })
    this.#control = native().Control.connect(
      socket,
      (message) => this.heard.push(JSON.parse(Buffer.from(message).toString())),
      () => end(),
    )
    t.teardown(() => this.#control.close())
  }

  say(message: unknown, fds: readonly number[] = []): void {
    this.#control.send(Buffer.from(typeof message === 'string' ? message : JSON.stringify(message)), [...fds])
  }
}

/** What the daemon answers to a deed of `crates/control/examples/hostile.rs`, before it ends the connection. */
async function hostile(t: ExecutionContext, lab: Lab, daemon: Daemon, deed: string): Promise<unknown> {
  const staged = `${lab.folder}/hostile`
  copyFileSync(rustExample('hostile'), staged)
  chmodSync(staged, 0o755)
  const program = new Program([...withRightsOf(NOBODY), staged, daemon.socket, deed])
  t.teardown(() => program.kill().then(() => {}))
  const line = await program.waitFor(/^answer /)
  await program.waitFor(/^ended/)
  await program.kill()
  return JSON.parse(line.slice('answer '.length)).error
}

/** What nobody but the kernel should write: the first word of the only RX ring that this process has mapped. */
function overwriteProducerOfRx(): void {
  const rings = readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => /^\S+ rw-s 00000000 .* socket:\[/.test(line))
  if (rings.length !== 1) throw new Error(`there are ${rings.length} RX rings:\n${rings.join('\n')}`)
  const memory = openSync('/proc/self/mem', 'r+')
  try {
    writeSync(memory, Buffer.of(0xff, 0xff, 0xff, 0x7f), 0, 4, Number.parseInt(rings[0] as string, 16))
  } finally {
    closeSync(memory)
  }
}

async function inPortsNamespace({ instance }: Daemon, ...command: string[]): Promise<void> {
  const { code, stderr } = await run(inside(`/run/xsknet/${instance}/netns`, command))
  if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}: ${stderr}`)
}

/** A connection of root's, out of this process. */
async function connected(t: ExecutionContext, { socket }: Daemon): Promise<Network> {
  const net = await connect({ socket })
  t.teardown(() => net.close())
  return net
}

const escaped = (text: string) => text.replace(/[^\w ]/g, '\\$&')
