import test from 'ava'
import { Holdings } from '../helpers/programs/holdings.js'

// What `npm run claims` believes of a frame, at times of known order.

const FIRST = 100

/** Port 101 was held from 10 to 20, and is held again from 30 on. */
function known(): Holdings {
  const holdings = new Holdings(FIRST, 4)
  holdings.ask([101], 10)
  holdings.confirm([101])
  holdings.end([101], 20)
  holdings.ask([101], 30)
  holdings.confirm([101])
  return holdings
}

const frames: [sent: number, arrived: number, isRight: boolean][] = [
  [1, 9, false],
  [1, 10, true],
  [1, 100, true],
  [12, 15, true],
  [20, 22, true],
  [21, 29, false],
  [21, 30, true],
  [40, 50, true],
]
for (const [sent, arrived, isRight] of frames) {
  test(`a frame from ${sent} to ${arrived} is ${isRight ? 'right' : 'wrong'}`, (t) => {
    t.is(known().explains(101, sent, arrived), isRight)
  })
}

test('ports have times of their own, and others have none', (t) => {
  const holdings = known()
  t.deepEqual(holdings.held(), [101])
  for (const port of [99, 100, 102, 104]) t.false(holdings.explains(port, 12, 15))
})

test('frames of a claim that was refused were wrong after all, but for those of an earlier holding', (t) => {
  const holdings = known()
  holdings.end([101], 40)
  holdings.ask([101, 102], 50)
  t.true(holdings.explains(101, 51, 52))
  t.true(holdings.explains(101, 40, 53))
  t.true(holdings.explains(102, 1, 54))
  t.true(holdings.explains(102, 55, 56))
  t.deepEqual(holdings.held(), [], 'nothing is certain')
  t.is(holdings.refuse([101, 102]), 3)
  t.false(holdings.explains(101, 51, 57))
  t.true(holdings.explains(101, 40, 58))
})

test('frames of a claim that was granted stay right', (t) => {
  const holdings = new Holdings(FIRST, 1)
  holdings.ask([100], 5)
  t.true(holdings.explains(100, 6, 7))
  holdings.confirm([100])
  t.deepEqual(holdings.held(), [100])
  t.false(holdings.explains(100, 3, 4))
})
