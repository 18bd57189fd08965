// Numbered datagrams, checked one by one: read, sent back, or sent. The sources and sinks of the lab make and take the same.
import { connect, type Port, type PortOptions } from 'xsknet'
import { Checker, Numbered, type To, turnAround } from './numbered.js'
import { serve } from './serve.js'

let port: Port
let checker = new Checker()
let ending = new AbortController()
let reading: Promise<void> = Promise.resolve()

/** Reads until it is told to stop, or until so many came, and sends back what it was sent if it is to. */
async function read(back: boolean, frames = Number.POSITIVE_INFINITY): Promise<void> {
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

/** Sends numbers from 0 on in each flow, the flows in turn. */
async function emit(to: To, frames: number, flows: number): Promise<void> {
  const numbered = new Numbered(port, to)
  for (let sent = 0; sent < frames; sent++) {
    numbered.write(numbered.bytes, 0, sent % flows, Math.floor(sent / flows))
    if (!port.trySend(numbered.bytes)) await port.send(numbered.bytes)
    if (sent % 64 === 63) await null // one kick
  }
}

serve({
  open: async ({ id: _, do: __, ...options }: PortOptions & { id: unknown; do: unknown }) => {
    port = await (await connect()).openPort(options)
    return port.info
  },
  /** Begins to read; `back`: and to send back. */
  read: ({ back }: { back: boolean }) => {
    checker = new Checker()
    ending = new AbortController()
    reading = read(back)
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
  emit: ({ to, frames, flows }: { to: To; frames: number; flows: number }) => emit(to, frames, flows),
  /** Reads so many, and tells how often the event loop turned meanwhile, asking the kernel for events each time. */
  readSome: async ({ frames, back }: { frames: number; back: boolean }) => {
    checker = new Checker()
    ending = new AbortController()
    const began = performance.nodeTiming.uvMetricsInfo.loopCount
    await read(back, frames)
    return { ...checker.seen, turns: performance.nodeTiming.uvMetricsInfo.loopCount - began }
  },
  stats: () => port.stats(),
  close: () => port.close(),
})
