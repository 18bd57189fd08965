export interface Step {
  mode: string
  step: string
  failed: boolean
  /** What it said last. */
  text: string
}

export interface Run {
  kernel: string
  driver: string
  steps: (Step & { kernel: string; driver: string; reason: string | undefined })[]
  unexpected: Run['steps']
}

export function judge(kernel: string, driver: string, steps: Step[]): Run
export function report(runs: Run[]): string
