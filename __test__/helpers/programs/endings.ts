// Readers, senders, ports and connections that end in every way and at every moment. What ends must end, and leave
// nothing.
import { once } from 'node:events'
import { readdirSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { type Batch, connect, type Frame, type Network, type Port } from 'xsknet'
import { Random } from './random.js'
import { say, serve } from './serve.js'

/** A port under fire, or one for which nothing comes. */
interface Place {
  uplink: string
  name: string
  addresses: string[]
  busy: boolean
}

/** Where the reader's loop is when it happens. */
const STATES = ['new', 'waiting', 'within', 'held'] as const
type State = (typeof STATES)[number]

/** What happens to it. */
const LOOP_ENDINGS = ['break', 'throw', 'return', 'abort'] as const
const PORT_ENDINGS = ['close', 'destroy', 'destroy for a reason', 'close and destroy'] as const
type Ending = (typeof LOOP_ENDINGS)[number] | (typeof PORT_ENDINGS)[number] | 'close the network'

const PATIENCE = 3000

/** What a test fails with. */
class Fault extends Error {}

function must(holds: boolean, what: string): void {
  if (!holds) throw new Fault(what)
}

async function within<T>(what: string, promise: Promise<T>): Promise<T> {
  const late = new AbortController()
  const never = sleep(PATIENCE, undefined, { signal: late.signal }).then(() => {
    throw new Fault(`not ${what} within ${PATIENCE} ms`)
  })
  never.catch(() => {})
  try {
    return await Promise.race([promise, never])
  } finally {
    late.abort()
  }
}

async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = performance.now() + PATIENCE
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Fault(`not ${what} within ${PATIENCE} ms`)
    await sleep(5)
  }
}

const codeOf = (error: unknown) => (error as { code?: string } | undefined)?.code

/**
 * What is open, without what comes and goes by itself, and without source files: Node has left one open that a thread
 * was reading when it was terminated.
 */
function descriptors(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const what = readlinkSync(`/proc/self/fd/${fd}`)
      return what.endsWith('.js') ? [] : [what]
    } catch {
      return [] // the one that listed them
    }
  })
}

/** Waits until nothing is open that was not before. */
async function nothingMoreThan(before: readonly string[]): Promise<void> {
  let more: string[] = []
  const settled = () => {
    const now = descriptors()
    more = now.filter((what) => !before.includes(what))
    return now.length <= before.length
  }
  await until('without its descriptors', settled).catch((error: Error) => {
    throw new Fault(`${error.message}: ${more.join(', ')}`)
  })
}

/** What was kept of a batch although nobody should. */
interface Kept {
  batch: Batch
  frame: Frame
  memory: Uint8Array
}

/** One port: some loops that end, then its own end, one after the other. */
class Life {
  /** For whoever looks for the fault. */
  readonly story: string[] = []
  readonly #random: Random
  readonly #net: Network
  readonly #ownNet: boolean
  readonly #place: Place
  readonly #port: Port
  readonly #sends: Promise<unknown>[] = []
  readonly #reason = new Error('the reason')
  readonly #signals = new Set<unknown>()
  #kept: Kept | undefined
  #ended: Ending | undefined

  constructor(random: Random, net: Network, ownNet: boolean, place: Place, port: Port) {
    this.#random = random
    this.#net = net
    this.#ownNet = ownNet
    this.#place = place
    this.#port = port
  }

  /** How many endings it saw. */
  async live(): Promise<number> {
    let endings = 0
    for (let loops = this.#random.below(9); loops > 0 && !this.#ended; loops--) {
      await this.#loop(this.#ending(this.#random.chance(0.85)))
      endings++
      if (!this.#ended) await this.#atHome()
    }
    if (!this.#ended) {
      this.#send()
      this.#end(this.#ending(false))
      endings++
    }
    await this.#isOver()
    return endings
  }

  #ending(ofLoop: boolean): Ending {
    if (ofLoop) return this.#random.pick(LOOP_ENDINGS)
    return this.#ownNet && this.#random.chance(0.5) ? 'close the network' : this.#random.pick(PORT_ENDINGS)
  }

  /** Reads until it ends in this way. */
  async #loop(ending: Ending): Promise<void> {
    const { busy } = this.#place
    const inBody = ending === 'break' || ending === 'throw'
    if (inBody && !busy) return
    const state = inBody
      ? this.#random.pick(['within', 'held'] as const)
      : this.#random.pick(busy ? STATES : (['new', 'waiting'] as const))
    this.story.push(`${ending} (${state})`)

    const aborter = new AbortController()
    const aborted = new Error('aborted')
    const thrown = new Error('thrown')
    const max = this.#random.pick([1, 7, 64, 10_000])
    const reader = this.#port.batches({ max, signal: aborter.signal })
    const end = () => {
      if (ending === 'return') void reader.return?.()
      else if (ending === 'abort') aborter.abort(aborted)
      else if (!inBody) this.#end(ending)
    }
    const read = async () => {
      let batches = 1 + this.#random.below(5)
      for await (const batch of reader) {
        this.#treat(batch)
        if (--batches > 0 || state === 'new' || state === 'waiting') continue
        if (state === 'held') await turn()
        // By whoever else there is while the body waits, or by the body itself.
        if (state === 'held' && !inBody && this.#random.chance(0.5)) {
          setImmediate(end)
          await turn()
          await turn()
        } else {
          end()
        }
        if (state === 'held' && this.#random.chance(0.5)) await turn()
        if (ending === 'break') break
        if (ending === 'throw') throw thrown
        if (this.#ended || ending === 'return') this.#leaseIsOver()
        batches = Number.POSITIVE_INFINITY
      }
    }

    if (this.#random.chance(0.3)) this.#send()
    if (state === 'new') end()
    const reading = read().then(
      () => undefined,
      (error) => error as Error,
    )
    if (state === 'waiting') {
      await turn()
      if (this.#random.chance(0.2)) await this.#secondReader()
      if (this.#random.chance(0.2)) this.#port.unref().ref()
      end()
    }
    const error = await within(`out of the loop after ${ending} (${state})`, reading)

    if (ending === 'throw') must(error === thrown, `it threw ${error}`)
    else if (ending === 'abort') must(error === aborted, `an aborted loop ended with ${error}`)
    else if (this.#ended && state === 'new') must(codeOf(error) === 'ERR_XSKNET_PORT_CLOSED', `it ended with ${error}`)
    else if (ending === 'destroy for a reason')
      must(error === this.#reason, `a destroyed port's loop ended with ${error}`)
    else must(error === undefined, `it ended with ${error}: ${codeOf(error)}`)
    this.#leaseIsOver()
  }

  /** What people do with frames. */
  #treat(batch: Batch): void {
    must(batch.length > 0, 'an empty batch')
    for (const frame of batch) {
      const deed = this.#random.below(6)
      if (deed === 0) frame.send()
      else if (deed === 1) frame.drop()
      else if (deed === 2) must(frame.copy().length === frame.length, 'a copy of another length')
      else frame.setUint8(0, frame.uint8(0) ^ 1)
    }
    for (let fresh = this.#random.below(4); fresh > 0; fresh--) {
      const frame = batch.allocate()
      if (!frame) break
      frame.length = 60
      if (this.#random.chance(0.8)) frame.send()
    }
    if (this.#random.chance(0.1)) batch.flush()
    this.#kept = { batch, frame: batch.at(0), memory: batch.memory }
  }

  #leaseIsOver(): void {
    if (!this.#kept) return
    const { batch, frame } = this.#kept
    for (const touch of [() => batch.length, () => frame.uint8(0), () => frame.send(), () => batch.allocate()]) {
      let code: string | undefined
      try {
        touch()
      } catch (error) {
        code = codeOf(error)
      }
      must(code === 'ERR_XSKNET_LEASE_ENDED', `a frame of a lease that has ended could be touched: ${code}`)
    }
  }

  async #secondReader(): Promise<void> {
    const error = await within(
      'told that there is a reader',
      this.#port
        .batches()
        .next()
        .then(
          () => undefined,
          (error) => error,
        ),
    )
    must(codeOf(error) === 'ERR_XSKNET_READER_BUSY', `a second reader was told ${error}`)
  }

  /** As many as leave at once, or as must wait. */
  #send(): void {
    const count = this.#random.pick([1, 5, 500])
    this.story.push(`${count} sends`)
    const bytes = new Uint8Array(60).fill(this.#random.below(256))
    const aborter = this.#random.chance(0.3) ? new AbortController() : undefined
    for (let n = 0; n < count; n++) {
      if (this.#random.chance(0.1)) this.#port.trySend(bytes)
      else this.#sends.push(this.#port.send(bytes, aborter && { signal: aborter.signal }))
    }
    for (const send of this.#sends) send.catch(() => {})
    if (!aborter) return
    const aborted = new Error('a send was aborted')
    this.#signals.add(aborted)
    setImmediate(() => aborter.abort(aborted))
  }

  #end(ending: Ending): void {
    this.story.push(`ends: ${ending}`)
    this.#ended = ending
    const port = this.#port
    const deeds: Record<string, () => Promise<void>[]> = {
      close: () => [port.close(), port.close()],
      destroy: () => [port.destroy(), port.close()],
      'destroy for a reason': () => [port.destroy(this.#reason)],
      'close and destroy': () => [port.close(), port.destroy()],
      'close the network': () => [this.#net.close()],
    }
    for (const end of deeds[ending]?.() ?? []) end.catch(() => {})
  }

  /** After a loop and before the end: no frame is lost. */
  async #atHome(): Promise<void> {
    await within('sent', Promise.allSettled(this.#sends))
    let left = ''
    await until('at home', async () => {
      const { chunks } = await this.#port.stats()
      const { free, held, fill, tx, total } = chunks
      left = JSON.stringify(chunks)
      return held === 0 && tx === 0 && free + fill === total
    }).catch((error: Error) => {
      throw new Fault(`${error.message}: ${left}`)
    })
  }

  async #isOver(): Promise<void> {
    const closed = this.#port.closed.then(
      () => undefined,
      (error) => error,
    )
    const why = await within('closed', closed)
    must(why === (this.#ended === 'destroy for a reason' ? this.#reason : undefined), `\`closed\` settled with ${why}`)
    for (const sent of await within('told of each frame sent', Promise.allSettled(this.#sends))) {
      if (sent.status === 'fulfilled' || this.#signals.has(sent.reason)) continue
      must(codeOf(sent.reason) === 'ERR_XSKNET_PORT_CLOSED', `a send was told ${sent.reason}`)
    }
    this.#leaseIsOver()
    if (this.#kept) must(this.#kept.memory.length === 0, `a view still has ${this.#kept.memory.length} bytes`)
    const late = await this.#port.send(new Uint8Array(60)).catch(codeOf)
    must(late === 'ERR_XSKNET_PORT_CLOSED', `a closed port's send() told ${late}`)
    await within(
      'closed again',
      this.#port.close().catch(() => {}),
    )
  }
}

let net: Network

serve({
  connect: async () => {
    net = await connect()
  },

  /** So many lives of ports, one after the other. */
  live: async ({ seed, ports, places }: { seed: number; ports: number; places: Place[] }) => {
    const faults: string[] = []
    const seen = { ports: 0, endings: 0 }
    // What is opened once and kept does not count.
    await (await net.openPort(optionsOf(places[0] as Place))).close()
    const before = descriptors()
    for (let n = 0; n < ports && faults.length < 5; n++) {
      const random = new Random(seed + n)
      const ownNet = random.chance(0.2)
      const place = random.pick(places)
      const its = ownNet ? await connect() : net
      const life = new Life(random, its, ownNet, place, await its.openPort(optionsOf(place)))
      try {
        seen.endings += await life.live()
        if (ownNet) await within('disconnected', its.close())
        await until('without its port', async () => (await net.ports()).length === 0)
        await nothingMoreThan(before)
      } catch (error) {
        faults.push(`seed ${seed + n}, ${place.name}: ${life.story.join(', ')}: ${error}`)
      }
      seen.ports++
    }
    await net.close()
    return { ...seen, faults }
  },

  /** Ends the process, in the way and at the moment that it is told. */
  end: ({ how, state, place }: { how: string; state: State | 'opening' | 'closing' | 'sending'; place: Place }) => {
    void endProcess(how, state, place)
  },

  /** Threads that connect, open and read, and are ended at some point of it, or end themselves. */
  threads: async ({ seed, count, place }: { seed: number; count: number; place: Place }) => {
    const faults: string[] = []
    const exits: Record<string, number> = {}
    const random = new Random(seed)
    net = await connect()
    const options = optionsOf(place)
    const thread = async (stage: string, how: string) => {
      const worker = new Worker(new URL('endings-thread.js', import.meta.url), { workerData: { options, stage, how } })
      const exit = once(worker, 'exit')
      worker.on('message', (reached) => {
        if (how === 'terminate' && reached === stage) void worker.terminate()
      })
      await within('gone', exit)
      exits[`${how} ${stage}`] = (exits[`${how} ${stage}`] ?? 0) + 1
    }
    await thread('reading', 'terminate')
    const before = descriptors()
    for (let n = 0; n < count && faults.length < 5; n++) {
      const stage = random.pick(['importing', 'connecting', 'connected', 'opening', 'open', 'reading'])
      const how = random.pick(['terminate', 'terminate', 'exit', 'close'])
      try {
        await thread(stage, how)
        await until('without its port', async () => (await net.ports()).length === 0)
        await nothingMoreThan(before)
      } catch (error) {
        faults.push(`thread ${n} of seed ${seed}: ${how} while ${stage}: ${error}`)
      }
    }
    await net.close()
    return { exits, faults }
  },
})

const optionsOf = ({ uplink, name, addresses }: Place) => ({ uplink, name, addresses, ringSize: 64, frames: 256 })

async function endProcess(how: string, state: string, place: Place): Promise<void> {
  const end = () => {
    say('ending')
    if (how === 'exit') process.exit(0)
    else if (how === 'throw') setImmediate(() => Promise.reject(new Error('nobody caught this')))
    else if (how === 'kill') process.kill(process.pid, 'SIGKILL')
    else process.stdin.destroy() // falls off the end: nothing else keeps the process
  }
  net = await connect()
  const opening = net.openPort(optionsOf(place))
  if (state === 'opening') {
    await turn()
    end()
  }
  const port = await opening
  const reader = port.batches()
  if (how === 'unref') port.unref()
  if (state === 'new') {
    end()
    if (how === 'fall off') return // an open port keeps nobody who does not read
  }
  if (state === 'sending') {
    for (let n = 0; n < 500; n++) port.send(new Uint8Array(60)).catch(() => {})
    end()
  }
  if (state === 'closing') {
    for (let n = 0; n < 500; n++) port.send(new Uint8Array(60)).catch(() => {})
    void port.close()
    end()
    return
  }
  if (state === 'waiting') setImmediate(end)
  for await (const batch of reader) {
    if (state === 'held') await turn()
    if (state !== 'waiting') end()
    batch.at(0).uint8(0)
    // Who falls off the end stops reading, too: else frames would keep it.
    if (how === 'unref' && state !== 'waiting') return
  }
}
