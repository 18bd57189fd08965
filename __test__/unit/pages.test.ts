import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, posix } from 'node:path'
import test from 'ava'
import { root } from '../helpers/workspace.js'

const pages = [
  ...['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md'],
  ...readdirSync(`${root}docs`).flatMap((file) => (file.endsWith('.md') ? [`docs/${file}`] : [])),
]

/** Names that look like those of files of this repository and are not, by what they are. */
const ELSEWHERE: [what: string, name: RegExp][] = [
  ['a path on the host', /^[/~]/],
  ['made by a build', /^(packed|target)(\/|$)/],
  ['a module of Node or of a package', /^(node:\w+|xsknet\/\w+|@[\w-]+\/[\w-]+)$/],
  ['an address with the length of its prefix', /^[\w.-]+(\/\d+)+$/],
  ['not the name of a file', /[^\w./@{}+-]/],
]

/** Files of this repository that git does not know, by the page that names them, and what makes them. */
const MADE: Record<string, string[]> = {
  'docs/packages.md': ['.cargo/config.toml'], // set-up
}

/**
 * A crate or a package, at the beginning of a path. The files that are named beside it without a path are in there,
 * unless the page names their path elsewhere.
 */
const TREE = /^(crates|packages)\/[\w-]+/

/** What ends the names of our files. */
const EXTENSIONS = /\.(rs|[cm]?[jt]s|c|h|sh|md|toml|json|ya?ml)$/

const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && existsSync(`${root}${file}`))
const paths = new Set(files.flatMap((file) => [file, ...above(file)]))

for (const page of pages) {
  const text = readFileSync(`${root}${page}`, 'utf8')

  test(`every file that ${page} names exists`, (t) => {
    const known = namedFiles(prose(text)).filter((name) => paths.has(name))
    const wrong = blocks(prose(text)).flatMap((block) => {
      const named = namedFiles(block)
      const trees = named.flatMap((name) => name.match(TREE)?.[0] ?? [])
      return named.filter(
        (name) =>
          !MADE[page]?.includes(name) &&
          !known.some((path) => path.endsWith(`/${name}`)) &&
          !isThere(page, name, trees),
      )
    })
    t.deepEqual([...new Set(wrong)], [])
  })

  test(`every link of ${page} leads somewhere`, (t) => {
    t.deepEqual(
      links(prose(text)).filter((link) => !leadsSomewhere(page, link)),
      [],
    )
  })
}

test('names of files are told from other words in backticks', (t) => {
  const line =
    '`crates/port/src/port.rs` and `port.rs`, `Port::open()`, `/run/xsknet`, `a / b`, `docs/`, `xsknet/headers`'
  t.deepEqual(namedFiles(line), ['crates/port/src/port.rs', 'port.rs', 'docs/'])
})

test('a name has to be that of a file', (t) => {
  t.true(isThere('README.md', 'crates/port/src/port.rs'))
  t.false(isThere('README.md', 'crates/port/src/room.rs'))
  t.true(isThere('README.md', 'ring/mod.rs'))
  t.false(isThere('README.md', 'port/ring/mod.rs'))
  t.true(isThere('README.md', 'ledger.rs', ['crates/port', 'crates/xsk']))
  t.false(isThere('README.md', 'ledger.rs', ['crates/port']))
})

test('a name without a path is looked for beside the paths of its paragraph or row', (t) => {
  t.deepEqual(blocks('a\nb\n\n- c\n  d\n- e\n\n| f |\n| g |\n| h |'), [
    ...['a\nb', '- c\n  d', '- e'],
    ...['| f |\n| g |', '| f |\n| h |'],
  ])
})

test('a heading has the anchor that GitHub gives it', (t) => {
  t.deepEqual(anchors('# A `b` c: d?\n\n## A-b_c\n\n## A-b_c\n'), new Set(['a-b-c-d', 'a-b_c', 'a-b_c-1']))
})

test('a link without its page or heading is found', (t) => {
  t.true(leadsSomewhere('docs/daemon.md', 'protocol.md#the-socket'))
  t.false(leadsSomewhere('docs/daemon.md', 'protocol.md#the-sockets'))
  t.false(leadsSomewhere('docs/daemon.md', 'ARCHITECTURE.md'))
})

/** A page without its blocks of code, which are tested by running or compiling them. */
function prose(text: string): string {
  return text.replace(/^ *```.*?^ *```$/gms, '')
}

/** What stands in backticks and names a file or a folder, by a slash or by its ending. */
function namedFiles(text: string): string[] {
  const quoted = [...text.matchAll(/(?<!`)`([^`\n]+)`(?!`)/g)].map(([, name]) => name as string)
  return quoted.filter(
    (name) => (name.includes('/') || EXTENSIONS.test(name)) && !ELSEWHERE.some(([, kind]) => kind.test(name)),
  )
}

/** Paragraphs, items of lists, and rows of tables with the head of their table. */
function blocks(text: string): string[] {
  return text.split(/\n{2,}/).flatMap((block) => {
    const [head = '', ...rows] = block.split('\n')
    return head.startsWith('|') ? rows.map((row) => `${head}\n${row}`) : block.split(/\n(?=- |\d+\. )/)
  })
}

/**
 * A path counts from the root or from the page's folder. What is only the end of a path has to be in one of the trees
 * that are named beside it, or where there are none, anywhere.
 */
function isThere(page: string, name: string, trees: readonly string[] = []): boolean {
  const path = name.replace(/\/$/, '')
  if (paths.has(path) || paths.has(posix.normalize(posix.join(dirname(page), path)))) return true
  const within = (file: string) => trees.length === 0 || trees.some((tree) => file.startsWith(`${tree}/`))
  return [...paths].some((file) => file.endsWith(`/${path}`) && within(file))
}

function links(text: string): string[] {
  const all = [...text.matchAll(/\]\(([^()\s]+)\)/g)].map(([, link]) => link as string)
  return all.filter((link) => !/^[a-z]+:/.test(link))
}

function leadsSomewhere(page: string, link: string): boolean {
  const [file, anchor] = link.split('#', 2)
  const path = file ? posix.normalize(posix.join(dirname(page), file)).replace(/\/$/, '') : page
  if (!paths.has(path)) return false
  return anchor === undefined || anchors(readFileSync(`${root}${path}`, 'utf8')).has(anchor)
}

/** The anchors of a page's headings: lower case, without punctuation, and with a number where one is taken. */
function anchors(text: string): Set<string> {
  const found = new Set<string>()
  for (const [, heading = ''] of prose(text).matchAll(/^#+ (.+)$/gm)) {
    const plain = heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-')
    let anchor = plain
    for (let n = 1; found.has(anchor); n++) anchor = `${plain}-${n}`
    found.add(anchor)
  }
  return found
}

/** The folders that a file is in. */
function above(file: string): string[] {
  const folders: string[] = []
  for (let folder = dirname(file); folder !== '.'; folder = dirname(folder)) folders.push(folder)
  return folders
}
