// Taps, from the grant to the wire: a program without rights gets copies of what passes the uplink.
import test from 'ava'
import type { Counters, PortEntry } from 'xsknet'
import { Client } from '../helpers/client.js'
import { GRANT, NOBODY } from '../helpers/daemon.js'
import { CARD } from '../helpers/lab.js'
import { waitUntil } from '../helpers/program.js'
import { Scene } from '../helpers/scene.js'
import * as p from '../unit/headers/packets.js'

const FROM_HOST = `
const socket = require('node:dgram').createSocket('udp4')
socket.bind(7000, '192.0.2.1', () => socket.send('by the host', 7001, '192.0.2.2', () => socket.close()))
`

for (const mode of ['native', 'skb'] as const) {
  test.serial(`an unprivileged program sees what passes the uplink: ${mode}`, async (t) => {
    const config = `${GRANT}bpfRings = true\ntap = true\nflows = ["udp"]\n`
    const scene = await Scene.open(t, { config, mode })
    const { lab, daemon } = scene
    const args = [CARD]
    const client = Client.start(lab, '__test__/helpers/programs/tapper.ts', { socket: daemon.socket, args })
    await client.program.waitFor(/^tapping by bpf/)
    t.deepEqual(
      client.program.lines.filter((line) => /^(refused|claim) /.test(line)),
      [
        'refused ERR_XSKNET_NOT_SUPPORTED',
        'refused ERR_XSKNET_NOT_SUPPORTED',
        'refused ERR_XSKNET_NOT_PERMITTED',
        'claim ERR_XSKNET_NOT_SUPPORTED',
      ],
    )
    const [entry] = await daemon.ask<PortEntry[]>('ports')
    t.like(entry, { uid: NOBODY, addresses: [], rings: 'bpf' })

    const link = { to: p.mac('02:00:00:00:00:99'), from: p.mac('02:00:00:00:00:14') }
    const datagram = (port: number, text: string) =>
      p.udp4({ destination: p.ip4Address('192.0.2.1'), destinationPort: port, payload: Buffer.from(text) }, link)
    const frames = [datagram(7000, 'short'), datagram(7001, 'not for it'), datagram(7000, 'much longer'.repeat(20))]
    await lab.sendFrames(frames)
    const heard = () => client.program.lines.filter((line) => /^(received|sent)/.test(line))
    await waitUntil('the copies of what comes in', async () => heard().length >= 2, 5000)
    const [short, , long] = frames.map((frame) => frame.length)
    t.deepEqual(heard(), [
      `received passed ${short} ${short} fresh short`,
      `received passed ${long} 100 fresh much longer`,
    ])
    await lab.host.output(process.execPath, '-e', FROM_HOST)
    await waitUntil('the copy of what the host sends', async () => heard().length >= 3, 5000)
    t.is(heard()[2], 'sent-by-host to_uplink 53 53 fresh by the host')

    const { ports } = await daemon.ask<{ ports: { statistics: { copies: Counters } }[] }>('stats')
    t.like(ports[0]?.statistics.copies, { seen: 3, toPort: 3 })
    t.deepEqual(await client.stop(), { code: 0, signal: null }, client.program.lines.join('\n'))
    await scene.end(t)
  })
}

test.serial('a tap needs a grant of its own', async (t) => {
  const scene = await Scene.open(t, { config: `${GRANT}bpfRings = true\n` })
  const { lab, daemon } = scene
  const client = Client.start(lab, '__test__/helpers/programs/tapper.ts', { socket: daemon.socket, args: [CARD] })
  const ended = await client.program.end()
  t.not(ended.code, 0)
  t.regex(client.program.lines.join('\n'), /may not use taps/)
  t.regex(client.program.lines.join('\n'), /tap = true/)
  await scene.end(t)
})
