import { readFileSync } from 'node:fs'
import test from 'ava'
import { Daemon } from '../helpers/daemon.js'
import { CARD, FAR, portAddresses } from '../helpers/lab.js'
import { waitUntil } from '../helpers/program.js'
import { Scene } from '../helpers/scene.js'
import { compiled } from '../helpers/stage.js'
import { programsOf } from '../helpers/workspace.js'

const [serving, nextHop, dhcp, mdns, capture, ...more] = programsOf('docs/recipes.md').map((text) =>
  text.replaceAll("'eth0'", `'${CARD}'`),
)

function run(scene: Scene, name: string, program = '') {
  const path = compiled(scene.lab.folder, name, program)
  return scene.lab.host.spawn('env', `XSKNET_SOCKET=${scene.daemon.socket}`, process.execPath, path)
}

test('docs/recipes.md has the programs that are tried here', (t) => t.deepEqual(more, []))

test.serial('the program of docs/recipes.md that serves for ever survives its daemon, with the same MAC', async (t) => {
  const scene = await Scene.open(t)
  const program = run(scene, 'serving', serving)
  const served = () => program.lines.filter((line) => line.startsWith('serving as '))
  const answers = async () => t.deepEqual(await scene.lab.remote.unanswered(portAddresses(0)[0] as string, 20), [])
  await program.waitFor(/^serving as /)
  await answers()
  await scene.daemon.stop()
  await program.waitFor(/ERR_XSKNET_\w+\): trying again/)
  const next = await Daemon.start(scene.lab)
  await waitUntil('served again', async () => served().length === 2, 5000)
  await answers()
  t.is(new Set(served()).size, 1)
  t.deepEqual(await program.stop('SIGTERM'), { code: 0, signal: null }, program.lines.join('\n'))
  await next.stop()
  t.deepEqual(await scene.lab.compare(), [])
})

test.serial('the program of docs/recipes.md that asks for the next hop finds it', async (t) => {
  const scene = await Scene.open(t)
  const program = run(scene, 'next-hop', nextHop)
  t.deepEqual(await program.end(), { code: 0, signal: null }, program.lines.join('\n'))
  t.true(program.lines.includes(`192.0.2.2 is at ${scene.lab.farMac}`), program.lines.join('\n'))
  await scene.end(t)
})

/** Offers and gives the same address to every client. */
const DHCP_SERVER = `
const socket = require('node:dgram').createSocket({ type: 'udp4', reuseAddr: true })
socket.on('message', (question) => {
  const type = question[242]
  const answer = Buffer.alloc(300)
  question.copy(answer, 0, 0, 34)
  answer[0] = 2
  answer.set([192, 0, 2, 12], 16)
  answer.set([0x63, 0x82, 0x53, 0x63, 53, 1, type === 1 ? 2 : 5, 54, 4, 192, 0, 2, 2, 255], 236)
  const flags = question.readUInt16BE(10)
  console.log('asked ' + type + ' by ' + question.subarray(28, 34).toString('hex') + ' flags ' + flags)
  socket.send(answer, 68, '255.255.255.255')
})
socket.bind(67, () => socket.setBroadcast(true) || console.log('listening'))
`

const MDNS_QUERY = `
const socket = require('node:dgram').createSocket({ type: 'udp4', reuseAddr: true })
const query = Buffer.from('000000000001000000000000' + '05617564696f056c6f63616c00' + '00010001', 'hex')
socket.on('message', (answer, { address, port }) => {
  if (answer[2] !== 0x84) return
  console.log(address + ':' + port + ' says ' + [...answer.subarray(-4)].join('.'))
  process.exit()
})
socket.bind(5353, () => {
  socket.addMembership('224.0.0.251', '192.0.2.2')
  socket.setMulticastInterface('192.0.2.2')
  socket.send(query, 5353, '224.0.0.251')
})
`

test.serial('the program of docs/recipes.md that asks for an address by DHCP gets one', async (t) => {
  const scene = await Scene.open(t)
  const { lab } = scene
  await lab.remote.output('ip', 'route', 'add', '255.255.255.255', 'dev', FAR)
  const server = lab.remote.spawn(process.execPath, '-e', DHCP_SERVER)
  await server.waitFor(/^listening/)
  const program = run(scene, 'dhcp', dhcp)
  t.deepEqual(await program.end(), { code: 0, signal: null }, program.lines.join('\n'))
  const [, mac = ''] = /^(\S+) has 192\.0\.2\.12\/32$/m.exec(program.lines.join('\n')) ?? []
  t.deepEqual(
    server.lines.filter((line) => line.startsWith('asked ')),
    [1, 3].map((type) => `asked ${type} by ${mac.replaceAll(':', '')} flags 32768`),
  )
  await server.kill()
  await lab.remote.output('ip', 'route', 'del', '255.255.255.255', 'dev', FAR)
  await scene.end(t)
})

test.serial('the program of docs/recipes.md that has a name by mDNS answers for it', async (t) => {
  const scene = await Scene.open(t)
  const program = run(scene, 'mdns', mdns)
  await program.waitFor(/^responding/)
  const asking = scene.lab.remote.spawn(process.execPath, '-e', MDNS_QUERY)
  t.deepEqual(await asking.end(), { code: 0, signal: null }, asking.lines.join('\n'))
  t.deepEqual(asking.lines, ['192.0.2.10:5353 says 192.0.2.10'])
  t.deepEqual(await program.stop('SIGTERM'), { code: 0, signal: null }, program.lines.join('\n'))
  await scene.end(t)
})

test.serial('the program of docs/recipes.md that captures writes what tcpdump reads', async (t) => {
  const scene = await Scene.open(t)
  const program = run(scene, 'capture', capture?.replace('capture.pcap', `${scene.lab.folder}/capture.pcap`))
  await program.waitFor(/^capturing/)
  const began = Date.now()
  t.deepEqual(await scene.lab.remote.unanswered('192.0.2.1', 3), [])
  t.deepEqual(await program.stop('SIGTERM'), { code: 0, signal: null }, program.lines.join('\n'))
  const records = readPcap(readFileSync(`${scene.lab.folder}/capture.pcap`))
  const echoes = records.filter(({ bytes }) => bytes[23] === 1 && [0, 8].includes(bytes[34] as number))
  const questions = echoes.filter(({ bytes }) => bytes[34] === 8).length
  t.true(questions >= 3)
  t.is(echoes.length, 2 * questions)
  for (const { at, bytes, length } of echoes) {
    t.true(at >= began - 1000 && at <= Date.now() + 1000, `${at}`)
    t.is(bytes.length, Math.min(length, 256))
  }
  await scene.end(t)
})

function readPcap(file: Buffer): { at: number; length: number; bytes: Buffer }[] {
  const records = []
  for (let start = 24; start < file.length; ) {
    const at = file.readUInt32LE(start) * 1000 + file.readUInt32LE(start + 4) / 1e6
    const end = start + 16 + file.readUInt32LE(start + 8)
    records.push({ at, length: file.readUInt32LE(start + 12), bytes: file.subarray(start + 16, end) })
    start = end
  }
  return records
}
