// A reader that knows what it allocates. Run it with a nursery so large that nothing is collected while it reads.
import { type Batch, connect, type Port, type PortOptions } from 'xsknet'
import { ethernet, ipv4, udp } from 'xsknet/headers'
import { collect, collectionsBetween, heapUsed } from './collections.js'
import { serve } from './serve.js'

/** What reading a number of frames came to. */
export interface Reading {
  frames: number
  batches: number
  /** Bytes that were put on the heap, garbage included. */
  allocated: number
  /** Bytes that are still there after garbage was collected. */
  kept: number
  /** Collections meanwhile: there must be none, or `allocated` is too small. */
  collections: number
  /** So that no header is read in vain. */
  payload: number
}

let port: Port
let payload = 0
/** Waiting on it gives frames the time to pile up. */
const pause = new Int32Array(new SharedArrayBuffer(4))

function headers(frames: Batch): void {
  for (const frame of frames) {
    const packet = ipv4(frame)
    if (ethernet(frame)?.etherType !== 0x0800 || packet?.protocol !== 17 || packet.ttl === 0) continue
    const datagram = udp(frame)
    if (datagram?.destinationPort === 9) payload += datagram.payloadLength
  }
}

/** What nobody should do: an object a frame. */
function views(frames: Batch): void {
  for (const frame of frames) payload += frames.memory.subarray(frame.offset, frame.offset + frame.length).length
}

async function read(frames: number, max: number, treat: (frames: Batch) => void): Promise<Reading> {
  let [left, batches] = [frames, 0]
  payload = 0
  await collect()
  const before = heapUsed()
  const began = performance.now()
  for await (const batch of port.batches({ max })) {
    treat(batch)
    batches++
    left -= batch.length
    if (left <= 0) break
    if (batch.length < max) Atomics.wait(pause, 0, 0, 1)
  }
  const ended = performance.now()
  const allocated = heapUsed() - before
  await collect()
  return {
    frames: frames - left,
    batches,
    allocated,
    kept: heapUsed() - before,
    collections: collectionsBetween(began, ended),
    payload,
  }
}

/** What reading by descriptors came to: some stretches of so many frames, without a turn of the event loop. */
export interface Stretches {
  /** Bytes that the heap grew by in each, those included that looking at it costs. */
  grown: number[]
  /** What looking costs alone. */
  looking: number
  /** Collections in all of them. */
  collections: number
  frames: number
  batches: number
  payload: number
}

function readDescriptors(frames: number, stretches: number): Omit<Stretches, 'collections' | 'looking'> {
  const queue = port.queue(0)
  const batch = queue.batch(64)
  const { descriptors, memory } = batch
  const grown: number[] = new Array(stretches).fill(0)
  let [read, batches] = [0, 0]
  payload = 0
  for (let n = 0; n < stretches; n++) {
    const before = heapUsed()
    const end = (n + 1) * frames
    while (read < end) {
      const received = queue.recycleAndReceive(batch)
      for (let i = 0; i < received; i++) {
        const at = descriptors[2 * i] as number
        // Ethernet's type, and the number at its place behind IPv4 and UDP.
        if (memory[at + 12] === 8) payload += (memory[at + 49] as number) + (descriptors[2 * i + 1] as number)
      }
      // Some are sent, such as they are: the guard drops them. One more is taken and given back unused.
      if ((batches & 3) === 0) queue.transmit(batch)
      if (batch.length < batch.capacity) queue.allocate(batch, 1)
      if ((batches & 1) === 0) queue.recycle(batch)
      read += received
      batches++
      if (received < 64) Atomics.wait(pause, 0, 0, 1)
    }
    grown[n] = heapUsed() - before
  }
  return { frames: read, batches, payload, grown }
}

serve({
  open: async ({ id: _, do: __, ...options }: PortOptions & { id: number; do: string }) => {
    port = await (await connect()).openPort(options)
    return port.info
  },
  /** Reads some stretches of so many frames by descriptors. */
  descriptors: async ({ frames, stretches }: { frames: number; stretches: number }) => {
    await collect()
    const [first, second] = [heapUsed(), heapUsed()]
    const began = performance.now()
    const read = readDescriptors(frames, stretches)
    const ended = performance.now()
    await collect() // told in order
    return { ...read, looking: second - first, collections: collectionsBetween(began, ended) }
  },
  /** Reads so many frames, up to `max` a batch. */
  read: ({ frames, max, as }: { frames: number; max: number; as: 'headers' | 'views' }) =>
    read(frames, max, as === 'headers' ? headers : views),
})
