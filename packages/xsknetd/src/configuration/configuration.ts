import * as v from 'valibot'
import { XsknetError } from 'xsknet'
import type { LogFormat } from '../log/log.js'
import type { UplinkMode } from '../platform/instance.js'
import type { Grant } from '../policy/grant.js'
import type { MemoryLimit } from '../policy/memory-limit.js'
import { type Accounts, systemAccounts } from './accounts.js'
import { type CheckedSettings, type DaemonSettings, daemonSettings } from './daemon-settings.js'
import { type CheckedGrant, type GrantOptions, grantSchema } from './grant-options.js'
import { check, nthGrant, readSource } from './source.js'

/** The validated configuration of a daemon. */
export interface Configuration {
  /** Names of the interfaces to manage, without duplicates; at least one. */
  readonly uplinks: readonly string[]
  /** The requested XDP mode of the uplinks. */
  readonly mode: UplinkMode
  /** Name of the instance, 1 to 32 characters; `undefined` for a unique generated one. */
  readonly instance: string | undefined
  /** Absolute path of the control socket; `undefined` for {@link socketOf} the generated instance name. */
  readonly socket: string | undefined
  readonly log: LogFormat
  /** The maximum UMEM of all ports together; without `bytes`, half of the memory that is available at the start. */
  readonly memory: Partial<MemoryLimit> & Pick<MemoryLimit, 'key'>
  /** In the order of the file; the first that allows a port counts. */
  readonly grants: readonly Grant[]
}

/** The default control socket of an instance. */
export const socketOf = (instance: string) => `/run/xsknet/${instance}.sock`

/**
 * Reads the configuration file, if there is one. Settings of the command line take precedence.
 *
 * @param above The settings of the command line.
 * @throws {XsknetError} `ERR_XSKNET_CONFIGURATION_INVALID`, with file, line and key.
 */
export function readConfiguration(
  above: DaemonSettings,
  file?: string,
  accounts: Accounts = systemAccounts(),
): Configuration {
  const source = file === undefined ? undefined : readSource(file)
  const schema = v.strictObject({
    daemon: v.optional(daemonSettings, {}),
    grant: v.optional(v.array(grantSchema(accounts), 'must be a list of tables: [[grant]]'), []),
  })
  const { daemon, grant } = check(schema, source?.content ?? {}, source)
  const flags = check(daemonSettings, given(above), undefined, ([key]) => (key === 'uplinks' ? '--uplink' : `--${key}`))
  const names = {
    memory: '`memory` under [daemon] of the configuration',
    grant: (at: number) => `${nthGrant(at)} of ${file}`,
  }
  return toConfiguration({ instance: 'default', ...daemon, ...flags }, grant, names)
}

/**
 * Validates the options of a program.
 *
 * @throws {XsknetError} `ERR_XSKNET_CONFIGURATION_INVALID`, with the key.
 */
export function checkConfiguration(
  options: DaemonSettings & { grants?: GrantOptions[] | undefined },
  accounts = systemAccounts(),
): Configuration {
  const schema = v.strictObject({
    ...daemonSettings.entries,
    grants: v.optional(v.array(grantSchema(accounts), 'must be a list'), []),
  })
  const { grants, ...daemon } = check(schema, given(options))
  const names = { memory: "`memory` of the daemon's options", grant: (at: number) => `\`grants[${at}]\`` }
  return toConfiguration(daemon, grants, names)
}

/** Where something was set, for messages. */
interface Names {
  readonly memory: string
  readonly grant: (at: number) => string
}

function toConfiguration(
  { uplinks = [], mode = 'unspecified', instance, socket, log = 'text', memory }: CheckedSettings,
  grants: CheckedGrant[],
  names: Names,
): Configuration {
  if (uplinks.length === 0) {
    throw new XsknetError('ERR_XSKNET_CONFIGURATION_INVALID', 'no uplink was given: the daemon has nothing to manage', {
      hint: 'Use --uplink eth0, or uplinks = ["eth0"] under [daemon] of the configuration.',
      details: { key: 'uplinks' },
    })
  }
  return {
    uplinks: [...new Set(uplinks)],
    mode,
    instance,
    socket: socket ?? (instance === undefined ? undefined : socketOf(instance)),
    log,
    memory: { ...(memory !== undefined && { bytes: memory }), key: names.memory },
    grants: grants.map(({ user, group, ...grant }, at) => {
      const holder = user === undefined ? { gid: group as number } : { uid: user }
      return { ...grant, holder, origin: names.grant(at) }
    }),
  }
}

function given<T extends object>(settings: T): Partial<T> {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined)) as Partial<T>
}
