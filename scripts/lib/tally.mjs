// Counts tests in what cargo and ava print.

// Tests that may be skipped in CI, by name. Anything else that is skipped there fails the run.
const EXPECTED_SKIPS = []

/** How many of the slowest tests are listed. */
const SLOWEST = 20

export class Tally {
  passed = 0
  failed = 0
  skipped = []
  /** Name and seconds of each stage of the run. */
  stages = []
  #timings = []
  #parts = new Map()
  #failures = []

  /**
   * One program's tests, which are told with those of others by the same name. A program that ended badly without a
   * failed test (it did not compile, it crashed) failed as a whole.
   */
  add(name, seconds, code, { passed, failures, skipped }) {
    this.passed += passed
    this.failed += failures.length
    this.skipped.push(...skipped)
    const part = this.#parts.get(name) ?? { seconds: 0, passed: 0, failed: 0, skipped: 0 }
    part.seconds += seconds
    part.passed += passed
    part.failed += failures.length
    part.skipped += skipped.length
    this.#parts.set(name, part)
    this.#failures.push(...failures.map((failure) => `${name}: ${failure}`))
    if (code !== 0 && failures.length === 0) this.fail(`${name} ended with exit code ${code} without a failed test`)
    if (code === 0 && passed === 0) this.fail(`${name} ran no test`)
  }

  /** For what one program prints. */
  timings() {
    const timings = new Timings()
    this.#timings.push(timings)
    return timings
  }

  fail(why) {
    this.#failures.push(why)
    this.failed += 1
  }

  /**
   * Prints which tests took longest, and what failed, again, because it stands thousands of lines above; then the sum
   * as the last line. Returns the exit code.
   */
  end() {
    const slowest = slowestOf(this.#timings, SLOWEST)
    for (const { name, seconds } of slowest) console.log(`${seconds.toFixed(1).padStart(6)} s  ${name}`)
    console.log(this.stages.map(([name, seconds]) => `${name} ${seconds} s`).join(', '))
    const unexpected = this.skipped.filter((name) => !EXPECTED_SKIPS.includes(name))
    for (const name of unexpected) console.error(`skipped: ${name}`)
    for (const failure of this.#failures) console.log(`\nfailed: ${failure}`)
    console.log()
    for (const [name, { seconds, passed, failed, skipped }] of this.#parts)
      console.log(`${name}, ${seconds} s: ${passed} passed, ${failed} failed, ${skipped} skipped`)
    console.log(`\n${this.passed} passed, ${this.failed} failed, ${this.skipped.length} skipped`)
    return this.failed > 0 || (process.env.CI && unexpected.length > 0) ? 1 : 0
  }
}

/**
 * How long tests take that run one after the other: each counts from the end of the one before, its set-up included.
 */
export class Timings {
  tests = []
  #unfinished = ''
  #last

  constructor(now = performance.now()) {
    this.#last = now
  }

  /** What is printed, as it comes. */
  hear(chunk, now = performance.now()) {
    const lines = (this.#unfinished + chunk).split('\n')
    this.#unfinished = lines.pop()
    for (const line of lines) {
      const [, ava, cargo] = line.match(/^(?:not )?ok \d+ - (.*)$|^test (\S+)(?: - should panic)? \.\.\. \w+$/) ?? []
      const name = ava ?? cargo
      // What a program does before its first test is compiling, as a rule.
      if (name) this.tests.push({ name, seconds: (now - this.#last) / 1000 })
      if (name || /^running \d+ tests?$|^TAP version/.test(line)) this.#last = now
    }
  }
}

/** @param {Timings[]} timings */
export function slowestOf(timings, count) {
  const tests = timings.flatMap((each) => each.tests)
  return tests.toSorted((one, other) => other.seconds - one.seconds).slice(0, count)
}

/** Each test binary of cargo ends with a line `test result:`, and before it shows what each failed test printed. */
export function cargoTests(text) {
  const results = [...text.matchAll(/^test result: \w+\. (\d+) passed;/gm)]
  const passed = results.reduce((total, [, count]) => total + Number(count), 0)
  const failed = [...text.matchAll(/^test (.+) \.\.\. FAILED$/gm)].map(([, name]) => name)
  const failures = failed.map((name) => {
    const shown = text.split(`\n---- ${name} stdout ----\n`)[1]?.split(/\n(?=---- .+ stdout ----\n|failures:\n)/)[0]
    return shown ? `${name}\n${shown.trimEnd()}` : name
  })
  const skipped = [...text.matchAll(/^test (.+) \.\.\. ignored/gm)].map(([, name]) => name)
  return { passed, failures, skipped }
}

/** ava speaks TAP: one line a test, and under it what the test logged and why it failed. */
export function tapTests(text) {
  const tests = [...text.matchAll(/^(not )?ok \d+ - (.*?)( # (?:SKIP|TODO).*)?\n((?:(?: {2}|# ).*\n)*)/gm)]
  const skipped = tests.filter(([, , , aside]) => aside).map(([, , name]) => name)
  const failures = tests
    .filter(([, not, , aside]) => not && !aside)
    .map(([, , name, , why]) => `${name}\n${why.trimEnd()}`)
  return { passed: tests.length - failures.length - skipped.length, failures, skipped }
}
