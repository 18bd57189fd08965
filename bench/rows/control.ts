// What the daemon costs its clients beside the data path: how long they wait for it while others open ports.
import type { PortOptions } from 'xsknet'
import { Client } from '../../__test__/helpers/client.js'
import { Daemon, NOBODY } from '../../__test__/helpers/daemon.js'
import { CARD, Lab } from '../../__test__/helpers/lab.js'
import type { Check, Claim } from '../comparison.js'
import { median, quantile } from '../statistics.js'
import type { Undo } from '../undo.js'

/** Of the pauses between samples: the same in each run. */
const SEED = 1
/** Openings that do not count, until code is compiled and the kernel's caches are warm. */
const WARM_UP = 3

/** Two users, since the daemon opens the ports of one user one by one. */
const USERS = [NOBODY, 61_001] as const

/** So many ports are open besides. */
const MANY = 100

/** Address `n` of a user's range. */
const address = (user: number, n: number) => `2001:db8::${user + 1}:${(n + 1).toString(16)}/64`

/** A small port, so that what counts is the work of opening one and not of the kernel's for its memory. */
const port = (user: number, n: number, queues = 1): PortOptions => ({
  uplink: CARD,
  addresses: [address(user, n)],
  queues,
  frames: 512,
  ringSize: 256,
})

const grant = (uid: number, user: number) => `
[[grant]]
user = ${uid}
uplinks = ["${CARD}"]
addresses = ["2001:db8::${user + 1}:0/112"]
ports = 200
queues = 8
memory = "1GiB"
`

/** A lab and a daemon that nobody has used, and a connected client of each user. */
async function fresh(undo: Undo): Promise<Client[]> {
  const lab = await Lab.create(undo)
  const config = USERS.map(grant).join('')
  const { socket } = await Daemon.start(lab, { mode: 'native', config })
  const clients = USERS.map((uid) => Client.start(lab, 'bench/programs/openings.ts', { socket, uid }))
  await Promise.all(clients.map((client) => client.ask({ do: 'connect' })))
  return clients
}

const openings = (client: Client, wanted: PortOptions, samples: number) =>
  client.ask<number[]>({ do: 'openings', wanted, samples, seed: SEED })

/** One client's `port.stats()` while another opens and closes a port of eight queues. */
const statsWhileOpening: Check = {
  name: 'control stats while opening',
  async measure({ undo }) {
    const samples = 1000
    const [asking, opening] = (await fresh(undo)) as [Client, Client]
    await asking.ask({ do: 'keep', wanted: [port(0, 0)] })
    const calm = await asking.ask<number[]>({ do: 'stats', samples: samples / 4, seed: SEED })
    const churn = opening.ask<number>({ do: 'churn', wanted: port(1, 0, 8) })
    const times = await asking.ask<number[]>({ do: 'stats', samples, seed: SEED })
    await opening.ask({ do: 'stop' })
    const opened = await churn
    if (opened < 10) throw new Error(`the other client opened ${opened} ports, too few to be in the way`)
    const drawn = `${samples} samples, seed ${SEED}, ${opened} openings of 8 queues beside`
    return [
      claim('stats, nobody opening, p99', quantile(calm, 0.99), `ms; ${samples / 4} samples, seed ${SEED}`),
      claim('stats while opening, p50', quantile(times, 0.5), `ms; ${drawn}`),
      claim('stats while opening, p99', quantile(times, 0.99), `ms; ${drawn}`, 5),
    ]
  },
}

/** Two clients that open at once, and one that opens alone, by turns. */
const twoOpenings: Check = {
  name: 'control two openings',
  async measure({ undo }) {
    const samples = 50
    const clients = await fresh(undo)
    const times: Record<'one' | 'two', number[]> = { one: [], two: [] }
    const both = [...clients.keys()]
    for (let n = -WARM_UP; n < samples; n++) {
      for (const [what, users] of [
        ['one', [n & 1]],
        ['two', both],
      ] as const) {
        const began = performance.now()
        await Promise.all(users.map((user) => clients[user]?.ask({ do: 'keep', wanted: [port(user, 0)] })))
        const took = performance.now() - began
        await Promise.all(users.map((user) => clients[user]?.ask({ do: 'release' })))
        if (n >= 0) times[what].push(took)
      }
    }
    const [one, two] = [median(times.one), median(times.two)]
    const drawn = `${samples} samples each by turns, no chance in it`
    return [
      claim('one opening, p50', one, `ms; ${drawn}`),
      claim('two openings at once, p50', two, `ms; ${drawn}`),
      claim('two openings', two / one, 'times one opening', 1.3),
    ]
  },
}

/** An opening while another user has a hundred ports open. */
const openAtMany: Check = {
  name: `control open at ${MANY} ports`,
  async measure({ undo }) {
    const samples = 100
    const [holding, opening] = (await fresh(undo)) as [Client, Client]
    await holding.ask({ do: 'keep', wanted: Array.from({ length: MANY }, (_, n) => port(0, n)) })
    await openings(opening, port(1, 0), WARM_UP)
    const times = await openings(opening, port(1, 0), samples)
    const drawn = `ms; ${samples} samples, seed ${SEED}`
    return [
      claim(`open at ${MANY} ports, p50`, quantile(times, 0.5), drawn, 25),
      claim(`open at ${MANY} ports, p99`, quantile(times, 0.99), drawn, 50),
    ]
  },
}

/** The opening of a user's hundredth port, beside that of the first. */
const theHundredth: Check = {
  name: 'control the hundredth',
  async measure({ undo }) {
    const samples = 50
    const [client] = (await fresh(undo)) as [Client]
    const last = port(0, MANY - 1)
    await openings(client, last, WARM_UP)
    const first = median(await openings(client, last, samples))
    await client.ask({ do: 'keep', wanted: Array.from({ length: MANY - 1 }, (_, n) => port(0, n)) })
    const hundredth = median(await openings(client, last, samples))
    const drawn = `ms; ${samples} samples, seed ${SEED}`
    return [
      claim('the first, p50', first, drawn),
      claim('the hundredth, p50', hundredth, drawn),
      claim('the hundredth', hundredth / first, 'times the first', 1.3),
    ]
  },
}

const claim = (name: string, value: number, unit: string, most?: number): Claim => ({
  name,
  value,
  unit,
  ...(most !== undefined && { most }),
})

export const control: readonly Check[] = [statsWhileOpening, twoOpenings, openAtMany, theHundredth]
