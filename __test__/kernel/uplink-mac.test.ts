// A port with addresses of its own at the uplink's MAC, from the grant to the wire.
import test from 'ava'
import type { PortInfo } from 'xsknet'
import { GRANT } from '../helpers/daemon.js'
import { CARD, HOST, portAddresses, portPrefixes } from '../helpers/lab.js'
import { Scene } from '../helpers/scene.js'

for (const rings of ['xsk', 'bpf'] as const) {
  test.serial(
    `a program without rights answers at the uplink’s MAC by ${rings}, and the host for itself`,
    async (t) => {
      const scene = await Scene.open(t, { config: `${GRANT}uplinkMac = true\nbpfRings = true\n` })
      const { lab, daemon } = scene
      const port = await scene.answering(0, {}, { mac: 'uplink', rings })
      const [{ uplinks }, ports] = await Promise.all([
        daemon.ask<{ uplinks: { mac: string }[] }>('status'),
        daemon.ask<{ mac: string }[]>('ports'),
      ])
      t.is(uplinks[0]?.mac, port.info.mac)
      t.is(ports[0]?.mac, port.info.mac)
      t.deepEqual(port.info.addresses, portPrefixes(0), 'no link-local address is added')
      for (const address of portAddresses(0)) t.deepEqual(await lab.remote.unanswered(address, 20), [], address)
      for (const address of [HOST.v4, HOST.v6]) t.deepEqual(await lab.remote.unanswered(address, 20), [], address)
      await port.client.ask({ do: 'close' })
      await port.client.stop()
      await scene.end(t)
    },
  )
}

test.serial('without a grant for the uplink’s MAC the line that allows it is told', async (t) => {
  const scene = await Scene.open(t)
  const client = await scene.client()
  const order = { do: 'open', uplink: CARD, addresses: portPrefixes(0), mac: 'uplink' }
  const error = await t.throwsAsync(client.ask<PortInfo>(order as never))
  t.like(error, { code: 'ERR_XSKNET_NOT_PERMITTED' })
  t.regex((error as { hint?: string }).hint ?? '', /uplinkMac = true/)
  await client.stop()
  await scene.end(t)
})
