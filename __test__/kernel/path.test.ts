import test, { type ExecutionContext } from 'ava'
import { FAR, HOST, portAddresses, REMOTE, UNJUDGED } from '../helpers/lab.js'
import { Scene } from '../helpers/scene.js'

const pings = async (t: ExecutionContext, scene: Scene, address: string, count: number) => {
  t.deepEqual(await scene.lab.remote.unanswered(address, count), [])
}

for (const mode of ['native', 'skb'] as const) {
  test.serial(
    `${mode}: a client answers 1,000 pings over IPv4 and 1,000 over IPv6, loses none, and accounts for every frame`,
    async (t) => {
      const scene = await Scene.open(t, { mode })
      const { lab } = scene
      const port = await scene.answering()
      const [v4, v6] = portAddresses(0)
      await pings(t, scene, v4, 1000)
      await pings(t, scene, v6, 1000)

      const lengths = [1, 2, 17, 18, 19, 63, 64, 65, 512, 1023, 1024, 1400, 1451, 1452]
      t.is((await lab.udpEcho(v4, [...lengths, 1472])).identical, lengths.length + 1)
      t.is((await lab.udpEcho(v6, lengths)).identical, lengths.length)
      // What no port claims is still the host's.
      for (const address of [HOST.v4, HOST.v6]) await pings(t, scene, address, 20)

      const { icmp, strange, unsent } = await port.seen()
      t.deepEqual({ icmp, strange, unsent }, { icmp: 2 * (1000 + UNJUDGED), strange: 0, unsent: 0 })
      await scene.assertAccounted(t, port)
      await scene.end(t)
    },
  )
}

test.serial('every length of UDP datagram from 1 to 1,472 bytes comes back identical', async (t) => {
  const scene = await Scene.open(t)
  await scene.answering()
  const lengths = Array.from({ length: 1472 }, (_, i) => i + 1)
  t.is((await scene.lab.udpEcho(portAddresses(0)[0], lengths)).identical, lengths.length)
  await scene.end(t)
})

test.serial(
  'what a client sends with send(), and out of frames that it allocates, arrives complete at the far end',
  async (t) => {
    const scene = await Scene.open(t)
    const { lab } = scene
    const sending = await scene.answering(0)
    const remote = { mac: lab.farMac, address: REMOTE.v4, port: 9 }
    // Who has never sent anything is sent little: a switch would flood it.
    await pings(t, scene, portAddresses(0)[0], 1)
    await sending.client.ask({ do: 'send', to: remote, count: 20_000 })
    await scene.assertAccounted(t, sending)
    const { frames, distinct, repeated, corrupt } = await lab.sink(9)
    t.deepEqual({ frames, distinct, repeated, corrupt }, { frames: 20_000, distinct: 20_000, repeated: 0, corrupt: 0 })
    await scene.end(t)
  },
)

test.serial(
  'a far end without GRO is answered all the same, by a guard in skb mode, and `attempts` says why',
  async (t) => {
    const scene = await Scene.open(t, { farGro: false })
    const port = await scene.answering()
    t.is(port.info.guardMode, 'skb')
    t.regex(
      port.info.attempts.find(({ hook, step }) => hook === 'guard' && step === 'native')?.why ?? '',
      /ndo-xmit|GRO/,
    )
    await pings(t, scene, portAddresses(0)[0], 100)
    await scene.end(t)
  },
)

test.serial('a port in a VLAN hears its tagged frames, and not the untagged ones', async (t) => {
  const scene = await Scene.open(t, { config: '' })
  const port = await scene.answering(0, { uid: 0 }, { vlan: 42 })
  t.is(port.info.vlan, 42)
  const output = await scene.lab.remote.run('ping', '-q', '-c', '2', '-W', '0.3', portAddresses(0)[0])
  t.regex(output.stdout, /0 received/)
  const { frames } = await port.seen()
  t.is(frames, 0)
  await scene.end(t)
})

test.serial('tcpdump at the far end finds the checksums of what a client answers right', async (t) => {
  const scene = await Scene.open(t)
  const { lab } = scene
  const { info } = await scene.answering(0, {}, { vlan: null })
  t.is(info.vlan, null, 'untagged, as without the option')
  const [v4, v6] = portAddresses(0)
  const capture = lab.remote.spawn('tcpdump', '--immediate-mode', '-l', '-vvni', FAR, 'udp or icmp or icmp6')
  await capture.waitFor(/listening on/)
  t.is((await lab.udpEcho(v4, [1, 100, 1472])).identical, 3)
  t.is((await lab.udpEcho(v6, [1, 100, 1452])).identical, 3)
  await pings(t, scene, v4, 3)
  await pings(t, scene, v6, 3)
  await capture.until(
    'six UDP answers',
    5000,
    () => capture.lines.filter((line) => /udp sum ok/.test(line)).length >= 6 || undefined,
  )
  await capture.stop('SIGINT')
  t.deepEqual(
    capture.lines.filter((line) => /bad|incorrect/i.test(line) && line.includes(`${v4}.7 >`)),
    [],
  )
  await scene.end(t)
})
