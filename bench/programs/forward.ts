// From one port of a client to another: without a copy where they share a UMEM.
import type { Port } from 'xsknet'
import { parseMac } from 'xsknet/headers'
import { type Order, type Result, Watch } from './watch.js'

export async function forward(from: Port, to: Port, order: Order): Promise<Result> {
  const watch = new Watch(order)
  const mac = parseMac(to.info.mac)
  const [high, low] = [Math.floor(mac / 2 ** 16), mac % 2 ** 16]
  for await (const frames of from.batches()) {
    if (!watch.hasBegun) watch.begin()
    watch.seen.frames += frames.length
    for (const frame of frames) {
      // Back to where it came from, as the other port's own.
      frame.setUint32(0, frame.uint32(6))
      frame.setUint16(4, frame.uint16(10))
      frame.setUint32(6, high)
      frame.setUint16(10, low)
      if (frame.forward(to)) watch.sent++
    }
    if (watch.isOver(watch.seen.frames)) break
  }
  return watch.result()
}
