// A client that reads by descriptors, and whose thread sleeps in `receive()` while there is nothing.
import { setImmediate as turn } from 'node:timers/promises'
import { connect, type Port, type PortOptions, XsknetError } from 'xsknet'
import { serve } from './serve.js'

/** How a reader ended. */
export interface Slept {
  frames: number
  /** Times that it slept, and no frame came. */
  inVain: number
  /** What ended it, unless it was the last frame. */
  code?: string
}

let port: Port

serve({
  open: async ({ id: _, do: __, ...options }: PortOptions & { id: number; do: string }) => {
    port = await (await connect()).openPort(options)
    return port.info
  },
  /** Reads so many frames. The event loop turns whenever none came in time. */
  read: async ({ frames, microseconds }: { frames: number; microseconds: number }): Promise<Slept> => {
    const queue = port.queue(0)
    const batch = queue.batch(64)
    const slept: Slept = { frames: 0, inVain: 0 }
    try {
      while (slept.frames < frames) {
        slept.frames += queue.receive(batch, microseconds)
        if (queue.recycle(batch) > 0) continue
        slept.inVain++
        await turn()
      }
    } catch (error) {
      if (!(error instanceof XsknetError)) throw error
      slept.code = error.code
    }
    return slept
  },
  stats: () => port.stats(),
})
