import test from 'ava'
import { cargoTests, tapTests } from '../../scripts/lib/tally.mjs'

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
    failures: ["b::c\nthread 'b::c' panicked at src/lib.rs:1:1:\nno", 'd - should panic\nnote: test did not panic as expected'],
    skipped: ['e'],
  })
})
