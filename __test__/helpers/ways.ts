import type { ExecutionContext } from 'ava'
import type { PortInfo, UplinkStatistics } from 'xsknet'
import { Embedding } from './embedding.js'
import { CARD, Lab, portPrefixes } from './lab.js'
import { Answering, type Asked, DISCARD, Scene } from './scene.js'

/** A lab in which a client came to a port in some way, and answers whatever can be answered. */
export interface Place {
  lab: Lab
  port: Answering<Asked>
  uplink(): Promise<UplinkStatistics>
  /** Closes the port, ends the daemon, and finds the machine as it was. */
  end(): Promise<void>
}

export interface PlaceOptions {
  /** Where the card's program runs. */
  mode: 'native' | 'skb'
}

export interface Way {
  open(t: ExecutionContext, options: PlaceOptions): Promise<Place>
  /** What the daemon's frames of its self-test have counted when the port comes to its client. */
  selfTest: Record<'received' | 'sent' | 'completed' | 'guard' | 'program', number>
}

/** Every way for a client to come to its port. */
export const ways: Record<'brokered' | 'embedded', Way> = {
  /** From a daemon, over its socket, as somebody without rights. */
  brokered: { open: brokered, selfTest: { received: 1, sent: 1, completed: 1, guard: 1, program: 1 } },
  /** From a daemon in the client's own process. */
  embedded: { open: embedded, selfTest: { received: 1, sent: 1, completed: 1, guard: 1, program: 1 } },
}

async function brokered(t: ExecutionContext, options: PlaceOptions): Promise<Place> {
  const scene = await Scene.open(t, options)
  return inScene(t, scene, await scene.answering(0, {}, { name: 'way' }))
}

async function embedded(t: ExecutionContext, options: PlaceOptions): Promise<Place> {
  const lab = await Lab.create(t)
  await lab.sink(DISCARD)
  await lab.snapshot()
  const client = Embedding.start(lab)
  const { socket } = await client.daemon(options)
  await client.ask({ do: 'connect', socket })
  return {
    lab,
    port: await answering(client),
    uplink: () => client.ask({ do: 'uplink', uplink: CARD }),
    end: async () => {
      await client.ask({ do: 'close' })
      await client.ask({ do: 'disconnect' })
      await client.ask({ do: 'stop' })
      t.deepEqual(await client.program.endInput(), { code: 0, signal: null }, client.program.lines.join('\n'))
      t.deepEqual(await lab.compare(), [])
    },
  }
}

function inScene(t: ExecutionContext, scene: Scene, port: Answering): Place {
  return {
    lab: scene.lab,
    port,
    uplink: () => scene.uplink(),
    end: async () => {
      await port.client.ask({ do: 'close' })
      await port.client.ask({ do: 'disconnect' })
      t.deepEqual(await port.client.program.endInput(), { code: 0, signal: null }, port.client.program.lines.join('\n'))
      await scene.end(t)
    },
  }
}

async function answering(client: Asked): Promise<Answering<Asked>> {
  const info = await client.ask<PortInfo>({ do: 'open', uplink: CARD, addresses: portPrefixes(0), name: 'way' })
  await client.ask({ do: 'answer' })
  return new Answering(client, info)
}
