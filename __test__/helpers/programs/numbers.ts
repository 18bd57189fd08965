// Numbered datagrams, checked one by one: read, sent back, or sent. The sources and sinks of the lab make and take the
// same.
import { setImmediate as turn } from 'node:timers/promises'
import { connect, type Network, type Port, type PortOptions, type Queue } from 'xsknet'
import { misuseBatches, misuseDescriptors } from './misuse.js'
import { Checker, Numbered, type To, turnAround } from './numbered.js'
import { Random } from './random.js'
import { serve } from './serve.js'

let net: Network
let port: Port
let beside: Port
let checker = new Checker()
let ending = new AbortController()
let reading: Promise<void> = Promise.resolve()

/** By which part of the package: leases of an iterator, or descriptors by explicit calls. */
export type Level = 'batches' | 'descriptors'

const levels = {
  batches: { read, emit },
  descriptors: { read: readDescriptors, emit: emitDescriptors },
}

/** Reads until it is told to stop, or until so many came, and sends back what it was sent if it is to. */
async function read(back: boolean, frames: number): Promise<void> {
  const { seen } = checker
  try {
    for await (const batch of port.batches({ signal: ending.signal })) {
      seen.batches++
      const { memory } = batch
      for (const frame of batch) {
        const { offset } = frame
        if (!checker.check(memory, offset, frame.length) || !back) continue
        turnAround(memory, offset)
        if (!frame.send()) seen.unsent++
      }
      if (seen.frames >= frames) break
    }
  } catch (error) {
    if (error !== ending.signal.reason) throw error
  }
}

/** Until it is told to stop. */
async function readable(queue: Queue, signal: AbortSignal): Promise<boolean> {
  try {
    return await queue.readable({ signal })
  } catch (error) {
    if (error === signal.reason) return false
    throw error
  }
}

async function readDescriptors(back: boolean, frames: number): Promise<void> {
  const { seen } = checker
  const queue = port.queue(0)
  const batch = queue.batch(64)
  const rest = queue.batch(64)
  const { descriptors, memory } = batch
  const { signal } = ending
  while (seen.frames < frames && (await readable(queue, signal))) {
    let kept = batch.length // those that found no slot
    if (queue.receive(batch) > 0) seen.batches++
    for (let i = kept; i < batch.length; i++) {
      const [offset, length] = [descriptors[2 * i] as number, descriptors[2 * i + 1] as number]
      const own = checker.check(memory, offset, length) && back
      if (own) turnAround(memory, offset)
      const [to, place] = own ? [descriptors, kept++] : [rest.descriptors, rest.length++]
      to[2 * place] = offset
      to[2 * place + 1] = length
    }
    batch.length = kept
    queue.transmit(batch)
    queue.recycle(rest)
    if (batch.length > 0) await turn() // there is no slot
  }
  while (batch.length > 0) {
    queue.kick()
    queue.transmit(batch)
    await turn()
  }
  queue.kick()
}

/** Sends numbers from 0 on in each flow, the flows in turn. */
async function emit(to: To, frames: number, flows: number): Promise<void> {
  const numbered = new Numbered(port, to)
  for (let sent = 0; sent < frames; sent++) {
    numbered.write(numbered.bytes, 0, sent % flows, Math.floor(sent / flows))
    if (!port.trySend(numbered.bytes)) await port.send(numbered.bytes)
    if (sent % 64 === 63) await null // one kick
  }
}

async function emitDescriptors(to: To, frames: number, flows: number): Promise<void> {
  const numbered = new Numbered(port, to)
  const queue = port.queue(0)
  const batch = queue.batch(64)
  const { descriptors, memory } = batch
  let written = 0
  while (written < frames || batch.length > 0) {
    const first = batch.length
    queue.allocate(batch, frames - written)
    for (let i = first; i < batch.length; i++, written++) {
      numbered.write(memory, descriptors[2 * i] as number, written % flows, Math.floor(written / flows))
      descriptors[2 * i + 1] = numbered.bytes.length
    }
    if (queue.transmit(batch) > 0) continue
    queue.kick()
    await turn()
  }
  queue.kick()
}

serve({
  open: async ({ id: _, do: __, ...options }: PortOptions & { id: unknown; do: unknown }) => {
    net = await connect()
    port = await net.openPort(options)
    return port.info
  },
  /** Begins to read; `back`: and to send back. */
  read: ({ back, level = 'batches' }: { back: boolean; level?: Level }) => {
    checker = new Checker()
    ending = new AbortController()
    reading = levels[level].read(back, Number.POSITIVE_INFINITY)
    reading.catch(() => {})
  },
  seen: () => checker.seen,
  /** Ends the reader, and tells what it saw. */
  stop: async () => {
    ending.abort()
    await reading
    return checker.seen
  },
  /** Sends so many, and resolves when all are queued. */
  emit: ({ to, frames, flows, level }: { to: To; frames: number; flows: number; level: Level }) =>
    levels[level].emit(to, frames, flows),
  /** Reads so many, and tells how often the event loop turned meanwhile, asking the kernel for events each time. */
  readSome: async ({ frames, back, level = 'batches' }: { frames: number; back: boolean; level?: Level }) => {
    checker = new Checker()
    ending = new AbortController()
    const began = performance.nodeTiming.uvMetricsInfo.loopCount
    await levels[level].read(back, frames)
    return { ...checker.seen, turns: performance.nodeTiming.uvMetricsInfo.loopCount - began }
  },
  /** Does what nobody should, so many batches long; beside it there is another port, open meanwhile. */
  misuse: async ({
    level,
    seed,
    batches,
    other,
  }: {
    level: Level
    seed: number
    batches: number
    other: PortOptions
  }) => {
    const random = new Random(seed)
    if (level === 'descriptors') return misuseDescriptors(port, random, batches)
    const closed = await net.openPort(other)
    await closed.close()
    beside = await net.openPort(other)
    return misuseBatches(port, beside, closed, random, batches)
  },
  statsBeside: () => beside.stats(),
  stats: () => port.stats(),
  close: () => port.close(),
})
