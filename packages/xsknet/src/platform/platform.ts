import { XsknetError } from '../errors.js'

/** What decides whether a binding loads. */
export interface System {
  platform: string
  arch: string
  /** The version of the GNU C library that this process runs on, such as `2.36`; undefined on another C library. */
  glibc: string | undefined
  /** Another runtime than Node, such as `Bun 1.4.5`. */
  runtime?: string | undefined
}

/** Where the binding of a package may be. */
export interface BindingPlace {
  /** The package that needs it. */
  owner: string
  /** The file that a build in a clone makes. */
  built: string
  /** The package that carries it where `owner` was installed. */
  carrier: string
}

/** As `engines` of the packages has it. */
const OLDEST_NODE = '20.19'
/** The oldest GNU C library that the published bindings load on. */
export const OLDEST_GLIBC = '2.34'

/**
 * Runtimes that load the binding and then lack what it calls: Node-API gives a module Node's event loop, libuv, by
 * which it waits for frames. Bun aborts the process at such a call, and Deno answers it with nothing.
 */
const OTHERS: Readonly<Record<string, string>> = { bun: 'Bun', deno: 'Deno' }

/**
 * Loads the binding that a clone has built, else the one that was installed beside the package.
 *
 * @param load `require` of the module that asks.
 * @throws {XsknetError} `ERR_XSKNET_UNSUPPORTED_PLATFORM`. `details.problem` distinguishes a system that no binding is
 * built for, a package that is missing, and a binding that the system refuses.
 */
export function requireBinding(load: (id: string) => unknown, place: BindingPlace, system?: System): unknown {
  const { owner, built, carrier } = place
  const runtime = system ? system.runtime : otherRuntime()
  if (runtime !== undefined) throw strange(runtime)
  const { platform, arch } = system ?? process
  if (platform !== 'linux' || arch !== 'x64') throw unsupported(undefined)
  try {
    return load(built)
  } catch (cause) {
    if (!isMissing(cause, built)) throw unsupported(cause)
  }
  try {
    return load(carrier)
  } catch (cause) {
    throw unsupported(cause)
  }

  function strange(runtime: string): XsknetError {
    return new XsknetError('ERR_XSKNET_UNSUPPORTED_PLATFORM', `${owner} does not work on ${runtime}`, {
      hint:
        `Run the program with Node ${OLDEST_NODE} or later: its native part waits for ` +
        `frames in Node's own event loop, which ${runtime} lacks.`,
      details: { problem: 'runtime', runtime },
    })
  }

  /** Whether this code is in its package, rather than in a bundle. */
  function isInPackage(): boolean {
    try {
      return (load(built.replace(/native\/[^/]+$/, 'package.json')) as { name?: unknown }).name === owner
    } catch {
      return false
    }
  }

  function unsupported(cause: unknown): XsknetError {
    const { platform, arch, glibc } = system ?? thisSystem()
    const error = (problem: string, message: string, hint: string) =>
      new XsknetError('ERR_XSKNET_UNSUPPORTED_PLATFORM', message, {
        hint,
        details: { problem, platform, arch, ...(glibc === undefined ? {} : { glibc }) },
        cause,
      })
    if (platform !== 'linux')
      return error('platform', `${owner} has no binding for ${platform}`, 'AF_XDP is a part of Linux: run this there.')
    if (arch !== 'x64')
      return error(
        'architecture',
        `${owner} has no binding for ${arch}`,
        'It is built for x64: run this on such a machine.',
      )
    if (glibc === undefined)
      return error(
        'libc',
        `${owner} has no binding for a system without the GNU C library, such as musl`,
        `Run this on a system with glibc ${OLDEST_GLIBC} or newer: not Alpine, which has musl.`,
      )
    if ((cause as NodeJS.ErrnoException | undefined)?.code === 'ERR_DLOPEN_DISABLED')
      return error(
        'addons',
        `${owner} cannot load its binding: this Node does not load native addons`,
        'Start Node without --no-addons; with --permission, add --allow-addons. NODE_OPTIONS may set either.',
      )
    if (isMissing(cause, carrier) && !isInPackage())
      return error(
        'bundled',
        `${owner} is part of a bundle, and its binding ${carrier} is not installed beside that`,
        `Leave ${owner} out of the bundle (\`external\` of esbuild, \`externals\` of ` +
          'webpack), and install it where the program runs.',
      )
    if (isMissing(cause, carrier))
      return error(
        'missing',
        `${owner} cannot find its binding: ${carrier} is not installed`,
        `Reinstall ${owner} without --omit=optional. In a clone, \`npm run build\` makes the binding.`,
      )
    if (older(glibc, OLDEST_GLIBC))
      return error(
        'libc',
        `${owner}’s binding does not load on glibc ${glibc}`,
        `Run this on a system with glibc ${OLDEST_GLIBC} or newer.`,
      )
    return error(
      'refused',
      `${owner}’s binding does not load: ${textOf(cause)}`,
      `Reinstall ${owner}: the file may be damaged.`,
    )
  }
}

function otherRuntime(): string | undefined {
  for (const [key, name] of Object.entries(OTHERS)) {
    const version = process.versions[key]
    if (version !== undefined) return `${name} ${version}`
  }
  return undefined
}

/** What a binding is looked for on. */
function thisSystem(): System {
  const { platform, arch } = process
  // Node's report asks for the version that runs; it is absent on any other C library.
  const report =
    platform === 'linux' ? (process.report.getReport() as { header?: { glibcVersionRuntime?: string } }) : {}
  return { platform, arch, glibc: report.header?.glibcVersionRuntime }
}

/** Is it `id` itself that is missing, rather than something that it needs? */
function isMissing(error: unknown, id: string): boolean {
  const { code, message } = error as NodeJS.ErrnoException
  return code === 'MODULE_NOT_FOUND' && message.startsWith(`Cannot find module '${id}'`)
}

function older(version: string, than: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [thanMajor = 0, thanMinor = 0] = than.split('.').map(Number)
  return major < thanMajor || (major === thanMajor && minor < thanMinor)
}

const textOf = (error: unknown) => (error instanceof Error ? error.message : String(error))
