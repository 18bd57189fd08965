import type { Owner } from '../__test__/helpers/lab.js'

/** Undoes what was set up, the last first. */
export class Undo implements Owner {
  readonly #steps: (() => Promise<void>)[] = []

  teardown(step: () => Promise<void>): void {
    this.#steps.unshift(step)
  }

  /** All of it, whatever fails on the way; the first failure is told. */
  async now(): Promise<void> {
    const failures: unknown[] = []
    for (const step of this.#steps.splice(0)) await step().catch((error) => failures.push(error))
    if (failures.length > 0) throw failures[0]
  }
}
