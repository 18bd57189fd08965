import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { CARD } from '../lab.js'
import type { Program } from '../program.js'
import type { Pestered } from '../programs/attacker.js'
import type { Random } from '../programs/random.js'
import type { Attack, Attempt, Judgement } from './attack.js'
import { PROMPT } from './bystander.js'
import type { Field } from './field.js'
import { ATTACKER, STRANGER } from './parties.js'

/**
 * Milliseconds in which root is let in whatever goes on: it has to come up to a listener and to a loop that others keep
 * busy.
 */
const ROOT_WITHIN = 500
/** What a daemon under attack may have more of. */
const THREADS = 40
const DESCRIPTORS = 512
/** Processors that it keeps busy, the work for the client beside included, which opens ports without a pause. */
const BUSY = 0.75
/** Lines of the log that those without a grant may cause during one variant, whatever their number. */
const LINES = 128

const UPLINKS = JSON.stringify({ version: 2, id: 2, operation: 'uplinks' })
const PINNED = JSON.stringify({
  version: 2,
  id: 2,
  operation: 'openPinnedPort',
  port: { uplink: CARD, addresses: ['192.0.2.12'] },
})
const HELLO = JSON.stringify({ version: 2, id: 1, operation: 'hello', client: 'attacker' })

/** What the daemon has and how root fares, sampled while something goes on. */
class Watch {
  readonly #field: Field
  readonly #before: { threads: number; descriptors: number; lines: number; busy: number; at: number }
  readonly #most = { threads: 0, descriptors: 0 }
  readonly #waits: number[] = []
  readonly #faults: string[] = []

  constructor(field: Field) {
    this.#field = field
    this.#before = {
      ...this.#has(),
      lines: field.daemon.program.lines.length,
      busy: this.#busy(),
      at: performance.now(),
    }
  }

  /** Samples until `done`, and once more. */
  async during<T>(work: Promise<T>): Promise<T> {
    let over = false
    const settled = work.finally(() => {
      over = true
    })
    settled.catch(() => {}) // awaited below
    do {
      await this.#sample()
      await Promise.race([sleep(100), settled.catch(() => {})])
    } while (!over)
    await this.#sample()
    return settled
  }

  judgement(did: string, strangers: readonly number[]): Judgement {
    const [threads, descriptors] = [
      this.#most.threads - this.#before.threads,
      this.#most.descriptors - this.#before.descriptors,
    ]
    const slowest = Math.max(...this.#waits)
    const about = new RegExp(` uid=(${strangers.join('|')}) `)
    const lines = this.#field.daemon.program.lines
      .slice(this.#before.lines)
      .filter((line) => about.test(`${line} `)).length
    const busy = (this.#busy() - this.#before.busy) / (performance.now() - this.#before.at)
    const faults = [...this.#faults]
    if (busy > BUSY) faults.push(`the daemon kept ${busy.toFixed(2)} processors busy`)
    if (threads > THREADS) faults.push(`the daemon has ${threads} threads more`)
    if (descriptors > DESCRIPTORS) faults.push(`the daemon has ${descriptors} descriptors more`)
    if (slowest > ROOT_WITHIN) faults.push(`root was let in after ${slowest.toFixed(0)} ms`)
    if (lines > LINES) faults.push(`those without a grant caused ${lines} lines of the log`)
    const saw =
      `${did}; the daemon with ${threads} threads and ${descriptors} descriptors more and ${busy.toFixed(2)} ` +
      `processors busy, root let in after ${slowest.toFixed(0)} ms at most, ${lines} lines in the log`
    return { saw, faults }
  }

  #has() {
    const { pid } = this.#field.daemon.program
    const count = (folder: string) => readdirSync(`/proc/${pid}/${folder}`).length
    return { threads: count('task'), descriptors: count('fd') }
  }

  /**
   * Milliseconds that all of its threads have worked, also those that are gone: `utime` and `stime` in hundredths of a
   * second (proc(5)).
   */
  #busy(): number {
    const stat = readFileSync(`/proc/${this.#field.daemon.program.pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) * 10
  }

  async #sample(): Promise<void> {
    const { threads, descriptors } = this.#has()
    this.#most.threads = Math.max(this.#most.threads, threads)
    this.#most.descriptors = Math.max(this.#most.descriptors, descriptors)
    const late = sleep(5000).then(() => 'within 5 s')
    const came = await Promise.race([
      late,
      this.#field.rootWaits().then(
        (took) => took,
        (error: Error) => error.message,
      ),
    ])
    if (typeof came === 'number') this.#waits.push(came)
    else {
      this.#waits.push(5000)
      this.#faults.push(`root was not let in: ${came}`)
    }
  }
}

/** Attackers that are started for a variant, and watched. */
function watched(
  name: string,
  defence: string,
  work: (field: Field, random: Random, watch: Watch) => Promise<Tried>,
): Attack {
  return {
    name,
    defence,
    async prepare(field): Promise<Attempt> {
      let judgement: Judgement = { saw: 'nothing', faults: [] }
      return {
        async variant(random) {
          const watch = new Watch(field)
          const { words, did, uids, faults = [] } = await work(field, random, watch)
          judgement = watch.judgement(did, uids)
          judgement.faults.push(...faults)
          return words
        },
        judge: async () => judgement,
      }
    },
  }
}

interface Tried {
  words: string
  did: string
  /** Those without a grant. */
  uids: number[]
  faults?: string[]
}

const ended = (programs: readonly Program[]) =>
  Promise.all(programs.map((program) => program.running && program.kill()))

const blockingDescriptors = watched(
  'blocking-descriptors',
  'descriptors of those who may not send any do not arrive, and what blocks while it is closed holds up nobody else',
  async (field, random, watch) => {
    const uid = random.pick([STRANGER, STRANGER, ATTACKER])
    const each = random.pick([1, 1, 4])
    const greeting = random.pick(['strange', 'greeted'])
    const keeping = random.pick(['dropped', 'held'])
    const message = random.pick([HELLO, UPLINKS, PINNED, '{'])
    const program = field.program(
      'descriptors',
      uid,
      field.daemon.socket,
      'linger',
      `${each}`,
      '200',
      greeting,
      keeping,
      message,
    )
    const sent = await watch.during(program.waitFor(/^sent /, 30_000))
    await ended([program])
    const who = uid === STRANGER ? 'somebody without a grant' : 'somebody with a grant'
    return {
      words:
        `${each} sockets that linger beside each of 200 messages of ${who}, ${greeting}, ${keeping}: ` +
        message.slice(0, 40),
      did: sent,
      uids: [STRANGER],
    }
  },
)

const manyDescriptors = watched(
  'many-descriptors',
  'a place is given back only when its descriptors are closed, and so many are taken at most',
  async (field, random, watch) => {
    const [greeting, keeping] = [random.pick(['strange', 'greeted']), random.pick(['dropped', 'held'])]
    const message = random.pick([HELLO, UPLINKS, PINNED])
    const each = random.pick([253, 200, 17])
    const words = ['mixed', `${each}`, '80', greeting, keeping, message]
    const program = field.program('descriptors', STRANGER, field.daemon.socket, ...words)
    const sent = await watch.during(program.waitFor(/^sent /, 30_000))
    await ended([program])
    return {
      words:
        `${each} descriptors beside each of 80 messages, ${greeting}, ${keeping}, ` +
        'one of them a socket that lingers',
      did: sent,
      uids: [STRANGER],
    }
  },
)

/** Valid JSON of almost 64 KiB, in some shape. */
function large(random: Random, id: number): string {
  // What a newer client may ask for does not end the connection.
  const operation = random.pick(['later', 'later', 'later', 'uplinks'])
  const envelope = (rest: object) => JSON.stringify({ version: 2, id, operation, ...rest })
  // Some cost fifty times as much to read as others.
  const shapes = [
    () => envelope({ x: Array.from({ length: 2900 }, () => [[[[[[[[[[]]]]]]]]]]) }),
    () => envelope({ x: Array.from({ length: 21_000 }, () => []) }),
    () => envelope(Object.fromEntries(Array.from({ length: 5000 }, (_, n) => [`k${n + random.below(10)}`, n]))),
    () => envelope({ x: Array.from({ length: 8000 }, () => ({ a: 1 })) }),
    () => envelope({ x: Array.from({ length: 31_000 }, () => 0) }),
    () => envelope({ x: 'a'.repeat(64_000) }),
    () => envelope({ x: '\u0001'.repeat(10_000) }),
    () => envelope({}).padEnd(64_000, ' '),
    () => {
      const addresses = Array.from({ length: 4000 }, () => '192.0.2.12')
      return JSON.stringify({ version: 2, id, operation: 'openPort', port: { uplink: CARD, addresses } })
    },
  ]
  return random.pick(random.chance(0.5) ? shapes.slice(0, 3) : shapes)()
}

const largeMessages = watched(
  'large-messages',
  'bytes and time of a user are budgeted, and those without a grant send small messages',
  async (field, random, watch) => {
    const uids = Array.from({ length: random.pick([1, 2, 3]) }, (_, n) =>
      n === 0 && random.chance(0.3) ? ATTACKER : STRANGER + n,
    )
    const messages = Array.from({ length: 4 }, (_, n) => large(random, n + 1))
    const each = random.pick([4, 1_000_000, 1_000_000])
    const pester = { do: 'pester', connections: 16, messages, seconds: SECONDS, greets: random.chance(0.9), each }
    const clients = uids.map((uid) => field.client(uid))
    await Promise.all(clients.map((client) => client.ask({ do: 'pid' })))
    const done = await watch.during(Promise.all(clients.map((client) => client.ask<Pestered>(pester))))
    await ended(clients.map(({ program }) => program))
    const messagesIn = done.reduce((sum, { messages }) => sum + messages, 0)
    const lengths = messages.map(({ length }) => length).join(', ')
    const words = `16 connections of each of ${uids.length} users, messages of ${lengths} bytes`
    return { words, did: `${messagesIn} messages sent`, uids: uids.filter((uid) => uid !== ATTACKER) }
  },
)

const restlessConnections = watched(
  'restless-connections',
  'connections of a user are few, also by the second',
  async (field, random, watch) => {
    const uids = Array.from({ length: random.pick([1, 2, 3]) }, (_, n) => STRANGER + n)
    const [what, messages, each] = random.pick([
      ['hang up at once', [], 0],
      ['never say hello', [], 1],
      ['send half a message', ['{"version":2,"id":1,"oper'], 1],
      ['send a byte at a time', [...HELLO], 1_000_000],
      ['say hello and hang up', [HELLO], 1],
      ['ask without end', [HELLO, ...Array.from({ length: 199 }, () => UPLINKS)], 1_000_000],
    ] as const)
    const clients = uids.map((uid) => field.client(uid))
    await Promise.all(clients.map((client) => client.ask({ do: 'pid' })))
    const pester = { do: 'pester', connections: 64, messages, seconds: SECONDS, greets: false, each }
    const done = await watch.during(Promise.all(clients.map((client) => client.ask<Pestered>(pester))))
    await ended(clients.map(({ program }) => program))
    const connections = done.reduce((sum, { connections }) => sum + connections, 0)
    return {
      words: `64 connections at once of each of ${uids.length} users, which ${what}`,
      did: `${connections} connections`,
      uids,
    }
  },
)

/** How long clients never rest. */
const SECONDS = 0.8
/** More users than 16 connections each leave room for. */
const USERS = 20

const crowd = watched(
  'crowd',
  'places and lines of the log are kept for those who have a grant, and for root',
  async (field, random, watch) => {
    const uids = Array.from({ length: USERS }, (_, n) => 200_000 + random.below(100) * 1000 + n)
    const deed = random.pick(['greeted', 'strange'])
    const words = ['null', '0', '16', deed, 'held', UPLINKS]
    const programs = uids.map((uid) => field.program('descriptors', uid, field.daemon.socket, ...words))
    await watch.during(Promise.all(programs.map((program) => program.waitFor(/^sent /, 30_000))))
    // While all of them are there, somebody with a grant comes.
    const net = await Promise.race([late(field), sleep(3000).then(() => 'not within 3 s')])
    await watch.during(sleep(200))
    await ended(programs)
    const tried = `16 connections of each of ${USERS} users, ${deed}`
    return net === undefined
      ? { words: tried, did: 'somebody with a grant let in', uids }
      : {
          words: tried,
          did: 'somebody with a grant kept out',
          uids,
          faults: [`somebody with a grant is not let in: ${net}`],
        }
  },
)

/** What keeps somebody with a grant out. */
async function late(field: Field): Promise<string | undefined> {
  const client = field.client(ATTACKER)
  try {
    const began = performance.now()
    await client.ask({ do: 'connect' })
    await client.ask({ do: 'uplinks' })
    const took = performance.now() - began
    return took > 10 * PROMPT ? `it took ${took.toFixed(0)} ms` : undefined
  } catch (error) {
    return (error as Error).message
  } finally {
    await client.kill()
  }
}

export const controlPlane: readonly Attack[] = [
  { ...blockingDescriptors, variants: 3 },
  manyDescriptors,
  { ...largeMessages, variants: 3 },
  restlessConnections,
  crowd,
]
