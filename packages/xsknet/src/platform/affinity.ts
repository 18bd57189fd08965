import { outOfRange, wrongType } from '../arguments.js'
import { setThreadAffinity } from './native.js'

/** The most processors that the kernel counts. */
const PROCESSORS = 1024

/**
 * Lets the calling thread, a worker or the main one, run on these processors alone, numbered from 0 on as in /proc/cpuinfo. Threads that
 * it starts afterwards inherit that.
 *
 * @throws {XsknetError} `ERR_XSKNET_KERNEL_REFUSED` where the process may use none of them.
 */
export function pinThread(cpus: readonly number[]): void {
  if (!Array.isArray(cpus)) throw wrongType('cpus', 'an instance of Array', cpus)
  if (cpus.length === 0) throw outOfRange('cpus.length', 'at least 1', 0)
  for (const cpu of cpus) {
    if (typeof cpu !== 'number') throw wrongType('cpus', 'a list of numbers', cpu)
    if (!Number.isInteger(cpu) || cpu < 0 || cpu >= PROCESSORS)
      throw outOfRange('cpus', `integers from 0 to ${PROCESSORS - 1}`, cpu)
  }
  setThreadAffinity(cpus)
}
