// The loops over descriptors: synchronous, so that nothing else runs in this thread meanwhile.
import type { DescriptorBatch, Queue } from 'xsknet'
import { isNumbered, parse, type Seen, swapMacs, writeNumbered } from './parse.js'
import { type Order, type Result, Watch } from './watch.js'

export const BATCH = 64

/** A queue, and the batch that is made of it once. */
export class Rings {
  readonly queue: Queue
  readonly batch: DescriptorBatch
  /** Of its memory. */
  readonly view: DataView

  constructor(queue: Queue) {
    this.queue = queue
    this.batch = queue.batch(BATCH)
    this.view = new DataView(this.batch.memory.buffer)
  }
}

/** Gives back what was read before, and reads what is there, a batch at most. Says how many frames it is. */
export function readBatch({ queue, batch, view }: Rings, seen: Seen, port: number): number {
  const { descriptors } = batch
  const received = queue.recycleAndReceive(batch)
  for (let i = 0; i < 2 * received; i += 2)
    parse(seen, view, descriptors[i] as number, descriptors[i + 1] as number, port)
  return received
}

export function rxdrop(rings: Rings, order: Order): Result {
  const { port = 9 } = order
  const watch = new Watch(order)
  const { seen } = watch
  while (!watch.isOver(seen.frames)) {
    if (readBatch(rings, seen, port) === 0) watch.foundNothing()
    else if (!watch.hasBegun) watch.begin()
  }
  rings.queue.recycle(rings.batch)
  return watch.result()
}

/** As rxdrop, asleep while there is nothing: this thread has nothing else to do. */
export function asleep({ queue, batch, view }: Rings, order: Order): Result {
  const { port = 9 } = order
  const { descriptors } = batch
  const watch = new Watch(order)
  const { seen } = watch
  while (!watch.isOver(seen.frames)) {
    const received = queue.recycleAndReceive(batch, 100_000)
    if (received === 0) watch.foundNothing()
    else if (!watch.hasBegun) watch.begin()
    for (let i = 0; i < 2 * received; i += 2)
      parse(seen, view, descriptors[i] as number, descriptors[i + 1] as number, port)
  }
  queue.recycle(batch)
  return watch.result()
}

export function verify({ queue, batch, view }: Rings, order: Order): Result {
  const { port = 9 } = order
  const { descriptors, memory } = batch
  const watch = new Watch(order)
  while (!watch.isOver(watch.seen.frames)) {
    const received = queue.receive(batch)
    if (received > 0 && !watch.hasBegun) watch.begin()
    for (let i = 0; i < received; i++) {
      const [at, length] = [descriptors[2 * i] as number, descriptors[2 * i + 1] as number]
      parse(watch.seen, view, at, length, port)
      if (!isNumbered(memory, at, length)) watch.corrupt++
    }
    queue.recycle(batch)
  }
  return watch.result()
}

export function l2fwd({ queue, batch }: Rings, order: Order): Result {
  const { descriptors, memory } = batch
  const watch = new Watch(order)
  while (!watch.isOver(watch.seen.frames)) {
    const before = batch.length // frames that found no slot the last time
    const received = queue.receive(batch)
    if (received === 0) watch.foundNothing()
    else if (!watch.hasBegun) watch.begin()
    for (let i = before; i < before + received; i++) {
      if ((descriptors[2 * i + 1] as number) >= 14) swapMacs(memory, descriptors[2 * i] as number)
    }
    watch.seen.frames += received
    watch.sent += queue.transmit(batch)
  }
  queue.kick()
  watch.sent += queue.transmit(batch)
  queue.recycle(batch)
  return watch.result()
}

export function txonly({ queue, batch }: Rings, order: Order): Result {
  const { length = 64, header = '' } = order
  const { descriptors, memory } = batch
  const start = Buffer.from(header, 'hex')
  const watch = new Watch(order)
  watch.begin()
  let number = 0
  while (!watch.isOver(watch.sent)) {
    const before = batch.length
    const empty = queue.allocate(batch)
    if (empty === 0) {
      watch.foundNothing()
      queue.kick()
    }
    for (let i = before; i < before + empty; i++) {
      const at = descriptors[2 * i] as number
      memory.set(start, at)
      writeNumbered(memory, at, length, number++)
      descriptors[2 * i + 1] = length
    }
    watch.sent += queue.transmit(batch)
  }
  queue.kick()
  watch.sent += queue.transmit(batch)
  queue.recycle(batch)
  return watch.result()
}
