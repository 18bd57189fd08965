import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** What a process has of the kernel. */
export interface Footprint {
  /** How many descriptors of each kind. */
  descriptors: Record<string, number>
  threads: number
  /** Mappings shared with others: rings and UMEMs. */
  shared: number
}

export function footprintOf(pid: number): Footprint {
  const descriptors: Record<string, number> = {}
  for (const fd of readdirSync(`/proc/${pid}/fd`).sort()) {
    const kind = kindOf(`/proc/${pid}/fd/${fd}`)
    if (kind) descriptors[kind] = (descriptors[kind] ?? 0) + 1
  }
  const maps = readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')
  return {
    descriptors: Object.fromEntries(Object.entries(descriptors).sort()),
    threads: readdirSync(`/proc/${pid}/task`).length,
    shared: maps.filter((line) => / rw-s /.test(line) && !line.endsWith('[io_uring]')).length,
  }
}

/** Whether the process still looks after ports that it has closed: a thread, a map and a socket more. */
export function watchesClosedPorts(pid: number): boolean {
  const threads = readdirSync(`/proc/${pid}/task`)
  return threads.some((thread) => nameOf(`/proc/${pid}/task/${thread}/comm`) === 'xsknet closed')
}

/** Bytes of memory that a process really has. */
export function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024
}

function nameOf(comm: string): string | undefined {
  try {
    return readFileSync(comm, 'utf8').trim()
  } catch {
    return undefined // ended in between
  }
}

function kindOf(link: string): string | undefined {
  try {
    return readlinkSync(link).replace(/\[\d+\]$/, '')
  } catch {
    return undefined // closed in between
  }
}
