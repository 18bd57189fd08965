// The loops in batches with leases, one native call a batch: the way most programs are written.
import type { Batch, Port } from 'xsknet'
import { parse, swapMacs } from './parse.js'
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
  let view: DataView | undefined
  return each(port, order, (frames, { seen }) => {
    view ??= new DataView(frames.memory.buffer)
    for (const { offset, length } of frames) parse(seen, view, offset, length, wanted)
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
