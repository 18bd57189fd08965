import { CARD, FAR, type Lab, portAddresses, portPrefixes } from '../lab.js'
import { waitUntil } from '../program.js'
import type { Attack } from './attack.js'
import { GOOD_GRANT, grant, PORTS, VICTIM } from './parties.js'

/** A port that nobody else of the lab uses. */
const LAST = 5
/** The device at the far end that sends under a port's MAC. */
const FORGED = 'forged0'
/** Frames between two ports, within {@link WATCHED} milliseconds, after one of them was told something. */
const FEW = 20
const WATCHED = 250

/** Sends one datagram from an address and a port that are not its own. */
const FORGE = `
const { createSocket } = require('node:dgram')
const [, type, from, fromPort, to, toPort, payload] = process.argv
const socket = createSocket(type)
const close = () => socket.close()
socket.bind(Number(fromPort), from, () => socket.send(Buffer.from(payload, 'hex'), Number(toPort), to, close))
`

/** Somebody on the wire has two ports answer each other for ever. */
export const echoLoops: Attack = {
  name: 'echo-loops',
  defence: 'the programs that are shown answer no datagram from a port that servers have',
  daemon: { config: `${GOOD_GRANT}${grant(VICTIM, [PORTS.attacker, PORTS.victim, LAST])}` },
  async prepare(field) {
    const { lab, daemon } = field
    const answering = [
      ['examples/answer.ts', PORTS.attacker],
      ['examples/answer.ts', PORTS.victim],
      ['examples/echo.ts', LAST],
    ] as const
    const own = answering.map(([program, n]) => field.client(VICTIM, { args: [CARD, ...portPrefixes(n)] }, program))
    const macs = new Map<number, string>()
    await waitUntil('three programs with a port', async () => {
      const ports = await daemon.ask<{ mac: string; addresses: string[]; uid: number }[]>('ports')
      for (const { mac, addresses, uid } of ports) {
        const n = answering.find(([, n]) =>
          addresses.some((address) => address.startsWith(`${portAddresses(n)[0]}/`)),
        )?.[1]
        if (uid === VICTIM && n !== undefined) macs.set(n, mac)
      }
      return macs.size === own.length
    })
    let before = 0
    const across = async () => {
      const { ports } = await daemon.ask<{ ports: { mac: string; statistics: { guard: { toPort: number } } }[] }>(
        'stats',
      )
      const these = ports.filter(({ mac }) => [...macs.values()].includes(mac))
      return these.reduce((sum, { statistics }) => sum + statistics.guard.toPort, 0)
    }
    return {
      async variant(random) {
        const to = random.pick(answering)[1]
        const from = random.pick(answering.map(([, n]) => n).filter((n) => n !== to))
        const version = random.pick([0, 1] as const)
        const [source, destination] = [portAddresses(from)[version], portAddresses(to)[version]]
        const [fromPort, toPort] = [
          random.pick([7, 7, 53, 19, 17, 13, 37, 123]),
          to !== LAST && random.chance(0.3) ? 53 : 7,
        ]
        const payload = Buffer.from(Array.from({ length: 12 + random.below(100) }, () => random.below(256)))
        before = await across()
        await forged(lab, macs.get(from) as string, macs.get(to) as string, source, destination, async () => {
          const words = [
            version === 0 ? 'udp4' : 'udp6',
            source,
            `${fromPort}`,
            destination,
            `${toPort}`,
            payload.toString('hex'),
          ]
          await lab.remote.output(process.execPath, '-e', FORGE, ...words)
        })
        return `a datagram of ${portAddresses(from)[version]} port ${fromPort} to ${destination} port ${toPort}`
      },
      async judge() {
        const deadline = performance.now() + WATCHED
        let frames = 0
        do frames = (await across()) - before
        while (frames <= FEW && performance.now() < deadline)
        const faults = frames > FEW ? [`${frames} frames went from one port to another after one datagram`] : []
        // What is asked in earnest is answered, or none of this says anything.
        const { identical } = await lab.udpEcho(portAddresses(LAST)[0], [32])
        if (identical !== 1) faults.push('an honest question was not answered')
        return { saw: `${frames} frames between the ports, and an honest question answered`, faults }
      },
    }
  },
}

/** Has the far end send as somebody else. */
async function forged(
  lab: Lab,
  mac: string,
  next: string,
  source: string,
  destination: string,
  work: () => Promise<void>,
): Promise<void> {
  const ip = (...words: string[]) => lab.remote.output('ip', ...words)
  await ip('link', 'add', FORGED, 'link', FAR, 'address', mac, 'type', 'macvlan', 'mode', 'private')
  try {
    await ip('link', 'set', FORGED, 'up')
    const length = source.includes(':') ? '128' : '32'
    await ip('address', 'add', `${source}/${length}`, 'dev', FORGED, ...(length === '128' ? ['nodad'] : []))
    await ip('route', 'add', `${destination}/${length}`, 'dev', FORGED, 'src', source)
    await ip('neigh', 'replace', destination, 'lladdr', next, 'dev', FORGED)
    await work()
  } finally {
    await ip('link', 'delete', FORGED)
  }
}
