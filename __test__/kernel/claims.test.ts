import test from 'ava'
import { contend, shown } from '../helpers/claims.js'

/** `npm run claims` goes on with others. */
const seed = Number(process.env.XSKNET_SEED ?? 1)

test.serial(
  '8 clients claim and release the same flows at random: each frame comes to one that held its flow',
  async (t) => {
    const contended = await contend(t, { clients: 8, seconds: 3, seed, tell: (line) => t.log(line) })
    t.log(shown(contended))
    t.deepEqual(contended.faults, [])
    const { claims, releases, replacements, taken } = contended.requests
    t.true(Math.min(claims, releases, replacements, taken) > 5, 'all kinds of requests were made')
    t.true(Math.min(contended.came, contended.passed) > 10_000, 'frames came to clients and to the host')
  },
)
