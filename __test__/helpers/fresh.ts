import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import type { Owner } from './lab.js'
import { Program } from './program.js'
import { stagedNode } from './stage.js'

/** A folder that everybody may enter, with an empty home in it; it goes with its owner. */
export class Place {
  readonly folder: string
  readonly home: string

  constructor(owner: Owner) {
    this.folder = mkdtempSync(join(tmpdir(), 'xsknet-place-'))
    owner.teardown(async () => rmSync(this.folder, { recursive: true }))
    execFileSync('chmod', ['755', this.folder])
    this.home = join(this.folder, 'home')
    mkdirSync(this.home)
  }

  /** A folder of links to the programs of coreutils and to these, to be all of somebody's PATH. */
  path(name: string, programs: readonly string[]): string {
    const folder = join(this.folder, name)
    mkdirSync(folder)
    const files = execFileSync('dpkg', ['-L', 'coreutils'], { encoding: 'utf8' }).split('\n')
    const core = files.filter((file) => /^(\/usr)?\/bin\/./.test(file))
    for (const program of [...core, ...programs]) symlinkSync(program, join(folder, basename(program)))
    return folder
  }

  /** The programs that come with Node: this one, where everybody can run it, and the npm of this machine. */
  nodeAndNpm(node: string): string[] {
    return [stagedNode(this.folder, node), program('npm'), program('npx')]
  }

  /** The command, with nothing in its environment that is not said here. */
  command(path: string, env: Record<string, string>, command: readonly string[]): string[] {
    // Where a daemon keeps its secret, else on the machine itself.
    const own = { LC_ALL: 'C', HOME: this.home, STATE_DIRECTORY: join(this.folder, 'state'), PATH: path }
    const words = Object.entries({ ...own, ...env }).map(([name, value]) => `${name}=${value}`)
    return ['/usr/bin/env', '-i', ...words, ...command]
  }
}

/** The path of a program of this machine. */
export function program(name: string): string {
  return execFileSync('sh', ['-c', 'command -v "$0"', name], { encoding: 'utf8' }).trim()
}

/**
 * This machine as if it had just been started, for those who use names that everybody uses: nothing in `/run`, no
 * bpffs, no process and no network card. All that is done in it goes with it. /
 */
export class FreshMachine {
  readonly #holder: Program
  readonly #init: string

  private constructor(holder: Program, init: string) {
    this.#holder = holder
    this.#init = init
  }

  static async start(owner: Owner): Promise<FreshMachine> {
    const own = ['--mount', '--propagation', 'private', '--pid', '--mount-proc', '--net', '--fork', '--kill-child']
    const prepare = 'mount -t tmpfs -o mode=755 tmpfs /run && while umount /sys/fs/bpf 2> /dev/null; do :; done'
    const holder = new Program(['unshare', ...own, '--', 'sh', '-c', `${prepare}; echo ready; exec sleep infinity`])
    owner.teardown(async () => {
      await holder.kill()
    })
    await holder.waitFor(/^ready$/)
    const init = readFileSync(`/proc/${holder.pid}/task/${holder.pid}/children`, 'utf8').trim()
    return new FreshMachine(holder, init)
  }

  /** The command, inside. It starts in the root folder. */
  inside(command: readonly string[]): string[] {
    if (!this.#holder.running) throw new Error('the fresh machine is gone')
    return ['nsenter', `--target=${this.#init}`, '--mount', '--pid', '--net', '--', ...command]
  }
}
