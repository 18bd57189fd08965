export interface Counted {
  passed: number
  failures: string[]
  skipped: string[]
}
export function cargoTests(text: string): Counted
export function tapTests(text: string): Counted
export class Timings {
  constructor(now?: number)
  hear(chunk: string, now?: number): void
}
export function slowestOf(timings: Timings[], count: number): { name: string; seconds: number }[]
