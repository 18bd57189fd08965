// The same as root, with the daemon inside the process.
import { type DaemonOptions, startDaemon } from 'xsknetd'
import { serve } from '../../__test__/helpers/programs/serve.js'
import { orders } from './orders.js'

serve({
  ...orders,
  start: async ({ options }: { options: DaemonOptions }) => {
    const { socket, instance } = await startDaemon({ ...options, log: () => {} })
    process.env.XSKNET_SOCKET = socket
    return { instance }
  },
})
