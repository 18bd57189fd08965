export interface Product {
  name: string
  folder: string
  crate: string
  binding: string
  carrier: string
  examples: string[]
  documents: string[]
}
export const platform: { triple: string; suffix: string; os: string[]; cpu: string[]; libc: string[] }
export const products: Product[]
export const budgets: Record<string, [packed: number, unpacked: number]>
