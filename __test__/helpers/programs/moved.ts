// Does with the memory of a port what nobody should: moves it away, keeps it, and touches it when the port is long
// closed.
import { setImmediate as turn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { connect, type Port, type PortOptions } from 'xsknet'
import { collectGarbage } from './garbage.js'
import { serve } from './serve.js'

/** How the memory is taken away. Each gives whoever has it then, or says why it stayed. */
const ways: Record<string, (buffer: ArrayBuffer) => ArrayBuffer | string> = {
  nobody: (buffer) => buffer,
  transfer: (buffer) => {
    const { transfer } = buffer as ArrayBuffer & { transfer?: () => ArrayBuffer }
    return transfer ? transfer.call(buffer) : 'there is no transfer() yet'
  },
  transferToFixedLength: (buffer) => {
    const { transferToFixedLength } = buffer as ArrayBuffer & {
      transferToFixedLength?: (length: number) => ArrayBuffer
    }
    return transferToFixedLength ? transferToFixedLength.call(buffer, 4096) : 'there is no transferToFixedLength() yet'
  },
  structuredClone: (buffer) => structuredClone(buffer, { transfer: [buffer] }),
  postMessage: (buffer) => {
    const worker = new Worker('require("node:worker_threads").parentPort.once("message", () => {})', { eval: true })
    worker.unref()
    worker.postMessage(buffer, [buffer])
    return buffer
  },
}

/** What became of it. */
export interface Moved {
  /** Bytes that whoever had it then could reach: moved, after the close, and after everything was collected. */
  moved: number | string
  closed?: number | undefined
  collected?: number | undefined
  /** The lengths of the port's own views of it: they must be 0 after the close. */
  stale: number[]
}

/** Reads and writes at both ends, and returns the length. A fault is the end of the process. */
function touch(buffer: ArrayBuffer): number {
  if (buffer.byteLength === 0) return 0
  const bytes = new Uint8Array(buffer)
  for (const at of [0, bytes.length >> 1, bytes.length - 1]) bytes[at] = (bytes[at] ?? 0) ^ 1
  return bytes.length
}

/** The same to the table of a batch of descriptors, under load. Whatever stands there then, nothing may fault. */
async function moveTable(options: PortOptions, way: string): Promise<Moved> {
  const net = await connect()
  const port = await net.openPort(options)
  const queue = port.queue(0)
  const batch = queue.batch(64)
  const { descriptors, memory } = batch
  let taken: ArrayBuffer | undefined
  let moved: number | string
  try {
    const what = ways[way]?.(descriptors.buffer as ArrayBuffer)
    if (typeof what !== 'string') taken = what
    moved = taken ? touch(taken) : String(what)
  } catch (error) {
    moved = String(error)
  }
  for (let received = 0, calls = 0; received < 100 || calls < 20; calls++) {
    received += queue.receive(batch)
    if (taken) touch(taken)
    if (calls % 2 === 0) queue.transmit(batch)
    queue.recycle(batch)
    await turn()
  }
  await port.close()
  const closed = taken && touch(taken)
  await collectGarbage()
  const collected = taken && touch(taken)
  // An empty batch would cost no call.
  batch.length = 1
  const calls = [
    () => queue.receive(batch),
    () => queue.allocate(batch),
    () => queue.transmit(batch),
    () => queue.recycle(batch),
  ]
  for (const call of [...calls, () => queue.kick(), () => queue.batch(64)]) {
    let code: string | undefined
    try {
      call()
    } catch (error) {
      code = (error as { code?: string }).code
    }
    if (code !== 'ERR_XSKNET_PORT_CLOSED') throw new Error(`a queue that is closed told ${code} at ${call}`)
  }
  await net.close()
  return { moved, closed, collected, stale: [...new Set([descriptors.length, memory.length])] }
}

async function move(options: PortOptions, way: string): Promise<Moved> {
  const net = await connect()
  let port: Port = await net.openPort(options)
  const stale: Uint8Array[] = []
  let taken: ArrayBuffer | undefined
  let moved: number | string = 'nothing was read'
  let batches = 0
  for await (const batch of port.batches()) {
    const { memory } = batch
    stale.push(memory)
    if (!taken) {
      try {
        const what = ways[way]?.(memory.buffer as ArrayBuffer)
        if (typeof what === 'string') moved = what
        else taken = what
        if (taken) moved = touch(taken)
      } catch (error) {
        moved = String(error) // the engine may refuse
      }
    }
    // The frames may have lost their memory, and say what they like: nothing may fault.
    for (const frame of batch) {
      for (const deed of [
        () => frame.setUint8(1, frame.uint8(0)),
        () => frame.bytes(),
        () => frame.copy(),
        () => frame.send(),
      ]) {
        try {
          deed()
        } catch (error) {
          if (!(error instanceof TypeError)) throw error
        }
      }
    }
    if (++batches > 20) break
  }
  await port.close()
  const closed = taken && touch(taken)
  await collectGarbage()
  const collected = taken && touch(taken)
  // Another port, whose memory may come to lie where the first one's was.
  port = await net.openPort(options)
  for await (const batch of port.batches()) {
    if (taken) touch(taken)
    batch.at(0).uint8(0)
    break
  }
  taken = undefined
  await collectGarbage()
  for await (const batch of port.batches()) {
    batch.at(0).uint8(0)
    break
  }
  await net.close()
  return { moved, closed, collected, stale: [...new Set(stale.map((view) => view.length))] }
}

serve({
  ways: () => Object.keys(ways),
  info: async ({ options }: { options: PortOptions }) => {
    const net = await connect()
    const { info } = await net.openPort(options)
    await net.close()
    return info
  },
  moveTable: ({ options, way }: { options: PortOptions; way: string }) => moveTable(options, way),
  move: ({ options, way }: { options: PortOptions; way: string }) => move(options, way),
})
