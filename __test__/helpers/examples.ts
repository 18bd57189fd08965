import { readdirSync, readFileSync } from 'node:fs'
import { root } from './workspace.js'

/** A message of docs/protocol/. */
export interface Example {
  direction: 'request' | 'answer' | 'event'
  operation?: string
  event?: string
  message: Record<string, unknown>
}

/** All of them, by file name. */
export const examples: ReadonlyMap<string, Example> = new Map(
  readdirSync(`${root}docs/protocol`)
    .sort()
    .map((file) => [file, JSON.parse(readFileSync(`${root}docs/protocol/${file}`, 'utf8')) as Example]),
)

/** The message of docs/protocol/`name`.json. */
export function example(name: string): Record<string, unknown> {
  const found = examples.get(`${name}.json`)
  if (!found) throw new Error(`docs/protocol/${name}.json is missing`)
  return structuredClone(found.message)
}
