/** Whether this is the one executable. Not by an import: other runtimes than Node have no such module, and could not even import this. */
export function isSea(): boolean {
  try {
    return process.getBuiltinModule('node:sea')?.isSea() ?? false
  } catch {
    return false
  }
}
