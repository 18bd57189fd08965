import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import test from 'ava'
import { pinThread, type XsknetError } from 'xsknet'
import { root } from '../helpers/workspace.js'

const allowed = () => /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync('/proc/thread-self/status', 'utf8'))?.[1]

test.serial('a thread is kept to its processors, and the others are not', async (t) => {
  const before = allowed()
  const first = Number(/^\d+/.exec(before ?? '')?.[0])
  const program = `
    const { readFileSync } = require('node:fs')
    const { parentPort } = require('node:worker_threads')
    const { pinThread } = require(${JSON.stringify(`${root}packages/xsknet/dist/index.js`)})
    pinThread([${first}])
    parentPort.postMessage(readFileSync('/proc/thread-self/status', 'utf8'))`
  const [status] = await once(new Worker(program, { eval: true }), 'message')
  t.is(/^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1], `${first}`)
  t.is(allowed(), before)
})

test('what cannot be followed is said', (t) => {
  t.throws(() => pinThread(0 as never), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => pinThread(['0' as never]), { code: 'ERR_INVALID_ARG_TYPE' })
  for (const cpus of [[], [-1], [0.5], [1024]]) t.throws(() => pinThread(cpus), { code: 'ERR_OUT_OF_RANGE' })
  const error = t.throws(() => pinThread([1023]), { code: 'ERR_XSKNET_KERNEL_REFUSED' }) as XsknetError
  t.like(error.cause, { code: 'EINVAL', syscall: 'sched_setaffinity' })
  t.deepEqual(error.details.cpus, [1023])
  t.true((error.details.allowed as number[]).length > 0)
})
