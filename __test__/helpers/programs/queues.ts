// A client that gives queues of its ports to threads. What a thread says, it says on.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { adoptQueue, type QueueToken } from 'xsknet'
import { parseIpv4, parseMac } from 'xsknet/headers'
import { holding, type Opening, open, orders } from './orders.js'
import { serve } from './serve.js'

interface Held {
  worker: Worker
  said: { what: string; told: unknown }[]
  /** The exit code. */
  over: Promise<number>
}

const threads = new Map<string, Held>()
const tokens: QueueToken[] = []
let forwarding: Promise<number>

const codeOf = (error: unknown) => (error as { code?: string }).code ?? String(error)
const attempt = (act: () => unknown) => {
  try {
    act()
    return null
  } catch (error) {
    return codeOf(error)
  }
}

function thread(name: string): Held {
  const found = threads.get(name)
  if (!found) throw new Error(`there is no thread ${name} here`)
  return found
}

async function heard(name: string, what: string): Promise<unknown> {
  const { worker, said, over } = thread(name)
  for (;;) {
    const at = said.findIndex((message) => message.what === what)
    if (at >= 0) return said.splice(at, 1)[0]?.told
    await Promise.race([
      once(worker, 'message'),
      over.then(() => Promise.reject(new Error(`thread ${name} ended before ${what}`))),
    ])
  }
}

serve({
  ...orders,
  /** Takes a queue off a port, and remembers the token. */
  token: ({ as = 'port', queue = 0 }: { as?: string; queue?: number }) => {
    tokens.push(holding(as).port.queue(queue).token())
    return tokens.length - 1
  },
  /**
   * Tries the same while frames are held by descriptors; says the error, if it was one, and how many of them are left.
   */
  tokenOfHolder: ({ as, hold }: { as: string; hold: number }) => {
    const queue = holding(as).port.queue(0)
    const batch = queue.batch(hold)
    queue.allocate(batch)
    return { refused: attempt(() => queue.token()), left: queue.recycle(batch) }
  },
  /** Has a thread adopt the queue of a token, and read it. */
  adopt: async ({ token, name, how = 'echo' }: { token: number; name: string; how?: string }) => {
    const worker = new Worker(new URL('queues-thread.js', import.meta.url), {
      workerData: { token: tokens[token], how },
    })
    const said: Held['said'] = []
    worker.on('message', (message) => said.push(message))
    threads.set(name, { worker, said, over: once(worker, 'exit').then(([code]) => code) })
    return heard(name, 'adopted')
  },
  /** Adopts a token in this thread; says the error, if it was one. */
  adoptHere: ({ token }: { token: number }) => attempt(() => adoptQueue(tokens[token] as QueueToken)),
  tell: ({ name, what }: { name: string; what: string }) => thread(name).worker.postMessage(what),
  heard: ({ name, what }: { name: string; what: string }) => heard(name, what),
  terminate: ({ name }: { name: string }) => thread(name).worker.terminate(),
  /** Its exit code. */
  over: ({ name }: { name: string }) => thread(name).over,
  exit: () => process.exit(0),
  /** Opens a port on the memory of another one. */
  openBeside: ({ first, ...order }: Opening & { first: string }) =>
    open(order, (options, network) => network.openPort({ ...options, umemOf: holding(first).port })),
  /** Passes IPv4 on to another port, as if that had sent it; ends with the loop, and says how many were. */
  forward: ({ from, to }: { from: string; to: string }) => {
    const [source, target] = [holding(from).port, holding(to).port]
    const [mac, address] = [
      parseMac(target.info.mac),
      parseIpv4((target.info.addresses[0] as string).replace(/\/.*/, '')),
    ]
    forwarding = (async () => {
      let passed = 0
      for await (const batch of source.batches()) {
        const { memory } = batch
        for (const frame of batch) {
          if (frame.length < 34 || frame.uint16(12) !== 0x800) continue
          memory.copyWithin(frame.offset, frame.offset + 6, frame.offset + 12)
          for (let i = 0; i < 6; i++) memory[frame.offset + 6 + i] = Math.floor(mac / 2 ** (40 - 8 * i))
          frame.setUint32(30, frame.uint32(26))
          frame.setUint32(26, address)
          if (frame.forward(target)) passed++
        }
      }
      return passed
    })()
  },
  forwarded: () => forwarding,
  destroyFor: ({ as = 'port', why }: { as?: string; why: string }) => holding(as).port.destroy(new Error(why)),
  queueClosed: ({ as = 'port', queue = 0 }: { as?: string; queue?: number }) =>
    holding(as)
      .port.queue(queue)
      .closed.then(() => null, codeOf),
  /** What everything says that can be asked of a queue. */
  refusals: async ({ as = 'port', queue = 0 }: { as?: string; queue?: number }) => {
    const one = holding(as).port.queue(queue)
    return {
      trySend: attempt(() => one.trySend(new Uint8Array(60))),
      stats: attempt(() => one.stats()),
      token: attempt(() => one.token()),
      send: await one.send(new Uint8Array(60)).then(() => null, codeOf),
      batches: await one
        .batches()
        .next()
        .then(() => null, codeOf),
    }
  },
})
