import { existsSync, readdirSync, readFileSync } from 'node:fs'
import test from 'ava'
import { errorCodes, type XsknetErrorCode } from 'xsknet'
import { root } from '../helpers/workspace.js'

/** Every error is provoked in a lab by this file; */
const PROVOKED = '__test__/kernel/errors.test.ts'

/** but these cannot be, from outside, within a moment. Each with the test that provokes it instead. */
const elsewhere: Partial<Record<XsknetErrorCode, [why: string, file: string, test: string]>> = {
  ERR_XSKNET_UNSUPPORTED_PLATFORM: [
    'it takes a package without its binding',
    '__test__/unit/native.test.ts',
    'without a binding the package can be imported, and the first native call throws',
  ],
  ERR_XSKNET_QUEUE_HANDED_OVER: [
    'it takes a second thread',
    '__test__/kernel/queues.test.ts',
    'queues that worker threads have',
  ],
  ERR_XSKNET_TOKEN_VOID: [
    'it takes a second thread',
    '__test__/kernel/queues.test.ts',
    'a token is good once, and as long as its port',
  ],
  ERR_XSKNET_INTERNAL: [
    'it takes a bug',
    '__test__/unit/xsknetd/session.test.ts',
    'a bug of the daemon is told as one',
  ],
  ERR_XSKNET_MAC_INVALID: ['no client can choose a MAC yet', 'crates/port/tests/port_errors.rs', 'fn macs('],
  ERR_XSKNET_LAB_BUSY: [
    'it takes a lab with a name',
    '__test__/kernel/lab-command.test.ts',
    'a lab in use is neither removed nor rebuilt',
  ],
  ERR_XSKNET_LAB_FOREIGN: [
    'it takes a lab with a name',
    '__test__/kernel/lab-command.test.ts',
    'what no lab made is not touched',
  ],
  ERR_XSKNET_SELF_TEST_FAILED: [
    'the frame is lost in the middle of an opening',
    'crates/port/tests/port_errors.rs',
    'fn a_port_that_hears_nothing_fails_the_self_test(',
  ],
  ERR_XSKNET_FLOW_INVALID: [
    'flows have a file of their own',
    '__test__/kernel/flows.test.ts',
    "code: 'ERR_XSKNET_FLOW_INVALID'",
  ],
  ERR_XSKNET_FLOW_OF_HOST: [
    'flows have a file of their own',
    '__test__/kernel/flows.test.ts',
    "code: 'ERR_XSKNET_FLOW_OF_HOST'",
  ],
  ERR_XSKNET_FLOW_TAKEN: [
    'flows have a file of their own',
    'crates/port/tests/flows.rs',
    'fn a_conflict_names_its_holder_to_those_who_may_know_it(',
  ],
  ERR_XSKNET_FLOWS_EXHAUSTED: [
    'it takes 4,097 flows',
    'crates/port/src/flow_texts.rs',
    'fn a_port_has_a_bounded_number_of_flows(',
  ],
  ERR_XSKNET_GROUP_INVALID: [
    'groups have a file of their own',
    '__test__/kernel/groups.test.ts',
    "code: 'ERR_XSKNET_GROUP_INVALID'",
  ],
  ERR_XSKNET_GROUPS_EXHAUSTED: [
    'it takes 257 groups',
    'crates/port/tests/groups.rs',
    'fn too_many_groups_are_refused_and_nothing_is_left(',
  ],
  ERR_XSKNET_PORTS_EXHAUSTED: [
    '1,024 ports take minutes',
    'crates/port/src/claims.rs',
    'fn the_lowest_free_number_is_taken_until_there_is_none_and_a_spoiled_one_never(',
  ],
}

const read = (file: string) => readFileSync(root + file, 'utf8')

/** What makes errors, or speaks of them. */
function sources(): string[] {
  const folders = ['packages/xsknet/src', 'packages/xsknetd/src', 'crates', 'docs', 'examples', 'scripts', 'bench']
  const files = folders
    .filter((folder) => existsSync(root + folder))
    .flatMap((folder) =>
      readdirSync(root + folder, { recursive: true, encoding: 'utf8' })
        .filter((file) => /\.(ts|js|mjs|rs|md|json)$/.test(file) && !/(^|\/)(node_modules|dist|native)\//.test(file))
        .map((file) => `${folder}/${file}`),
    )
  return [...files, 'README.md', 'ARCHITECTURE.md', 'CHANGELOG.md'].filter(
    (file) => file !== 'packages/xsknet/src/errors.ts',
  )
}

/** The bindings name their codes without what they have in common; `env!` names a variable. */
const BARE = /(?<=(?<!env!\()")[A-Z]+(_[A-Z]+)+(?=")/g

/** It names constants in the same way. */
const LIMITS = 'crates/node-xsknetd/src/limits.rs'

function codesIn(file: string): string[] {
  const text = read(file)
  const bare = (file.startsWith('crates/node-') && file !== LIMITS && text.match(BARE)) || []
  return [...(text.match(/\bERR_XSKNET_[A-Z]+(_[A-Z]+)*\b/g) ?? []), ...bare.map((code) => `ERR_XSKNET_${code}`)]
}

test('a code that is named anywhere is in the list', (t) => {
  const strange = sources().flatMap((file) =>
    codesIn(file).flatMap((code) => (code in errorCodes ? [] : [`${code} in ${file}`])),
  )
  t.deepEqual(strange, [])
})

test('a code of the list is raised somewhere', (t) => {
  const raising = sources().filter((file) => /^(packages|crates\/node-)/.test(file))
  // In quotes: what only speaks of a code has it in backticks.
  const quoted = raising.flatMap((file) => read(file).match(/(?<=['"])[A-Z_]+(?=['"])/g) ?? [])
  const raised = new Set(quoted.map((code) => code.replace(/^(ERR_XSKNET_)?/, 'ERR_XSKNET_')))
  t.deepEqual(
    Object.keys(errorCodes).filter((code) => !raised.has(code)),
    [],
  )
})

test('a code of the list is provoked by a test, in the lab if that is possible', (t) => {
  const provoked = new Set(codesIn(PROVOKED))
  for (const [code, [, file, test]] of Object.entries(elsewhere)) {
    t.true(read(file).includes(test), `${file} has no ${test}`)
    t.false(provoked.has(code), `${code} can be provoked in the lab: it needs no line here`)
    provoked.add(code)
  }
  t.deepEqual(
    Object.keys(errorCodes).filter((code) => !provoked.has(code)),
    [],
  )
})

test('a code says what it means in one sentence', (t) => {
  for (const [code, meaning] of Object.entries(errorCodes)) {
    t.regex(code, /^ERR_XSKNET_[A-Z]+(_[A-Z]+)*$/)
    t.regex(meaning, /^[A-Z].{10,120}\.$/, code)
  }
})
