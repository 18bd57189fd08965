// A client that sends every datagram back, in each method of sending.
import type { Frame, KeptFrame, Port } from 'xsknet'
import { arp } from 'xsknet/headers'
import { holding, orders } from './orders.js'
import { serve } from './serve.js'

type Method = (port: Port) => Promise<unknown>

/**
 * Swaps addresses and ports of a client's UDP datagram over IPv4, which leaves its checksums right; says whether it is
 * one.
 */
function swapEnds(memory: Uint8Array, at: number): boolean {
  if (memory[at + 12] !== 8 || memory[at + 13] !== 0 || memory[at + 14] !== 0x45 || memory[at + 23] !== 17) return false
  // From a port below 1024 it may be the reply of another echo server.
  if ((memory[at + 34] as number) < 4) return false
  swap(memory, at, 6)
  swap(memory, at + 26, 4)
  swap(memory, at + 34, 2)
  return true
}

function swap(memory: Uint8Array, at: number, bytes: number): void {
  for (let i = at; i < at + bytes; i++)
    [memory[i], memory[i + bytes]] = [memory[i + bytes] as number, memory[i] as number]
}

/** Answers frame by frame; `back` has the datagrams with swapped ends. */
async function answer(port: Port, back: (frame: Frame) => unknown): Promise<void> {
  for await (const frames of port.batches()) {
    for (const frame of frames) {
      if (arp.answer(frame, port)) frame.send()
      else if (swapEnds(frame.memory, frame.offset)) back(frame)
    }
  }
}

const methods: Record<string, Method> = {
  send: (port) => answer(port, (frame) => frame.send()),
  keep: (port) =>
    answer(port, (frame) => {
      const kept = frame.keep() as KeptFrame
      setTimeout(() => kept.send(), 2) // the batch is long over
    }),
  forward: (port) => answer(port, (frame) => frame.forward(port)),
  copy: (port) =>
    answer(port, (frame) => {
      if (!port.trySend(frame.copy())) throw new Error('no slot is free')
    }),
}

serve({
  ...orders,
  methods: () => Object.keys(methods),
  reply: ({ as = 'port', method }: { as?: string; method: string }) => void methods[method]?.(holding(as).port),
})
