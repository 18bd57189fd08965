// Starts other programs. Whatever they print is shown as it comes.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { realpathSync } from 'node:fs'
import { homedir, constants as os } from 'node:os'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../..', import.meta.url))

// rustup adds this folder in the shell's profile, which a CI job or `sudo` may not have read.
process.env.PATH += `:${process.env.CARGO_HOME ?? `${homedir()}/.cargo`}/bin`

/** A step that could not be done: its message is all that the reader needs. */
export class Stop extends Error {}

/**
 * Runs a program to its end and returns its exit code.
 * @param {string} command
 * @param {string[]} args
 * @param {{ cwd?: string, env?: Record<string, string>, onStdout?: (text: string) => void, aside?: boolean }} options
 *   `onStdout` also gets what the program prints. What a program prints `aside` of another one is shown when it has
 *   ended.
 * @returns {Promise<number>}
 */
export async function run(command, args, { cwd = root, env = {}, onStdout, aside = false } = {}) {
  const line = `\n$ ${[command.replace(root, ''), ...args].join(' ')}\n`
  process.stdout.write(aside ? `${line}(beside what follows; its output comes at its end)\n` : line)
  const stdio = ['inherit', onStdout || aside ? 'pipe' : 'inherit', aside ? 'pipe' : 'inherit']
  const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio })
  let kept = line
  const show = aside ? (text) => (kept += text) : (text) => process.stdout.write(text)
  child.stderr?.setEncoding('utf8').on('data', show)
  child.stdout?.setEncoding('utf8').on('data', (text) => {
    show(text)
    onStdout?.(text)
  })

  // The program decides what a signal means, so that it can clean up; we wait for it.
  const forward = (signal) => child.kill(signal)
  process.on('SIGINT', forward).on('SIGTERM', forward)
  try {
    const [code, signal] = await once(child, 'close')
    if (signal === 'SIGINT' || signal === 'SIGTERM') process.exit(128 + os.signals[signal])
    return code ?? 128 + os.signals[signal]
  } catch (cause) {
    throw new Stop(`${command} cannot be started: ${cause.message}`)
  } finally {
    process.off('SIGINT', forward).off('SIGTERM', forward)
    if (aside) process.stdout.write(kept)
  }
}

/** Runs a program that must succeed. */
export async function must(command, args, options) {
  const code = await run(command, args, options)
  if (code !== 0) throw new Stop(`${command} ended with exit code ${code}`)
}

/** What a short program printed, or undefined if it is missing or failed. */
export function output(command, args) {
  const { status, stdout } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  return status === 0 ? stdout : undefined
}

/** Whole seconds since `began`, a time of `performance.now()`. */
export const inSeconds = (began) => Math.round((performance.now() - began) / 1000)

/** The path of a program that pnpm installed. */
export const installed = (name) => `${root}node_modules/.bin/${name}`

/** What node is to be called with, to run a program in TypeScript. */
export const inTypeScript = (path, ...words) => ['--import=@oxc-node/core/register', `${root}${path}`, ...words]

/** Is this file the one that node was started with, rather than imported by another script? */
export const isMain = (url) => realpathSync(process.argv[1]) === fileURLToPath(url)

/** Runs a script's main function and gives its exit code to the shell. */
export async function main(body) {
  try {
    process.exitCode = (await body()) ?? 0
  } catch (error) {
    if (!(error instanceof Stop)) throw error
    console.error(`\n${error.message}`)
    process.exitCode = 1
  }
}
