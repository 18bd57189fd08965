// Compiled, never run: every @ts-expect-error is a use that must not compile.
import type { XsknetError } from 'xsknet'
import {
  type Daemon,
  type DaemonOptions,
  type GrantOptions,
  type LogFields,
  startDaemon,
  type UplinkMode,
} from 'xsknetd'
import { exactly } from './exactly.js'

exactly<Promise<Daemon>>()(startDaemon({ uplinks: ['eth0'] }))
const daemon = await startDaemon({
  uplinks: ['eth0', 'eth1'],
  mode: 'native',
  instance: 'lab',
  socket: '/run/own.sock',
  grants: [
    {
      group: 'net',
      uplinks: ['eth0'],
      addresses: ['192.0.2.8/29'],
      vlans: [42, 'untagged'],
      ports: 4,
      memory: '64MiB',
    },
  ],
  log: (event, fields) => {
    exactly<string>()(event)
    exactly<LogFields | undefined>()(fields)
  },
})
await startDaemon({ uplinks: ['eth0'], instance: undefined, socket: undefined, grants: undefined, log: undefined })

await startDaemon({
  uplinks: ['eth0'],
  grants: [
    {
      user: 7,
      uplinks: ['eth0'],
      addresses: ['192.0.2.8/29'],
      pinned: true,
      innerTags: true,
      routing: false,
      busyPoll: true,
      hugePages: true,
      bpfRings: true,
      uplinkMac: true,
      flows: ['udp dst port 53'],
      overrideHost: true,
      groups: ['broadcast', '239.0.0.0/8'],
      tap: true,
      promiscuous: false,
      rates: { broadcast: 0, multicast: 'unlimited', copies: 5000, bits: { perSecond: 10 ** 9, burst: 10 ** 6 } },
    },
  ],
})

exactly<string>()(daemon.socket)
exactly<string>()(daemon.instance)
exactly<readonly string[]>()(daemon.uplinks)
exactly<Promise<void>>()(daemon.closed)
exactly<Promise<void>>()(daemon.close())
exactly<Daemon>()(daemon.unref().ref())

const options: DaemonOptions = { uplinks: [] }
exactly<string[]>()(options.uplinks)
exactly<UplinkMode | undefined>()(options.mode)
exactly<GrantOptions[] | undefined>()(options.grants)

// @ts-expect-error a daemon has cards
await startDaemon({})
// @ts-expect-error cards are a list
await startDaemon({ uplinks: 'eth0' })
// @ts-expect-error there is no such mode
await startDaemon({ uplinks: ['eth0'], mode: 'fast' })
// @ts-expect-error the format of a log is the executable's
await startDaemon({ uplinks: ['eth0'], log: 'json' })
// A grant has addresses or flows.
await startDaemon({ uplinks: ['eth0'], grants: [{ user: 'nobody', uplinks: ['eth0'], flows: ['udp dst port 53'] }] })
// @ts-expect-error a grant has uplinks
await startDaemon({ uplinks: ['eth0'], grants: [{ user: 'nobody', addresses: ['192.0.2.8/29'] }] })
const grant = { user: 7, uplinks: ['eth0'], addresses: ['192.0.2.8/29'] }
// @ts-expect-error a rate is a number or has no end
await startDaemon({ uplinks: ['eth0'], grants: [{ ...grant, rates: { broadcast: 'none' } }] })
// @ts-expect-error a burst is one of a rate
await startDaemon({ uplinks: ['eth0'], grants: [{ ...grant, rates: { frames: { burst: 5 } } }] })
// @ts-expect-error there is no such rate
await startDaemon({ uplinks: ['eth0'], grants: [{ ...grant, rates: { unicast: 5 } }] })
// @ts-expect-error it is granted or not; how long is the client's wish
await startDaemon({ uplinks: ['eth0'], grants: [{ ...grant, busyPoll: { spinMicroseconds: 50 } }] })
// @ts-expect-error what it manages is settled
daemon.uplinks.push('eth2')
// @ts-expect-error where it listens is settled
daemon.socket = '/run/other.sock'

export const refused = (error: XsknetError) => error.code === 'ERR_XSKNET_DEVICE_MANAGED'
