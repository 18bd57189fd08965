// Counts tests in what cargo and ava print.

// Tests that may be skipped in CI, by name. Anything else that is skipped there fails the run.
const EXPECTED_SKIPS = []

export class Tally {
  passed = 0
  failed = 0
  skipped = []
  #parts = []
  #failures = []

  /** One program's tests. A program that ended badly without a failed test (it did not compile, it crashed) failed as a whole. */
  add(name, code, { passed, failures, skipped }) {
    this.passed += passed
    this.failed += failures.length
    this.skipped.push(...skipped)
    this.#parts.push(`${name}: ${passed} passed, ${failures.length} failed, ${skipped.length} skipped`)
    this.#failures.push(...failures.map((failure) => `${name}: ${failure}`))
    if (code !== 0 && failures.length === 0) this.fail(`${name} ended with exit code ${code} without a failed test`)
    if (code === 0 && passed === 0) this.fail(`${name} ran no test`)
  }

  fail(why) {
    this.#failures.push(why)
    this.failed += 1
  }

  /** Prints what failed, again, because it stands thousands of lines above; then the sum as the last line. Returns the exit code. */
  end() {
    const unexpected = this.skipped.filter((name) => !EXPECTED_SKIPS.includes(name))
    for (const name of unexpected) console.error(`skipped: ${name}`)
    for (const failure of this.#failures) console.log(`\nfailed: ${failure}`)
    console.log(`\n${this.#parts.join('\n')}`)
    console.log(`\n${this.passed} passed, ${this.failed} failed, ${this.skipped.length} skipped`)
    return this.failed > 0 || (process.env.CI && unexpected.length > 0) ? 1 : 0
  }
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
  const failures = tests.filter(([, not, , aside]) => not && !aside).map(([, , name, , why]) => `${name}\n${why.trimEnd()}`)
  return { passed: tests.length - failures.length - skipped.length, failures, skipped }
}
