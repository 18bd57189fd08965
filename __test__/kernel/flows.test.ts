// Flows, from the grant to the wire: a program without rights answers for one UDP port of the host.
import test, { type ExecutionContext } from 'ava'
import { Client } from '../helpers/client.js'
import { GRANT, NOBODY } from '../helpers/daemon.js'
import { CARD, HOST, type Lab, portPrefixes } from '../helpers/lab.js'
import { Scene } from '../helpers/scene.js'

const FLOW = `udp dst port 53 and dst host ${HOST.v4}`
const BIND = `require('node:dgram').createSocket('udp4').on('error', ({ code }) => console.log(code) + process.exit())
  .bind(53, '${HOST.v4}', () => console.log('bound') + process.exit())`
const DIG = ['dig', `@${HOST.v4}`, 'some.example', 'A', '+short', '+time=1', '+tries=3', '+noedns']
const READ = `exec 3<>/dev/tcp/${HOST.v4}/5310; cat <&3`
const SERVER = `
const { createServer } = require('node:net')
createServer((socket) => socket.end('from the host')).listen(5310, '${HOST.v4}', () => console.log('listening'))
`

test.serial('a name server on the host’s own address answers, and all else goes to the host', async (t) => {
  const scene = await Scene.open(t, { config: `${GRANT}flows = ["udp dst port 53", "tcp dst port 5310"]\n` })
  const { lab, daemon } = scene
  const server = lab.host.spawn(process.execPath, '-e', SERVER)
  await server.waitFor(/listening/)

  const refused = ['udp dst port domain', 'udp dst port 53 or 54', `tcp dst port 5310 and dst host ${HOST.v4}`]
  const args = [CARD, HOST.v4, portPrefixes(0)[0], FLOW, ...refused]
  const client = Client.start(lab, '__test__/helpers/programs/name-server.ts', { socket: daemon.socket, args })
  await client.program.waitFor(/answering/)
  const told = client.program.lines
    .filter((line) => line.startsWith('refused '))
    .map((line) => JSON.parse(line.slice(8)))
  t.like(told[0], {
    code: 'ERR_XSKNET_FLOW_INVALID',
    details: { flow: 'udp dst port domain', index: 0, position: 13 },
  })
  t.is(told[1].code, 'ERR_XSKNET_NOT_PERMITTED')
  t.regex(told[1].hint, /flows = \["udp dst port 53", "tcp dst port 5310", "udp dst port 53 or 54"\]/)
  t.like(told[2], {
    code: 'ERR_XSKNET_FLOW_OF_HOST',
    details: { protocol: 'TCP', address: HOST.v4, port: 5310, process: null },
  })

  await assertServed(t, lab)
  await assertReleased(t, lab, client)
  await server.kill()
  await scene.end(t)
})

test.serial('without an address of its own it answers on the host’s, and all else goes to the host', async (t) => {
  const grant = `[[grant]]\nuser = ${NOBODY}\nuplinks = ["${CARD}"]\nflows = ["udp dst port 53"]\n`
  const scene = await Scene.open(t, { config: grant })
  const { lab, daemon } = scene
  const server = lab.host.spawn(process.execPath, '-e', SERVER)
  await server.waitFor(/listening/)

  const args = [CARD, HOST.v4, '', FLOW, 'udp dst port 54']
  const client = Client.start(lab, '__test__/helpers/programs/name-server.ts', { socket: daemon.socket, args })
  await client.program.waitFor(/answering/)
  const [refused = ''] = client.program.lines.filter((line) => line.startsWith('refused '))
  t.like(JSON.parse(refused.slice(8)), { code: 'ERR_XSKNET_NOT_PERMITTED' })
  const [{ uplinks }, ports] = await Promise.all([
    daemon.ask<{ uplinks: { mac: string }[] }>('status'),
    daemon.ask<{ mac: string; addresses: string[] }[]>('ports'),
  ])
  t.like(ports[0], { mac: uplinks[0]?.mac, addresses: [] })
  await assertServed(t, lab)

  const other = await scene.client()
  for (const [options, code, hint] of [
    [{}, 'ERR_XSKNET_ADDRESS_MISSING', /or flows/],
    [{ addresses: [], flows: [] }, 'ERR_XSKNET_ADDRESS_MISSING', /or flows/],
    [{ flows: ['udp dst port 54'] }, 'ERR_XSKNET_NOT_PERMITTED', /flows = \["udp dst port 53", "udp dst port 54"\]/],
    [{ addresses: portPrefixes(0) }, 'ERR_XSKNET_NOT_PERMITTED', /addresses = \["192\.0\.2\.10", "2001:db8::10"\]/],
  ] as const) {
    const error = await t.throwsAsync(other.ask({ do: 'open', uplink: CARD, ...options } as never))
    t.is((error as { code?: string }).code, code)
    t.regex((error as { hint?: string }).hint ?? '', hint)
  }
  await other.stop()
  await assertReleased(t, lab, client)
  await server.kill()
  await scene.end(t)
})

/** The port answers for names; ping, TCP and the rest are the host's, and no program of it gets the port. */
async function assertServed(t: ExecutionContext, lab: Lab): Promise<void> {
  for (let n = 0; n < 20; n++) t.is(await lab.remote.output(...DIG), '192.0.2.53\n')
  t.is(await lab.remote.output('bash', '-c', READ), 'from the host')
  t.deepEqual(await lab.remote.unanswered(HOST.v4, 20), [])
  t.is(await lab.host.output(process.execPath, '-e', BIND), 'EADDRINUSE\n')
}

/** Once the flow is released, the host has it again; then the client ends. */
async function assertReleased(t: ExecutionContext, lab: Lab, client: Client): Promise<void> {
  client.program.signal('SIGUSR2')
  await client.program.waitFor(/released/)
  t.is((await lab.remote.run(...DIG)).stdout.includes('192.0.2.53'), false)
  t.is(await lab.host.output(process.execPath, '-e', BIND), 'bound\n')
  t.deepEqual(await client.stop(), { code: 0, signal: null }, client.program.lines.join('\n'))
}
