// Tries to start daemons inside itself, and tells how each of them was refused.
import { type DaemonOptions, startDaemon } from 'xsknetd'
import { serve } from './serve.js'

serve({
  /** Resolves where the daemon started; it is closed again by then. */
  start: async ({ options }: { options: DaemonOptions }) => {
    const daemon = await startDaemon(options)
    await daemon.close()
  },
})
