import test from 'ava'
import { tooLong } from '../../scripts/lib/columns.mjs'

const signs = (count: number) => 'x'.repeat(count)

test('a line of 120 columns is not too long, and one of 121 is', (t) => {
  t.deepEqual(tooLong('a.rs', `${signs(120)}\n${signs(121)}\n`), [{ line: 2, columns: 121 }])
})

test('comments and prose count as code does', (t) => {
  t.deepEqual(tooLong('a.ts', `// ${signs(118)}`), [{ line: 1, columns: 121 }])
  t.deepEqual(tooLong('docs/a.md', `\n${signs(130)}`), [{ line: 2, columns: 130 }])
})

test('signs are counted, not their bytes, and a tab goes on to the next eighth column', (t) => {
  t.deepEqual(tooLong('a.md', '–'.repeat(120)), [])
  t.deepEqual(tooLong('a.ts', '𝒳'.repeat(120)), [])
  t.deepEqual(tooLong('a.c', `\t${signs(112)}`), [])
  t.deepEqual(tooLong('a.c', `ab\t${signs(113)}`), [{ line: 1, columns: 121 }])
})

test('a table row may be longer in Markdown but not in code', (t) => {
  const row = `| ${signs(130)} |`
  t.deepEqual(tooLong('docs/a.md', row), [])
  t.deepEqual(tooLong('a.rs', row), [{ line: 1, columns: 134 }])
})

test('a table row of tests may be longer, since rustfmt does not break it', (t) => {
  t.deepEqual(tooLong('crates/bpf/src/tests/guard.rs', `#[case::${signs(120)}(1)]`), [])
  t.deepEqual(tooLong('crates/bpf/src/tests/guard.rs', `#[expect(${signs(120)})]`), [{ line: 1, columns: 131 }])
})

test('an address of the web cannot be broken, so what stands beside it is counted alone', (t) => {
  const address = `https://example.com/${signs(130)}`
  t.deepEqual(tooLong('a.rs', `/// [here](${address}`), [])
  t.deepEqual(tooLong('a.rs', `${address} ${signs(120)}`), [{ line: 1, columns: 121 }])
})
