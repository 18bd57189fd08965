// Flows, from the grant to the wire: a program without rights answers for one UDP port of the host.
import test from 'ava'
import { Client } from '../helpers/client.js'
import { GRANT } from '../helpers/daemon.js'
import { CARD, HOST, portPrefixes } from '../helpers/lab.js'
import { Scene } from '../helpers/scene.js'

const FLOW = `udp dst port 53 and dst host ${HOST.v4}`
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

  const dig = ['dig', `@${HOST.v4}`, 'some.example', 'A', '+short', '+time=1', '+tries=3', '+noedns']
  for (let n = 0; n < 20; n++) t.is(await lab.remote.output(...dig), '192.0.2.53\n')
  const read = `exec 3<>/dev/tcp/${HOST.v4}/5310; cat <&3`
  t.is(await lab.remote.output('bash', '-c', read), 'from the host')
  t.deepEqual(await lab.remote.unanswered(HOST.v4, 20), [])
  const bind = `require('node:dgram').createSocket('udp4').on('error', ({ code }) => console.log(code) + process.exit())
    .bind(53, '${HOST.v4}', () => console.log('bound') + process.exit())`
  t.is(await lab.host.output(process.execPath, '-e', bind), 'EADDRINUSE\n')

  client.program.signal('SIGUSR2')
  await client.program.waitFor(/released/)
  t.is((await lab.remote.run(...dig)).stdout.includes('192.0.2.53'), false)
  t.is(await lab.host.output(process.execPath, '-e', bind), 'bound\n')
  t.deepEqual(await client.stop(), { code: 0, signal: null }, client.program.lines.join('\n'))
  await server.kill()
  await scene.end(t)
})
