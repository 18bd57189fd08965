// A client that opens and closes ports and asks for their statistics, and says how long each took, in milliseconds.
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type Network, type Port, type PortOptions } from 'xsknet'
import { Random } from '../../__test__/helpers/programs/random.js'
import { serve } from '../../__test__/helpers/programs/serve.js'

let net: Network
const ports: Port[] = []
let churning = false

/** Milliseconds from a moment until now. */
const since = (began: number) => performance.now() - began

serve({
  connect: async () => {
    net = await connect()
  },

  /** Opens ports one after the other and keeps them; the times of the openings. */
  keep: async ({ wanted }: { wanted: PortOptions[] }): Promise<number[]> => {
    const times: number[] = []
    for (const options of wanted) {
      const began = performance.now()
      ports.push(await net.openPort(options))
      times.push(since(began))
    }
    return times
  },
  /** Closes what is kept. */
  release: async () => {
    for (const port of ports.splice(0)) await port.close()
  },

  /** Opens and closes a port so many times; the times of the openings. */
  openings: async ({
    wanted,
    samples,
    seed,
  }: {
    wanted: PortOptions
    samples: number
    seed: number
  }): Promise<number[]> => {
    const random = new Random(seed)
    const times: number[] = []
    for (let n = 0; n < samples; n++) {
      const began = performance.now()
      const port = await net.openPort(wanted)
      times.push(since(began))
      await port.close()
      await sleep(random.below(20))
    }
    return times
  },

  /** Opens and closes a port over and over, until it is told to stop; how often. */
  churn: async ({ wanted }: { wanted: PortOptions }): Promise<number> => {
    let opened = 0
    for (churning = true; churning; opened++) await (await net.openPort(wanted)).close()
    return opened
  },
  stop: () => {
    churning = false
  },

  /** Asks for the statistics of the first port kept so many times, at moments of chance; the times of the answers. */
  stats: async ({ samples, seed }: { samples: number; seed: number }): Promise<number[]> => {
    const random = new Random(seed)
    const port = ports[0] as Port
    const times: number[] = []
    for (let n = 0; n < samples; n++) {
      // A user has 200 messages a second; a fixed pause could fall in step with the openings.
      await sleep(5 + random.below(15))
      const began = performance.now()
      await port.stats()
      times.push(since(began))
    }
    return times
  },
})
