import { readdirSync, readFileSync, statSync } from 'node:fs'
import type { Client } from '../client.js'
import { CARD, portPrefixes } from '../lab.js'
import { waitUntil } from '../program.js'
import type { Answered } from '../programs/attacker.js'
import type { Attack } from './attack.js'
import { ATTACKER, GOOD_GRANT, grant, PORTS } from './parties.js'

const MIB = 2 ** 20
/** What the attacker may have, and how often it tries to have more. */
export const GRANTED = 64 * MIB
const ROUNDS = 40
/** Connections that try side by side: a refusal may take its time. */
const LINES = 4
/** Rings come on top of the UMEM, 3 MiB a queue at most; what is just being opened for the client beside is 1 MiB. */
export const SLACK = 16 * MIB

/** What is kept of a port that is closed. */
const KEPT = {
  'sockets and memory files': () => true,
  sockets: (kind: string) => kind === 'socket',
  'memory files': (kind: string) => kind === 'file',
}

/** Ports are opened and closed again; their descriptors, and so their memory, are not. */
export const keptMemory: Attack = {
  name: 'kept-memory',
  defence: 'memory counts against the grant until the kernel has freed it',
  daemon: { config: `${GOOD_GRANT}${grant(ATTACKER, [PORTS.attacker, PORTS.accomplice]).replace('256MiB', '64MiB')}` },
  async prepare(field) {
    let attacker: Client | undefined
    let holders: number[] = []
    let before = 0
    let most = 0
    let opened = 0
    let refusals = new Map<string, number>()
    // A UMEM is pinned as long as its socket is there, and its file has pages as long as they are not taken out of it.
    const all = () => Math.max(pinnedMemory() - before, fileMemory(holders))

    return {
      async variant(random) {
        before = pinnedMemory()
        const what = random.pick(Object.keys(KEPT) as (keyof typeof KEPT)[])
        const how = random.pick(['by closePort', 'by the end of the connection'] as const)
        const who = random.pick(['kept', 'passed to another process'] as const)
        const client = field.client(ATTACKER)
        attacker = client
        ;[holders, most, opened, refusals] = [[client.program.pid], 0, 0, new Map()]
        let rounds = 0

        const line = async (n: number) => {
          while (rounds < ROUNDS && most < 2 * GRANTED) {
            rounds++
            const by = `line${n}`
            // Not two at once with one address.
            const addresses = [portPrefixes(n % 2 === 0 ? PORTS.attacker : PORTS.accomplice)[n < 2 ? 0 : 1]]
            const request = { operation: 'openPort', port: { uplink: CARD, addresses } }
            const { answer, fds } = await client.ask<Answered>({ do: 'rawAsk', by, request })
            if (answer.error) {
              const { code } = answer.error
              refusals.set(code, (refusals.get(code) ?? 0) + 1)
              // Its address is free a moment after its connection's end.
              if (code === 'ERR_XSKNET_ADDRESS_TAKEN') continue
              return
            }
            opened++
            const drop = fds.filter((fd) => !KEPT[what](kindOf(client.program.pid, fd)))
            await client.ask({ do: 'closeFds', fds: drop })
            const kept = fds.filter((fd) => !drop.includes(fd))
            if (who !== 'kept') holders.push(field.adopt(await client.ask<number>({ do: 'passFds', fds: kept })))
            if (how === 'by closePort') {
              const { port } = (answer.result as { info: { port: number } }).info
              await client.ask({ do: 'rawAsk', by, request: { operation: 'closePort', port } })
            } else await client.ask({ do: 'hangUp', by })
            most = Math.max(most, all())
          }
        }
        await Promise.all(Array.from({ length: LINES }, (_, n) => line(n)))
        // Whoever passed them on ends; what is left is held by nobody that the daemon has seen.
        if (who !== 'kept') await client.kill()
        most = Math.max(most, all())
        return `${what} ${who}, ports closed ${how}`
      },
      async judge() {
        field.endAdopted()
        if (attacker?.program.running) await attacker.kill()
        const refused = [...refusals].map(([code, times]) => `${times} ${code}`).join(', ')
        const saw = `${mib(most)} held after ${opened} ports, ${refused || 'nothing'} refused`
        const faults: string[] =
          most > GRANTED + SLACK
            ? [`${mib(most)} are held under a grant of ${mib(GRANTED)}, after ${opened} ports`]
            : []
        if (opened === 0) faults.push(`no port was opened, so nothing was tried: ${refused}`)
        // The next variant begins with what there was.
        await waitUntil('free of what the attacker held', () => pinnedMemory() < before + SLACK)
        return { saw, faults }
      },
    }
  },
}

const mib = (bytes: number) => `${Math.round(bytes / MIB)} MiB`

function kindOf(pid: number, fd: number): string {
  return statSync(`/proc/${pid}/fd/${fd}`).isFile() ? 'file' : 'socket'
}

/**
 * Bytes of the machine's memory that is pinned for devices and sockets (`FOLL_PIN`): UMEMs, and next to nothing else.
 */
export function pinnedMemory(): number {
  const all = readFileSync('/proc/vmstat', 'utf8')
  const pages = (what: string) => Number(new RegExp(`^nr_foll_pin_${what} (\\d+)$`, 'm').exec(all)?.[1])
  return (pages('acquired') - pages('released')) * 4096
}

/** Bytes of the memory files that these processes hold, each once. */
function fileMemory(pids: readonly number[]): number {
  const files = new Map<string, number>()
  for (const pid of pids) {
    for (const fd of entries(`/proc/${pid}/fd`)) {
      try {
        const { dev, ino, blocks, nlink } = statSync(`/proc/${pid}/fd/${fd}`)
        if (nlink === 0) files.set(`${dev}:${ino}`, blocks * 512)
      } catch {
        // closed in between
      }
    }
  }
  return [...files.values()].reduce((sum, bytes) => sum + bytes, 0)
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return [] // the process is gone
  }
}
