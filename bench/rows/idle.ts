// What open ports cost while nothing comes: each with a reader that waits.
import { readdirSync, readFileSync } from 'node:fs'
import { CARD } from '../../__test__/helpers/lab.js'
import type { Check } from '../comparison.js'
import { Place } from '../place.js'

const PORTS = 10
/** Seconds until nothing is left to be done of opening them. */
const REST = 2

export const idle: Check = {
  name: 'idle',
  async measure({ seconds, ...setting }) {
    const place = await Place.open(setting)
    const client = await place.client(0)
    const addresses = Array.from({ length: PORTS - 1 }, (_, n) => [`2001:db8::${(0x100 + n).toString(16)}/64`])
    await client.ask({ do: 'wait', ports: addresses.map((addresses) => ({ uplink: CARD, addresses })) })
    await new Promise((settle) => setTimeout(settle, REST * 1000))
    const pids = { client: client.pid, daemon: place.daemon.program.pid }
    const used = () => Object.values(pids).map(processorOf)
    const [before, began] = [used(), performance.now()]
    await new Promise((settle) => setTimeout(settle, Math.max(seconds, 1) * 1000))
    const [after, elapsed] = [used(), (performance.now() - began) / 1000]
    return Object.keys(pids).map((who, at) => ({
      name: `idle, ${PORTS} ports, ${who}`,
      value: (((after[at] as number) - (before[at] as number)) / elapsed) * 100,
      unit: '% of a core',
      most: 1,
    }))
  },
}

/** Seconds of a processor that all threads of a process have had. */
function processorOf(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`)
  const time = (thread: string) =>
    Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ', 1)[0])
  return threads.reduce((sum, thread) => sum + time(thread) / 1e9, 0)
}
