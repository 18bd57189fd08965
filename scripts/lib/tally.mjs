// Counts tests in what cargo and ava print.

// Tests that may be skipped in CI, by name. Anything else that is skipped there fails the run.
const EXPECTED_SKIPS = []

export class Tally {
  passed = 0
  failed = 0
  skipped = []
  #parts = []

  /** One program's tests. A program that ended badly without a failed test (it did not compile, it crashed) failed as a whole. */
  add(name, code, { passed, failed, skipped }) {
    this.passed += passed
    this.failed += failed
    this.skipped.push(...skipped)
    this.#parts.push(`${name}: ${passed} passed, ${failed} failed, ${skipped.length} skipped`)
    if (code !== 0 && failed === 0) this.fail(`${name} ended with exit code ${code} without a failed test`)
    if (code === 0 && passed === 0) this.fail(`${name} ran no test`)
  }

  fail(why) {
    console.error(`\n${why}`)
    this.failed += 1
  }

  /** Prints the sum as the last line and returns the exit code. */
  end() {
    const unexpected = this.skipped.filter((name) => !EXPECTED_SKIPS.includes(name))
    for (const name of unexpected) console.error(`skipped: ${name}`)
    console.log(`\n${this.#parts.join('\n')}`)
    console.log(`\n${this.passed} passed, ${this.failed} failed, ${this.skipped.length} skipped`)
    return this.failed > 0 || (process.env.CI && unexpected.length > 0) ? 1 : 0
  }
}

/** Each test binary of cargo ends with a line `test result:`. */
export function cargoTests(text) {
  const results = [...text.matchAll(/^test result: \w+\. (\d+) passed; (\d+) failed;/gm)]
  const sum = (column) => results.reduce((total, result) => total + Number(result[column]), 0)
  const skipped = [...text.matchAll(/^test (.+) \.\.\. ignored/gm)].map(([, name]) => name)
  return { passed: sum(1), failed: sum(2), skipped }
}

/** ava speaks TAP: one line a test. */
export function tapTests(text) {
  const tests = [...text.matchAll(/^(not )?ok \d+ - (.*?)( # (?:SKIP|TODO).*)?$/gm)]
  const skipped = tests.filter(([, , , aside]) => aside).map(([, , name]) => name)
  const failed = tests.filter(([, not, , aside]) => not && !aside).length
  return { passed: tests.length - failed - skipped.length, failed, skipped }
}
