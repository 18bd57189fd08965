import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Collects garbage, so that finalizers run, those of what only other garbage kept included. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  for (let rounds = 0; rounds < 3; rounds++) {
    const witness = new WeakRef({})
    while (witness.deref()) {
      await new Promise(setImmediate)
      gc()
    }
  }
}
