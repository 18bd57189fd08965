export interface Counted {
  passed: number
  failures: string[]
  skipped: string[]
}
export function cargoTests(text: string): Counted
export function tapTests(text: string, prefix?: string): Counted
export class Timings {
  constructor(prefix?: string, now?: number)
  hear(chunk: string, now?: number): void
}
export function slowestOf(timings: Timings[], count: number): { name: string; seconds: number }[]
