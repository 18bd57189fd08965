// A Linux host, which is asked frame by frame.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import * as p from '../../unit/headers/packets.js'
import { CARD, FAR, Lab, type Machine, type Owner } from '../lab.js'
import { inside } from '../program.js'
import { root } from '../workspace.js'
import { ECHO_PORT, KNOWN4, KNOWN6 } from './generated.js'

const ADDRESSES = p.STATION.info.addresses
const PEER = '02:00:00:00:00:14'

/**
 * The kernel of a lab's host, with the MAC and the addresses of `STATION`. All else is as Linux has it unless somebody
 * sets it.
 */
export class LinuxHost {
  readonly #lab: Lab
  readonly #program: string

  private constructor(lab: Lab, program: string) {
    this.#lab = lab
    this.#program = program
  }

  static async create(owner: Owner): Promise<LinuxHost> {
    const lab = await Lab.create(owner, { farGro: false })
    const program = `${lab.folder}/answers`
    execFileSync('gcc', [
      '-O2',
      '-Wall',
      '-Wextra',
      '-Werror',
      `${root}__test__/helpers/answers/answers.c`,
      '-o',
      program,
    ])
    const { host, remote } = lab
    // A wire carries no partial checksums and no tags beside the frame; and it does not listen.
    await host.output('ethtool', '-K', CARD, 'tx', 'off', 'txvlan', 'off', 'gro', 'off')
    await set(remote, `ipv6.conf.${FAR}.disable_ipv6`, 1)
    await ip(remote, [`addr flush dev ${FAR}`])

    // Errors are told of each frame, and nobody else changes what the host knows.
    await set(host, 'ipv4.icmp_ratelimit', 0)
    await set(host, 'ipv6.icmp.ratelimit', 0)
    await set(host, `ipv6.conf.${CARD}.accept_ra`, 0)
    await set(host, `ipv6.conf.${CARD}.accept_redirects`, 0)
    await set(host, `ipv4.conf.${CARD}.accept_redirects`, 0)
    // RFC 3704: distributions set it, the kernel does not. Without it, a broadcast is answered.
    await set(host, `ipv4.conf.${CARD}.rp_filter`, 1)
    // A new namespace has what somebody may have set for the machine.
    for (const name of [
      'arp_ignore',
      'arp_filter',
      'accept_source_route',
      'accept_local',
      'drop_unicast_in_l2_multicast',
    ]) {
      for (const where of ['all', CARD]) await set(host, `ipv4.conf.${where}.${name}`, 0)
    }
    await set(host, 'ipv4.icmp_echo_ignore_all', 0)
    await set(host, 'ipv4.icmp_echo_ignore_broadcasts', 1)
    await ip(host, [
      'link set lo up',
      `addr flush dev ${CARD}`,
      `link set ${CARD} address ${p.STATION.info.mac}`,
      ...ADDRESSES.map((address) => `addr add ${address} dev ${CARD}${address.includes(':') ? ' nodad' : ''}`),
      ...[...KNOWN4, ...KNOWN6].map((address) => `neigh replace ${address} lladdr ${PEER} dev ${CARD} nud permanent`),
      `route add default via ${KNOWN4[0]} dev ${CARD}`,
      `-6 route add default via ${KNOWN6[2]} dev ${CARD}`,
    ])
    return new LinuxHost(lab, program)
  }

  /** What came back of each frame, without what the host says of its own accord. */
  async answersTo(frames: readonly Buffer[]): Promise<Buffer[][]> {
    const addresses = ADDRESSES.map((address) => address.split('/')[0] as string)
    const command = [this.#program, FAR, this.#lab.host.namespace, CARD, `${ECHO_PORT}`, ...addresses]
    const [file, ...args] = inside(this.#lab.remote.namespace, command)
    const child = spawn(file as string, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    const chunks: Buffer[] = []
    const errors: Buffer[] = []
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => errors.push(chunk))
    child.stdin.on('error', () => {}) // its words say why
    child.stdin.end(Buffer.concat([FENCE, ...frames].flatMap((frame) => [p.u16(frame.length), frame])))
    const [code] = await once(child, 'close')
    if (code !== 0) throw new Error(`answers ended with ${code}: ${Buffer.concat(errors)}`)
    return listed(Buffer.concat(chunks), frames.length)
  }
}

const FENCE = p.arpFrame(
  { sender: p.ip4Address('0.0.0.0'), senderMac: p.mac('02:fe:00:00:00:00') },
  { from: p.mac('02:fe:00:00:00:00') },
)

function listed(bytes: Buffer, count: number): Buffer[][] {
  let at = 0
  const number = () => {
    at += 2
    return bytes.readUInt16BE(at - 2)
  }
  const answers = Array.from({ length: count }, () =>
    Array.from({ length: number() }, () => {
      const length = number()
      at += length
      return bytes.subarray(at - length, at)
    }).filter((frame) => !isOfItsOwnAccord(frame)),
  )
  if (at !== bytes.length) throw new Error(`${bytes.length - at} bytes are too many`)
  return answers
}

/** Its questions after MACs and routers, and what it tells of groups that it joins. */
function isOfItsOwnAccord(frame: Buffer): boolean {
  const type = frame.readUInt16BE(12)
  if (type === 0x0806) return frame.readUInt16BE(20) === 1
  if (type === 0x0800) return frame.readUInt8(23) === 2
  // Reports of groups come behind a hop-by-hop header.
  if (type !== 0x86dd) return false
  if (frame.readUInt8(20) === 0) return true
  return frame.readUInt8(20) === 58 && [131, 132, 133, 135, 143].includes(frame.readUInt8(54))
}

async function set(machine: Machine, name: string, value: number): Promise<void> {
  await machine.output('sh', '-c', `echo ${value} > /proc/sys/net/${name.replaceAll('.', '/')}`)
}

async function ip(machine: Machine, commands: readonly string[]): Promise<void> {
  for (const command of commands) await machine.output('ip', ...command.split(' '))
}
