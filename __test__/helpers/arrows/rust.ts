// Which file of a crate uses which: by `use`, and by a path in its code. It reads text, not a syntax tree; that is
// enough for code that rustfmt has formatted.
import type { Arrow, Sources } from './circles.js'

/** A file of the tree, and what others need to know of it. */
interface Module {
  file: string
  /** The module's path: `['ring', 'heap']` for `ring/heap.rs`, empty for the root. */
  path: string[]
  /** Without comments, strings and what is compiled for tests alone; of the same length as the text. */
  code: string
  uses: Use[]
}

/** One leaf of a `use` declaration. */
interface Use {
  segments: string[]
  /** The name that it brings into scope: `*` for all names. */
  name: string
  offset: number
}

/**
 * The arrows between the files of one crate. The root is `lib.rs` or `main.rs`, or none: `tests/common` is such a tree.
 * A name that a module only passes on leads to the file that defines it, if that can be found.
 */
export function rustArrows(sources: Sources): Arrow[] {
  const modules = new Map<string, Module>()
  for (const [file, text] of sources) {
    const path = modulePath(file)
    const code = withoutTests(withoutStrings(text))
    modules.set(path.join('::'), { file, path, code, uses: usesOf(code) })
  }
  return [...modules.values()].flatMap((module) => arrowsOf(modules, module))
}

function modulePath(file: string): string[] {
  const path = file.replace(/\.rs$/, '').split('/')
  if (path.at(-1) === 'mod') path.pop()
  return path.length === 1 && (path[0] === 'lib' || path[0] === 'main') ? [] : path
}

function arrowsOf(modules: ReadonlyMap<string, Module>, module: Module): Arrow[] {
  const arrows = new Map<string, Arrow>()
  const draw = (segments: string[], offset: number) => {
    const to = target(modules, module, segments, offset)
    if (to === undefined || to === module.file) return
    const line = module.code.slice(0, offset).split('\n').length
    const before = arrows.get(to)
    if (before === undefined || line < before.line) arrows.set(to, { from: module.file, to, line })
  }
  for (const { segments, offset } of module.uses) draw(segments, offset)
  const code = module.code.replace(USE, (use) => ' '.repeat(use.length)).replace(/\bpub\([^)]*\)/g, blank)
  for (const { 0: path, index } of code.matchAll(/(?<![\w:])[A-Za-z_]\w*(?:\s*::\s*[A-Za-z_]\w*)+/g)) {
    draw(
      path.split('::').map((segment) => segment.trim()),
      index,
    )
  }
  return [...arrows.values()].sort((a, b) => a.line - b.line)
}

/** The file that a path leads to, seen from a module; `undefined` if it leaves the crate or names something local. */
function target(
  modules: ReadonlyMap<string, Module>,
  from: Module,
  segments: readonly string[],
  offset: number,
): string | undefined {
  const start = absolute(modules, from, segments, offset)
  return start && follow(modules, start, new Set())
}

/** The path from the crate's root. */
function absolute(
  modules: ReadonlyMap<string, Module>,
  from: Module,
  segments: readonly string[],
  offset: number,
): string[] | undefined {
  const here = [...from.path, ...inlineModules(from.code, offset)]
  const [first, ...rest] = segments
  if (first === 'crate') return rest
  if (first === 'self' || first === 'super') {
    const names = [...segments]
    while (names[0] === 'self' || names[0] === 'super') if (names.shift() === 'super') here.pop()
    return [...here, ...names]
  }
  if (modules.has([...from.path, first].join('::'))) return [...from.path, ...segments]
  // The name of a module that a `use` brought here: `use crate::ring; … ring::heap::HeapRing`.
  const alias = from.uses.find(
    ({ name, segments: [root] }) => name === first && /^(crate|self|super)$/.test(root ?? ''),
  )
  if (alias === undefined || alias.segments === segments) return undefined
  const aliased = absolute(modules, from, alias.segments, alias.offset)
  return aliased && modules.has(aliased.join('::')) ? [...aliased, ...rest] : undefined
}

/** The file of the deepest module on a path, or where the next name on it is defined. */
function follow(modules: ReadonlyMap<string, Module>, path: readonly string[], seen: Set<string>): string | undefined {
  const key = path.join('::')
  if (seen.has(key)) return undefined
  seen.add(key)
  let depth = path.length
  while (depth > 0 && !modules.has(path.slice(0, depth).join('::'))) depth--
  const module = modules.get(path.slice(0, depth).join('::'))
  const name = path[depth]
  if (module === undefined || name === undefined || name === '*' || name === 'self' || defines(module, name)) {
    return module?.file
  }
  const named = module.uses.filter((use) => use.name === name)
  const globs = module.uses.filter((use) => use.name === '*')
  for (const use of [...named, ...globs]) {
    const segments = use.name === '*' ? [...use.segments.slice(0, -1), name] : use.segments
    const next = absolute(modules, module, segments, use.offset)
    const found = next && follow(modules, next, seen)
    if (found !== undefined && (use.name !== '*' || definesIn(modules, found, name))) return found
  }
  return module.file
}

function definesIn(modules: ReadonlyMap<string, Module>, file: string, name: string): boolean {
  return [...modules.values()].some((module) => module.file === file && defines(module, name))
}

/** Whether a file has an item of this name outside of all blocks: methods and associated types do not count. */
function defines({ code }: Module, name: string): boolean {
  const before = '(?:pub(?:\\([^)]*\\))?\\s+)?(?:(?:async|const|extern|unsafe)\\s+)*'
  const kinds = '(?:fn|struct|enum|trait|type|const|static|union|mod|macro_rules!)'
  return new RegExp(`^${before}${kinds}\\s+(?:mut\\s+)?${name}\\b`, 'm').test(code)
}

/** The names of the modules written out in the file around an offset, the outermost first. */
function inlineModules(code: string, offset: number): string[] {
  const names: string[] = []
  for (const { 0: head, 1: name, index } of code.matchAll(/\bmod\s+(\w+)\s*\{/g)) {
    if (index < offset && offset < endOfBlock(code, index + head.length - 1)) names.push(name as string)
  }
  return names
}

const USE = /(?<=^|[;{}\])]\s*|pub\s+)use\s+[^;]*;/g

function usesOf(code: string): Use[] {
  return [...code.matchAll(USE)].flatMap(({ 0: use, index }) => leaves(use, index, 'use'.length, []).uses)
}

/** The leaves of a tree of names that begins at `at` in the declaration. */
function leaves(use: string, base: number, at: number, prefix: readonly string[]): { uses: Use[]; at: number } {
  const segments = [...prefix]
  for (;;) {
    at += /^\s*(?:::)?\s*/.exec(use.slice(at))?.[0].length ?? 0
    if (use[at] === '{') {
      const uses: Use[] = []
      do {
        const list = /^\s*\}/.exec(use.slice(at + 1))
        if (list) break // a comma before the closing brace
        const inner = leaves(use, base, at + 1, segments)
        uses.push(...inner.uses)
        at = inner.at
      } while (use[at] === ',')
      return {
        uses,
        at: use.indexOf('}', at) + 1 + (/^\s*/.exec(use.slice(use.indexOf('}', at) + 1))?.[0].length ?? 0),
      }
    }
    const offset = base + at
    const segment = /^(?:\w+|\*)/.exec(use.slice(at))?.[0] ?? ''
    at += segment.length
    if (segment !== 'self' || segments.length === 0) segments.push(segment)
    const renamed = /^\s+as\s+(\w+)/.exec(use.slice(at))
    at += renamed?.[0].length ?? 0
    at += /^\s*/.exec(use.slice(at))?.[0].length ?? 0
    if (!use.startsWith('::', at))
      return { uses: [{ segments, name: renamed?.[1] ?? segments.at(-1) ?? '', offset }], at }
  }
}

/** What is compiled for tests alone, blanked: the attribute, and the item behind it. */
function withoutTests(code: string): string {
  const attribute = /#!?\[cfg\((?:test|all\(test\b[^\]]*)\)\]/g
  let result = code
  for (let found = attribute.exec(result); found !== null; found = attribute.exec(result)) {
    const end = found[0].startsWith('#!') ? result.length : endOfItem(result, attribute.lastIndex)
    result = result.slice(0, found.index) + blank(result.slice(found.index, end)) + result.slice(end)
  }
  return result
}

/** The offset behind an item, a field or an arm of a match. */
function endOfItem(code: string, start: number): number {
  const attributes = /^(?:\s*#\[[^\]]*\])*\s*/.exec(code.slice(start))?.[0].length ?? 0
  const begin = start + attributes
  const isUse = /^(?:pub(?:\([^)]*\))?\s+)?use\b/.test(code.slice(begin))
  const isItem = /^(?:pub|fn|mod|struct|enum|impl|trait|const|static|type|async|unsafe|extern|let)\b/.test(
    code.slice(begin),
  )
  for (let at = begin, depth = 0; at < code.length; at++) {
    const sign = code[at] as string
    if ('([<'.includes(sign)) depth++
    if (')]'.includes(sign) || (sign === '>' && code[at - 1] !== '-' && code[at - 1] !== '=')) depth--
    if (sign === ';') return at + 1
    if (sign === '{' && !isUse) return endOfBlock(code, at)
    if (!isItem && !isUse && depth <= 0 && (sign === ',' || sign === '}')) return at
  }
  return code.length
}

/** The offset behind the block that opens at `open`. */
function endOfBlock(code: string, open: number): number {
  let depth = 0
  for (let at = open; at < code.length; at++) {
    if (code[at] === '{') depth++
    if (code[at] === '}' && --depth === 0) return at + 1
  }
  return code.length
}

/** Raw strings, strings, and characters, which a lifetime is not. */
const STRING = new RegExp(
  [/(?:\b(?:br|cr|r))(#*)"[\s\S]*?"\1/, /(?:\b[bc])?"(?:[^"\\]|\\[\s\S])*"/, /(?:\bb)?'(?:[^'\\\n]|\\[^']+|\\')'/]
    .map(({ source }) => source)
    .join('|'),
  'y',
)

/** The text with comments and the contents of strings blanked; of the same length. */
function withoutStrings(text: string): string {
  let code = ''
  for (let at = 0; at < text.length; ) {
    let end = at + 1
    if (text.startsWith('//', at)) {
      const eol = text.indexOf('\n', at)
      end = eol < 0 ? text.length : eol
    } else if (text.startsWith('/*', at)) end = endOfComment(text, at)
    else {
      STRING.lastIndex = at
      const string = STRING.exec(text)?.[0]
      if (string === undefined) {
        code += text[at++]
        continue
      }
      end = at + string.length
    }
    code += blank(text.slice(at, end))
    at = end
  }
  return code
}

/** Block comments nest. */
function endOfComment(text: string, start: number): number {
  let at = start
  for (let depth = 0; at < text.length; ) {
    if (text.startsWith('/*', at)) [depth, at] = [depth + 1, at + 2]
    else if (text.startsWith('*/', at)) {
      ;[depth, at] = [depth - 1, at + 2]
      if (depth === 0) return at
    } else at++
  }
  return at
}

const blank = (text: string) => text.replace(/[^\n]/g, ' ')
