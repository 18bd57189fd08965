// The programs in C, and how they are compiled.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, statSync } from 'node:fs'
import { root } from '../__test__/helpers/workspace.js'

/**
 * What both sides' compilers may use; ours are built for the same machines by cargo's default for the target, or less.
 */
export const FLAGS = process.arch === 'x64' ? ['-O3', '-march=x86-64-v2'] : ['-O3']

const folder = `${root}bench/peer`
/** Where they lie, and the binding that scripts/bench.mjs builds. */
export const built = `${process.env.CARGO_TARGET_DIR ?? `${root}target`}/bench`

const sources: Record<string, string[]> = {
  xskpeer: ['main.c', 'xsk.c', 'loops.c', 'headroom.c'],
  steps: ['steps.c'],
  behind: ['behind.c'],
}
const libraries: Record<string, string[]> = {
  xskpeer: ['-lxdp', '-lbpf', '-lpthread'],
  steps: ['-lpthread'],
  behind: ['-shared', '-fPIC', '-lxdp', '-lbpf', '-ldl'],
}

/** The path of a program of bench/peer, compiled if its sources are newer. */
export function compiled(name: 'xskpeer' | 'steps' | 'behind', defines: Record<string, number> = {}): string {
  const program = [`${built}/${name}`, ...Object.values(defines)].join('-')
  const newest = Math.max(...readdirSync(folder).map((file) => statSync(`${folder}/${file}`).mtimeMs))
  if ((statSync(program, { throwIfNoEntry: false })?.mtimeMs ?? 0) < newest) {
    mkdirSync(built, { recursive: true })
    const files = (sources[name] ?? []).map((file) => `${folder}/${file}`)
    const words = Object.entries(defines).map(([macro, value]) => `-D${macro}=${value}`)
    execFileSync('gcc', [
      ...FLAGS,
      ...words,
      '-Wall',
      '-Wextra',
      '-Werror',
      '-o',
      program,
      ...files,
      ...(libraries[name] ?? []),
    ])
  }
  return program
}
