// The loops in batches with leases, one native call a batch: the way most programs are written.
import type { Batch, Port } from 'xsknet'
import { isNumbered, parse, swapMacs, writeNumbered } from './parse.js'
import { type Order, type Result, Watch } from './watch.js'

async function each(port: Port, order: Order, treat: (frames: Batch, watch: Watch) => void): Promise<Result> {
  const watch = new Watch(order)
  for await (const frames of port.batches()) {
    if (!watch.hasBegun) watch.begin()
    treat(frames, watch)
    if (watch.isOver(watch.seen.frames)) break
  }
  return watch.result()
}

export function rxdrop(port: Port, order: Order): Promise<Result> {
  const { port: wanted = 9 } = order
  return each(port, order, (frames, { seen }) => {
    const { memory } = frames
    for (const { offset, length } of frames) parse(seen, memory, offset, length, wanted)
  })
}

export function verify(port: Port, order: Order): Promise<Result> {
  const { port: wanted = 9 } = order
  return each(port, order, (frames, watch) => {
    const { memory } = frames
    for (const { offset, length } of frames) {
      parse(watch.seen, memory, offset, length, wanted)
      if (!isNumbered(memory, offset, length)) watch.corrupt++
    }
  })
}

export function l2fwd(port: Port, order: Order): Promise<Result> {
  return each(port, order, (frames, watch) => {
    const { memory } = frames
    watch.seen.frames += frames.length
    for (const frame of frames) {
      if (frame.length >= 14) swapMacs(memory, frame.offset)
      if (frame.send()) watch.sent++
    }
  })
}

/** A sender without anything to receive has no batches: it gives copies away, and lets the kernel take them every so often. */
export async function txonly(port: Port, order: Order): Promise<Result> {
  const { length = 64, header = '' } = order
  const frame = new Uint8Array(length)
  frame.set(Buffer.from(header, 'hex'))
  const watch = new Watch(order)
  watch.begin()
  let number = 0
  while (!watch.isOver(watch.sent)) {
    for (let i = 0; i < 64; i++) {
      writeNumbered(frame, 0, length, number)
      if (!port.trySend(frame)) break
      number = (number + 1) >>> 0
      watch.sent++
    }
    await null // one kick
  }
  return watch.result()
}
