import test from 'ava'
import { GRANT, NOBODY } from '../helpers/daemon.js'
import { CARD, portAddresses, portPrefixes } from '../helpers/lab.js'
import { Scene } from '../helpers/scene.js'

const LENGTHS = [1, 18, 64, 512, 1452]
const FRAMES = 10_000

test.serial('an unprivileged client receives and sends by BPF rings, and each frame is accounted for', async (t) => {
  const scene = await Scene.open(t, { mode: 'native', config: `${GRANT}bpfRings = true\n` })
  const { lab } = scene
  const port = await scene.answering(0, {}, { rings: 'bpf', ringSize: 1024 })
  t.is(port.info.rings, 'bpf')
  t.deepEqual(
    port.info.attempts.filter(({ hook }) => hook === 'rings').map(({ step, code }) => [step, code]),
    [['bpf', null]],
  )
  for (const address of portAddresses(0)) t.is((await lab.udpEcho(address, LENGTHS)).identical, LENGTHS.length, address)
  const { answered, lost, repeated, corrupt } = await lab.closedLoop(port.target(), { frames: FRAMES }).done
  t.deepEqual({ answered, lost, repeated, corrupt }, { answered: FRAMES, lost: 0, repeated: 0, corrupt: 0 })
  await scene.assertAccounted(t, port)
  const { client, daemon } = await port.stats()
  t.like(daemon?.rings, { noChunk: 0, invalidChunk: 0 })
  t.is(daemon?.rings?.received, client.received)
  t.is(daemon?.rings?.sent, client.sent)
  t.true(client.received >= 2 * LENGTHS.length + FRAMES)
  t.is(daemon?.program.seen, 0)
  await port.client.ask({ do: 'disconnect' })
  const { program } = port.client
  t.deepEqual(await program.endInput(), { code: 0, signal: null }, program.lines.join('\n'))
  await scene.end(t)
})

test.serial('a port of eight queues with BPF rings comes with all of their descriptors', async (t) => {
  const scene = await Scene.open(t, { mode: 'native', config: `${GRANT}bpfRings = true\nqueues = 8\n` })
  const port = await scene.answering(0, {}, { rings: 'bpf', queues: 8, ringSize: 64 })
  t.deepEqual([port.info.rings, port.info.queuePairs.length], ['bpf', 8])
  for (const address of portAddresses(0)) {
    t.is((await scene.lab.udpEcho(address, LENGTHS)).identical, LENGTHS.length, address)
  }
  await scene.assertAccounted(t, port)
  await port.client.ask({ do: 'disconnect' })
  const { program } = port.client
  t.deepEqual(await program.endInput(), { code: 0, signal: null }, program.lines.join('\n'))
  await scene.end(t)
})

test.serial('without a grant for BPF rings a port that can do without them gets AF_XDP', async (t) => {
  const scene = await Scene.open(t)
  const port = await scene.answering(0, {}, { rings: 'auto' })
  t.is(port.info.rings, 'xsk')
  const why = `user ${NOBODY} may not use BPF rings on the uplink ${CARD}`
  t.deepEqual(port.info.attempts[0], { hook: 'rings', step: 'bpf', code: null, why })
  const refused = port.client.ask({ do: 'open', as: 'b', uplink: CARD, addresses: portPrefixes(1), rings: 'bpf' })
  await t.throwsAsync(refused, { code: 'ERR_XSKNET_NOT_PERMITTED', message: why })
  t.is((await scene.lab.udpEcho(portAddresses(0)[0], LENGTHS)).identical, LENGTHS.length)
  t.is((await port.stats()).daemon?.rings, null)
  await port.client.ask({ do: 'disconnect' })
  const { program } = port.client
  t.deepEqual(await program.endInput(), { code: 0, signal: null }, program.lines.join('\n'))
  await scene.end(t)
})
