import * as v from 'valibot'
import type { LogFormat } from '../log/log.js'
import type { UplinkMode } from '../platform/instance.js'
import { interfaces, memory, NAME, NAME_RULE, oneOf } from './rules.js'

/** The keys of `[daemon]` in the configuration file. All but `memory` are options of the command line too. */
export interface DaemonSettings {
  /** Names of the interfaces to manage, each 1 to 15 characters. At least one. */
  uplinks?: string[] | undefined
  /** XDP mode of the uplinks. Default: `unspecified`, the best mode that the kernel grants. */
  mode?: UplinkMode | undefined
  /** Name of the instance: 1 to 32 letters, digits, `-` and `_`. Default of `xsknetd run`: `default`. */
  instance?: string | undefined
  /** Absolute path of the control socket. Default: `/run/xsknet/<instance>.sock`. */
  socket?: string | undefined
  /** Log format. Default: `text`. */
  log?: LogFormat | undefined
  /**
   * Maximum UMEM of all ports together, those of root and closed ones whose sockets are still open included: a number
   * of bytes, or a size such as `8GiB`. Default: half of the memory that is available at the start. The memory of
   * pinned ports does not count, because their users' own programs register it.
   */
  memory?: string | number | undefined
}

export const daemonSettings = v.strictObject({
  uplinks: v.optional(interfaces),
  mode: v.optional(oneOf('unspecified', 'native', 'skb', 'hw')),
  instance: v.optional(v.pipe(v.string('must be a name in quotes'), v.regex(NAME, `must be ${NAME_RULE}`))),
  socket: v.optional(
    v.pipe(
      v.string('must be a path in quotes'),
      v.regex(/^\//, 'must be an absolute path, such as "/run/xsknet/x.sock"'),
    ),
  ),
  log: v.optional(oneOf('text', 'json')),
  memory: v.optional(memory),
})

export type CheckedSettings = v.InferOutput<typeof daemonSettings>
