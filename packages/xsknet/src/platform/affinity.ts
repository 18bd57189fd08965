import { outOfRange, wrongType } from '../arguments.js'
import { setThreadAffinity } from './native.js'

/** The most CPUs that a kernel supports. */
const PROCESSORS = 1024

/**
 * Restricts the calling thread, a worker or the main one, to these CPUs, numbered from 0 as in /proc/cpuinfo. Threads
 * that it starts afterwards inherit the restriction.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` where `cpus` is not a list of numbers.
 * @throws {RangeError} `ERR_OUT_OF_RANGE` where the list is empty, or a number is not an integer from 0 to 1023.
 * @throws {XsknetError} `ERR_XSKNET_KERNEL_REFUSED` where the process may use none of these CPUs.
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
