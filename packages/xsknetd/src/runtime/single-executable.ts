/**
 * Whether this is the single executable. Not by an import: runtimes other than Node lack the module, and would fail to
 * import this file.
 */
export function isSingleExecutable(): boolean {
  try {
    return process.getBuiltinModule('node:sea')?.isSea() ?? false
  } catch {
    return false
  }
}
