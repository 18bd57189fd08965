export interface Counted {
  passed: number
  failures: string[]
  skipped: string[]
}
export function cargoTests(text: string): Counted
export function tapTests(text: string): Counted
