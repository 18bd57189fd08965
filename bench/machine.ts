import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { hasCounters } from './costs.js'
import { FLAGS } from './programs.js'

/** What the figures were taken on. */
export interface Machine {
  kernel: string
  processor: string
  cores: number
  memory: string
  node: string
  /** What the kernel does against faults of the processor, where it does anything or is open to one. */
  mitigations: string[]
  /** Words of the kernel's command line that change them. */
  commandLine: string[]
  compiler: string
  /** Whether the processor's own counters of instructions can be read. */
  counters: boolean
}

export function machine(): Machine {
  const folder = '/sys/devices/system/cpu/vulnerabilities'
  const mitigations = readdirSync(folder).flatMap((name) => {
    const state = readFileSync(`${folder}/${name}`, 'utf8').trim()
    return state === 'Not affected' ? [] : [`${name}: ${state}`]
  })
  const commandLine = readFileSync('/proc/cmdline', 'utf8').trim().split(' ')
  return {
    kernel: release(),
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    node: process.versions.node,
    mitigations,
    commandLine: commandLine.filter((word) =>
      /^(mitigations|nosmt|isolcpus|nohz_full|idle|spectre|retbleed)/.test(word),
    ),
    compiler: `${execFileSync('gcc', ['--version'], { encoding: 'utf8' }).split('\n', 1)[0]}, ${FLAGS.join(' ')}`,
    counters: hasCounters(),
  }
}

export function lines({ kernel, processor, cores, memory, node, mitigations, compiler, counters }: Machine): string[] {
  return [
    `Linux ${kernel}, Node ${node}, ${cores} cores of ${processor}, ${memory}`,
    `mitigations: ${mitigations.join('; ') || 'none needed'}`,
    `peer: ${compiler}`,
    counters
      ? 'instructions: by perf'
      : 'instructions: no counters here, so counted one by one in user space, and not in the kernel',
  ]
}
