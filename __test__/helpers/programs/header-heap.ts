// Prints, as JSON, what each reader, answer and builder of `xsknet/headers` puts on the heap: bytes a call in the
// quietest of some stretches. It takes a nursery so large that nothing is collected meanwhile; run by the Node that is
// looked at.
// Usage: header-heap.ts [NAME], which looks at one of them alone: what V8 does for it depends on what else the process
// has called.
import { answers, builders, type HeaderCalls, readers } from '../header-calls.js'
import { collect, collectionsBetween, heapUsed } from './collections.js'

/** What one function came to. */
export interface HeaderHeap {
  /** Bytes a call, in the quietest stretch. */
  aCall: number
  /** Calls that did not do what the function is for. */
  failed: number
  /** Where there was one, `aCall` is too small. */
  collections: number
}

const CALLS = 50_000
/**
 * What a compiler puts on the heap comes once, what calls cost comes in each. The compilers decide within the first
 * ones.
 */
const STRETCHES = 12

let kept: object = {}
/** The smallest thing that could be overlooked: one object a call. It shows that the looking sees. */
const witness: HeaderCalls = {
  name: 'witness',
  packet: new Uint8Array(),
  run(times) {
    for (let i = 0; i < times; i++) kept = { i }
    return 'i' in kept ? times : 0
  },
}

async function looked({ run }: HeaderCalls): Promise<HeaderHeap> {
  await collect()
  const began = performance.now()
  let least = Number.POSITIVE_INFINITY
  let done = 0
  for (let stretch = 0; stretch < STRETCHES; stretch++) {
    const before = heapUsed()
    done += run(CALLS)
    least = Math.min(least, heapUsed() - before)
  }
  const ended = performance.now()
  await collect()
  return { aCall: least / CALLS, failed: STRETCHES * CALLS - done, collections: collectionsBetween(began, ended) }
}

const all = [...readers, ...answers, ...builders, witness]
const [, , only] = process.argv
const found: Record<string, HeaderHeap> = {}
for (const calls of all) if (only === undefined || calls.name === only) found[calls.name] = await looked(calls)
console.log(JSON.stringify(found))
