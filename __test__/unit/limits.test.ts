import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import test from 'ava'
import * as protocol from '../../packages/xsknet/src/connection/limits.js'
import * as daemon from '../../packages/xsknetd/src/policy/limits.js'
import { root } from '../helpers/workspace.js'

/** The constants of the crates, by the names that the packages have for them. */
const rust: Record<string, number> = createRequire(import.meta.url)(
  `${root}packages/xsknetd/native/xsknetd.linux-x64-gnu.node`,
).limits()

/** What the crates do not define, and why. */
const TYPESCRIPT_ONLY: Record<string, string> = {
  NESTING_LIMIT: 'the crates carry messages and do not parse them',
  MAX_ADDRESSES: 'the schema bounds a request; the crates bound the addresses of an uplink',
  MAX_COALESCE: 'the schema bounds a request',
  MAX_FLOW_TEXTS: 'the schema bounds a request',
  MAX_FLOW_LENGTH: 'the schema bounds a request; the crates take longer expressions',
  MIN_EXPLAINED: 'the schema bounds a request; the kernel refuses what is shorter',
  MAX_EXPLAINED: 'the schema bounds a request, which has to fit into a message',
  MAX_GROUP_LENGTH: 'the schema bounds a request',
  DEFAULT_RING_SIZE: 'the daemon puts it into each request; PortSpec has a default of its own for programs in Rust',
  DEFAULT_BUSY_POLL_BUDGET: 'the client puts it into each request',
  DEFAULT_PORTS: 'a default of grants, which the crates do not know',
  DEFAULT_MEMORY: 'a default of grants',
  DEFAULT_FRAME_RATE: 'a default of grants; PortSpec does not limit',
  MAX_PORTS: 'a limit of grants; the crates bound the ports of an uplink',
  MAX_FRAME_RATE: 'a limit of grants: the largest u32',
  MAX_BIT_RATE: 'a limit of grants',
}

const numbers = (module: object): Record<string, number> =>
  Object.fromEntries(Object.entries(module).filter((entry): entry is [string, number] => typeof entry[1] === 'number'))
const typescript = { ...numbers(daemon), ...numbers(protocol) }

test('every limit and default of the crates has the same value in the packages', (t) => {
  t.true(Object.keys(rust).length > 10)
  const shared = Object.fromEntries(Object.entries(typescript).filter(([name]) => !(name in TYPESCRIPT_ONLY)))
  t.deepEqual(shared, rust)
})

test('what is said to be of the packages alone is defined there', (t) => {
  const stale = Object.keys(TYPESCRIPT_ONLY).filter((name) => !(name in typescript))
  t.deepEqual(stale, [])
})

test('the daemon defines no limit that the protocol defines', (t) => {
  const text = readFileSync(`${root}packages/xsknetd/src/policy/limits.ts`, 'utf8')
  const defined = [...text.matchAll(/^export const (\w+)/gm)].map(([, name]) => name as string)
  t.true(defined.includes('DEFAULT_PINNED_RING_SIZE'))
  t.deepEqual(
    defined.filter((name) => name in protocol),
    [],
  )
})
