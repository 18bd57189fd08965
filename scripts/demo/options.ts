import { parseArgs } from 'node:util'

export const usage = `npm start -- [--mode native|skb] [--seconds N] [--keep]

  --mode     where the card's program runs; unless set: native, and skb where that is refused
  --seconds  how long the flood lasts; 4 unless set, 0 leaves it out
  --keep     leaves all of it running until Ctrl-C, and says how to try it by hand`

export interface Options {
  mode: 'native' | 'skb' | undefined
  seconds: number
  keep: boolean
  help: boolean
}

/** Throws an error that says what cannot be followed. */
export function readOptions(words: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...words],
    options: {
      mode: { type: 'string' },
      seconds: { type: 'string', default: '4' },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const { mode, seconds, keep, help } = values
  if (mode !== undefined && mode !== 'native' && mode !== 'skb')
    throw new Error(`\`${mode}\` is no mode: native or skb`)
  if (!/^\d+(\.\d+)?$/.test(seconds)) throw new Error(`\`${seconds}\` is no number of seconds`)
  return { mode, seconds: Number(seconds), keep, help }
}
