import test from 'ava'
import { fuzz, shown } from '../helpers/fuzz.js'

/** By hand longer: `npm run fuzz -- --seconds 3600`. */
const seconds = Number(process.env.XSKNET_FUZZ_SECONDS ?? 15)
const seed = Number(process.env.XSKNET_SEED ?? Date.now() % 2 ** 31)

test.serial(
  'clients without manners bring a daemon down neither at once nor in time, and cost others nothing',
  async (t) => {
    t.timeout((seconds + 90) * 1000)
    const report = await fuzz(t, { seconds, seed })
    for (const line of shown(seed, report)) t.log(line)
    const { answers, faults, growth, others } = report
    t.deepEqual(faults, [])
    t.true((answers['ok openPort'] ?? 0) > 0, 'no port was opened, so little was tried')
    t.true((answers.ERR_XSKNET_MESSAGE_MALFORMED ?? 0) > 0, 'no message was broken, so little was tried')
    t.true(others.asked > 100, `${others.asked} requests of another client say little`)
    // They share two cores with all those clients: what one in a thousand waits for may be its turn of the processor.
    t.true(
      others.late <= others.asked / 1000,
      `${others.late} of ${others.asked} requests of another client took too long`,
    )
    t.true(others.slowest < 1000, `another client waited ${others.slowest} ms`)
    t.true(
      growth.heap + growth.external < 8 * 2 ** 20,
      `${growth.heap + growth.external} B more are on the daemon's heap`,
    )
    t.true(growth.rss < 128 * 2 ** 20, `${growth.rss} B more are in the daemon's memory`)
  },
)
