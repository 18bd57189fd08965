import test from 'ava'
import { cargoTests, slowestOf, Timings, tapTests } from '../../scripts/lib/tally.mjs'

const TAP = `TAP version 13
ok 1 - a unit › left out # SKIP
ok 2 - a unit › good
#   a line
not ok 3 - a unit › bad
#   a hint
  ---
    name: AssertionError
  ...

1..3
# tests 3
# pass 1
# fail 1
`

const CARGO = `running 4 tests
test a ... ok
test b::c ... FAILED
test d - should panic ... FAILED
test e ... ignored

failures:

---- b::c stdout ----
thread 'b::c' panicked at src/lib.rs:1:1:
no

---- d - should panic stdout ----
note: test did not panic as expected

failures:
    b::c
    d - should panic

test result: FAILED. 1 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

running 1 test
test f ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
`

test('what ava prints is counted, and a failed test keeps what it said', (t) => {
  t.deepEqual(tapTests(TAP), {
    passed: 1,
    failures: ['a unit › bad\n#   a hint\n  ---\n    name: AssertionError\n  ...'],
    skipped: ['a unit › left out'],
  })
})

test('what cargo prints is counted over all binaries, and a failed test keeps what it said', (t) => {
  t.deepEqual(cargoTests(CARGO), {
    passed: 2,
    failures: [
      "b::c\nthread 'b::c' panicked at src/lib.rs:1:1:\nno",
      'd - should panic\nnote: test did not panic as expected',
    ],
    skipped: ['e'],
  })
})

test('the slowest tests are those that took longest since the one before', (t) => {
  const timings = new Timings(0)
  timings.hear('   Compiling\nrunning 2 tests\ntest a::b ... ', 60_000)
  timings.hear('ok\ntest c - should panic ... o', 63_000)
  timings.hear('k\n', 64_000)
  timings.hear('TAP version 13\n', 90_000)
  timings.hear('ok 1 - file › one\n', 92_000)
  timings.hear('not ok 2 - file › two\n', 92_500)
  t.deepEqual(slowestOf([timings], 3), [
    { name: 'a::b', seconds: 3 },
    { name: 'file › one', seconds: 2 },
    { name: 'c', seconds: 1 },
  ])
})
