import { parseArgs } from 'node:util'

export const usage = `npm start -- [--mode native|skb] [--seconds N] [--keep]

  --mode     XDP mode of the uplink's program (default: native, or skb if native is refused)
  --seconds  duration of each of the two floods in seconds; 0 skips them (default: 3)
  --keep     keep everything running until Ctrl-C, and list commands to try by hand`

export interface Options {
  mode: 'native' | 'skb' | undefined
  seconds: number
  keep: boolean
  help: boolean
}

/** Throws an error that names the invalid option. */
export function readOptions(words: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...words],
    options: {
      mode: { type: 'string' },
      seconds: { type: 'string', default: '3' },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const { mode, seconds, keep, help } = values
  if (mode !== undefined && mode !== 'native' && mode !== 'skb')
    throw new Error(`\`${mode}\` is not a mode: use native or skb`)
  if (!/^\d+(\.\d+)?$/.test(seconds)) throw new Error(`\`${seconds}\` is not a number of seconds`)
  return { mode, seconds: Number(seconds), keep, help }
}
