import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import test from 'ava'
import { type Arrow, circles, drawn, type Sources } from '../helpers/arrows/circles.js'
import { rustArrows } from '../helpers/arrows/rust.js'
import { typescriptArrows } from '../helpers/arrows/typescript.js'
import { root } from '../helpers/workspace.js'

const folders = (path: string) =>
  readdirSync(`${root}${path}`, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))

/** The files of some folders, each by its path from `base`. What was installed or generated is none of them. */
function sources(base: string, folders: readonly string[], kind: RegExp): Sources {
  const files = folders.flatMap((folder) =>
    readdirSync(`${root}${base}${folder}`, { recursive: true, encoding: 'utf8' }).map((file) =>
      posix.join(folder, file),
    ),
  )
  const chosen = files.filter((file) => kind.test(file) && !file.includes('node_modules/')).sort()
  return new Map(chosen.map((file) => [file, readFileSync(`${root}${base}${file}`, 'utf8')]))
}

/** The trees of a crate: its sources, each of its examples that has a folder, and the folder of its tests. */
function cratesTrees(crate: string): string[] {
  const path = `crates/${crate}`
  const examples = existsSync(`${root}${path}/examples`) ? folders(`${path}/examples`) : []
  const trees = [`${path}/src/`, ...examples.map((example) => `${path}/examples/${example}/`), `${path}/tests/`]
  return trees.filter((tree) => existsSync(`${root}${tree}`))
}

for (const tree of folders('crates').flatMap(cratesTrees)) {
  test(`no circle among the files of ${tree}`, (t) => {
    const files = sources(tree, ['.'], /\.rs$/)
    t.true(files.size > 0)
    t.deepEqual(circles(rustArrows(files)).map(drawn), [])
  })
}

for (const [what, ...within] of [
  ...folders('packages').map((name) => [`packages/${name}/src`, `packages/${name}/src`]),
  [
    'the tests, their helpers, scripts and benchmarks',
    '__test__',
    'attack',
    'bench',
    'claims',
    'endurance',
    'fuzz',
    'scripts',
  ],
] as [string, ...string[]][]) {
  test(`no circle among the files of ${what}`, (t) => {
    const files = sources('', within, /\.m?[jt]s$/)
    t.true(files.size > 0)
    t.deepEqual(circles(typescriptArrows(files)).map(drawn), [])
  })
}

test('the readers find the arrows that are known to be there', (t) => {
  const rust = rustArrows(sources('crates/xsk/src/', ['.'], /\.rs$/)).map(({ from, to }) => `${from} -> ${to}`)
  for (const arrow of ['socket.rs -> endpoint.rs', 'ring/heap.rs -> ring/entry.rs', 'lib.rs -> umem.rs']) {
    t.true(rust.includes(arrow), arrow)
  }
  const typescript = typescriptArrows(sources('packages/xsknet/src/', ['.'], /\.ts$/))
  t.true(typescript.some(({ to }) => to === 'errors.ts'))
})

const tree = (files: Record<string, string>): Sources => new Map(Object.entries(files))
const arrows = (found: readonly Arrow[]) => found.map(({ from, to, line }) => `${from}:${line} -> ${to}`)
const drawnCircles = (found: readonly Arrow[]) => circles(found).map(drawn)

test('a circle of two files is drawn with the line of each arrow', (t) => {
  const files = tree({
    'lib.rs': 'mod a;\nmod b;\n',
    'a.rs': 'use std::io;\n\nuse crate::b::B;\npub struct A(B);\n',
    'b.rs': 'use super::a::A;\npub struct B(Option<Box<A>>);\n',
  })
  t.deepEqual(drawnCircles(rustArrows(files)), ['a.rs -> b.rs -> a.rs (a.rs:3, b.rs:1)'])
})

test('a circle of three files is found once, and one within it too', (t) => {
  const arrow = (from: string, to: string): Arrow => ({ from, to, line: 1 })
  const three = [arrow('b', 'c'), arrow('c', 'a'), arrow('a', 'b'), arrow('a', 'd')]
  t.deepEqual(drawnCircles(three), ['a -> b -> c -> a (a:1, b:1, c:1)'])
  t.deepEqual(drawnCircles([...three, arrow('c', 'b')]), ['b -> c -> b (b:1, c:1)', 'a -> b -> c -> a (a:1, b:1, c:1)'])
  t.deepEqual(drawnCircles([arrow('a', 'b'), arrow('b', 'c'), arrow('a', 'c')]), [])
})

test('nested groups, renamed and glob uses: each leaf is an arrow', (t) => {
  const files = tree({
    'lib.rs': 'mod a;\nmod b;\nmod c;\nmod d;\n',
    'a.rs': 'use crate::{\n    b::{self, inner::{One as Uno, Two}},\n    c::*,\n};\npub(crate) use super::d::D;\n',
    'b/mod.rs': 'mod inner;\n',
    'b/inner.rs': 'pub struct One;\npub struct Two;\n',
    'c.rs': '',
    'd.rs': 'pub struct D;\n',
  })
  t.deepEqual(arrows(rustArrows(files)), [
    'a.rs:2 -> b/mod.rs',
    'a.rs:2 -> b/inner.rs',
    'a.rs:3 -> c.rs',
    'a.rs:5 -> d.rs',
  ])
})

test('a path in code is an arrow, by the name of a child or of a module that was brought into scope, too', (t) => {
  const files = tree({
    'main.rs': 'mod a;\nmod b;\nfn main() {\n    a::run();\n}\n',
    'a.rs': 'use crate::b;\npub fn run() {\n    b::deep::go();\n    crate::c::<u8>();\n}\n',
    'b.rs': 'pub mod deep;\npub fn here() {\n    self::deep::go();\n}\n',
    'b/deep.rs': 'pub fn go() {\n    super::here();\n}\n',
  })
  t.deepEqual(arrows(rustArrows(files)), [
    'main.rs:4 -> a.rs',
    'a.rs:1 -> b.rs',
    'a.rs:3 -> b/deep.rs',
    'a.rs:4 -> main.rs',
    'b.rs:3 -> b/deep.rs',
    'b/deep.rs:2 -> b.rs',
  ])
})

test('a name that a module passes on leads to the file that defines it', (t) => {
  const files = tree({
    'lib.rs': 'mod a;\nmod ring;\npub use ring::{Consumer, Named as Renamed};\npub use a::*;\npub struct Own;\n',
    'a.rs': 'use crate::Consumer;\nuse crate::Renamed;\nuse crate::Own;\nuse crate::Nowhere;\npub struct A;\n',
    'b.rs': 'use crate::A;\n',
    'ring/mod.rs': [
      'mod consumer;',
      'mod named;',
      'pub use consumer::Consumer;',
      'pub(crate) use named::Named;',
      'trait Defines {',
      '    type Named;',
      '}',
    ].join('\n'),
    'ring/consumer.rs': 'use super::Named;\npub struct Consumer;\n',
    'ring/named.rs': 'pub struct Named;\n',
  })
  t.deepEqual(arrows(rustArrows(files)), [
    'lib.rs:3 -> ring/consumer.rs',
    'lib.rs:3 -> ring/named.rs',
    'lib.rs:4 -> a.rs',
    'a.rs:1 -> ring/consumer.rs',
    'a.rs:2 -> ring/named.rs',
    'a.rs:3 -> lib.rs',
    'b.rs:1 -> a.rs',
    'ring/mod.rs:3 -> ring/consumer.rs',
    'ring/mod.rs:4 -> ring/named.rs',
    'ring/consumer.rs:1 -> ring/named.rs',
  ])
})

test('comments, strings, tests and declarations of modules are not arrows', (t) => {
  const files = tree({
    'lib.rs': 'mod a;\n#[cfg(test)]\nmod b;\n',
    'a.rs': [
      '//! See [`crate::b::B`]. use crate::b::B;',
      '/* use crate::b::B; /* crate::b::f() */ crate::b::f() */',
      "const QUOTE: char = '\"';",
      'const TEXT: &str = "use crate::b::B; \\" crate::b::f()";',
      'const RAW: &str = r#"crate::b::f() " use crate::b::B;"#;',
      "fn lives<'a>(text: &'a str) -> &'a str { text }",
      '#[cfg(test)]',
      '#[expect(unused, reason = "it is a test")]',
      'use crate::{b::B, b};',
      'struct Held {',
      '    #[cfg(test)]',
      '    told: Vec<crate::b::B>,',
      '    kept: u32,',
      '}',
      '#[cfg(test)]',
      'mod tests {',
      '    use crate::b::B;',
      '    fn f() { crate::b::f() }',
      '}',
    ].join('\n'),
    'b.rs': 'use crate::a::lives;\npub struct B;\npub fn f() {}\n',
  })
  t.deepEqual(arrows(rustArrows(files)), ['b.rs:1 -> a.rs'])
})

test('what a module inside a file calls its parent is the file itself', (t) => {
  const files = tree({
    'lib.rs': 'mod a;\nmod b;\n',
    'a.rs': 'mod inner {\n    use super::A;\n    use super::super::b::B;\n}\npub struct A;\n',
    'b.rs': 'pub struct B;\n',
  })
  t.deepEqual(arrows(rustArrows(files)), ['a.rs:3 -> b.rs'])
})

test('imports of TypeScript: static, of types, passed on, for their effect, and dynamic', (t) => {
  const files = tree({
    'a.ts': [
      "import { readFileSync } from 'node:fs'",
      "import type { B } from './b.js'",
      "export * from './c.mjs'",
      'import {',
      '  d,',
      "} from './deep/d.js'",
      "import './e.js'",
      "const f = await import('./f.js')",
      "type G = import('./g.js').G",
    ].join('\n'),
    'b.ts': '',
    'c.mjs': '',
    'deep/d.ts': "import { b } from '../b.js'\n",
    'e.ts': '',
    'f.ts': '',
    'g.ts': "import type { A } from './a.js'\n",
  })
  t.deepEqual(arrows(typescriptArrows(files)), [
    'a.ts:2 -> b.ts',
    'a.ts:3 -> c.mjs',
    'a.ts:6 -> deep/d.ts',
    'a.ts:7 -> e.ts',
    'a.ts:8 -> f.ts',
    'a.ts:9 -> g.ts',
    'deep/d.ts:1 -> b.ts',
    'g.ts:1 -> a.ts',
  ])
  t.deepEqual(drawnCircles(typescriptArrows(files)), ['a.ts -> g.ts -> a.ts (a.ts:9, g.ts:1)'])
})

test('comments, strings, templates and regular expressions of TypeScript are not imports', (t) => {
  const files = tree({
    'a.ts': [
      "// import { b } from './b.js'",
      "/* import './b.js' */",
      `const text = "import './b.js'"`,
      `const page = \`import './b.js' \${\`from './b.js' \${'}'}\`} from './b.js'\``,
      `const quotes = /['"\`]/g.test(text) ? 1 / 2 : [/from '.\\/b.js'/]`,
      "const list = Array.from('./b.js')",
      "import { c } from './c.js'",
    ].join('\n'),
    'b.ts': '',
    'c.ts': '',
  })
  t.deepEqual(arrows(typescriptArrows(files)), ['a.ts:7 -> c.ts'])
})
