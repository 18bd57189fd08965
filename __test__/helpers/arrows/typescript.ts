// Which file of a tree of TypeScript or JavaScript imports which: statically, dynamically, or for its types alone.
import { posix } from 'node:path'
import type { Arrow, Sources } from './circles.js'

/** The arrows between the files of one tree. What is imported from elsewhere is none. */
export function typescriptArrows(sources: Sources): Arrow[] {
  return [...sources].flatMap(([from, text]) => {
    const { code, strings } = withoutStrings(text)
    const arrows = new Map<string, Arrow>()
    // The keyword that a specifier follows: `from 'x'`, `import 'x'`, `import('x')`.
    for (const { index, 1: string } of code.matchAll(/\b(?:from\s*|import\s*\(?\s*)'(\d+)'/g)) {
      const to = resolved(sources, from, strings[Number(string)] as string)
      if (to === undefined || to === from || arrows.has(to)) continue
      arrows.set(to, { from, to, line: code.slice(0, index).split('\n').length })
    }
    return [...arrows.values()]
  })
}

/** The file that a specifier names. `./x.js` is `./x.ts` where that exists, as for the compiler. */
function resolved(sources: Sources, from: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined
  const path = posix.join(posix.dirname(from), specifier)
  const candidates = [path, path.replace(/js$/, 'ts'), `${path}.ts`, `${path}/index.ts`]
  return candidates.find((candidate) => sources.has(candidate))
}

/** Begins a regular expression, if it stands where a value is expected. */
const BEFORE_VALUE = /(?:^|[(,=:[!&|?{};<>+*%~^-]|=>|\b(?:return|typeof|case|in|of|await|yield))\s*$/

/**
 * The code without comments and templates, each string replaced by its number in quotes. Line breaks stay, so that
 * lines can be counted.
 */
function withoutStrings(text: string): { code: string; strings: string[] } {
  const strings: string[] = []
  let code = ''
  let at = 0
  const pass = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at
    const found = pattern.exec(text)?.[0]
    if (found !== undefined) at += found.length
    return found
  }
  while (at < text.length) {
    const comment = pass(/\/\/[^\n]*|\/\*[\s\S]*?\*\//y)
    if (comment !== undefined) {
      code += lineBreaks(comment)
      continue
    }
    const string = pass(/'(?:[^'\\\n]|\\[\s\S])*'|"(?:[^"\\\n]|\\[\s\S])*"/y)
    if (string !== undefined) {
      code += `'${strings.push(string.slice(1, -1)) - 1}'`
      continue
    }
    if (text[at] === '`') {
      const end = endOfTemplate(text, at)
      code += `''${lineBreaks(text.slice(at, end))}`
      at = end
      continue
    }
    if (text[at] === '/' && BEFORE_VALUE.test(code.slice(-20))) {
      if (pass(/\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/\w*/y) !== undefined) continue
    }
    code += text[at++]
  }
  return { code, strings }
}

/** The offset behind a template that begins at `start`, with the templates inside it. */
function endOfTemplate(text: string, start: number): number {
  let at = start + 1
  while (at < text.length && text[at] !== '`') {
    if (text[at] === '\\') at += 2
    else if (text.startsWith('${', at)) at = endOfSubstitution(text, at + 2)
    else at++
  }
  return at + 1
}

function endOfSubstitution(text: string, start: number): number {
  let at = start
  for (let depth = 1; at < text.length && depth > 0; ) {
    const quoted = /'(?:[^'\\\n]|\\[\s\S])*'|"(?:[^"\\\n]|\\[\s\S])*"/y
    quoted.lastIndex = at
    const string = quoted.exec(text)?.[0]
    if (string !== undefined) at += string.length
    else if (text[at] === '`') at = endOfTemplate(text, at)
    else {
      if (text[at] === '{') depth++
      if (text[at] === '}') depth--
      at++
    }
  }
  return at
}

const lineBreaks = (text: string) => text.replace(/[^\n]/g, '')
