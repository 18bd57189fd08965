// Collects the licences of what is linked into a binary or bundled with a package, from the sources that cargo and npm
// have fetched.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { platform } from './products.mjs'
import { output, root, Stop } from './run.mjs'

/**
 * Licences that a part of what we publish may have, each with words that only its text has. The first ones are taken
 * before the others.
 */
const ALLOWED = {
  MIT: /permission is hereby granted, free of charge, to any person obtaining a copy of this software/i,
  ISC: /permission to use, copy, modify, and(\/or)? distribute this software/i,
  Zlib: /this software is provided 'as-is', without any express or implied warranty/i,
  'BSD-2-Clause': /redistribution and use in source and binary forms/i,
  'BSD-3-Clause': /neither the name of/i,
  'Unicode-3.0': /UNICODE LICENSE V3/i,
  'BSL-1.0': /Boost Software License - Version 1\.0/i,
  'CC0-1.0': /CC0 1\.0 Universal/i,
  'Apache-2.0': /Apache License Version 2\.0/i,
}

/** C libraries that a crate brings along. */
const C_LIBRARIES = {
  'libbpf-sys': { name: 'libbpf', license: 'LGPL-2.1 OR BSD-2-Clause', file: 'libbpf/LICENSE.BSD-2-Clause' },
  'libxdp-sys': { name: 'libxdp', license: 'LGPL-2.1 OR BSD-2-Clause', file: 'LICENSE-BSD-2-Clause' },
}

/**
 * Which licences of an SPDX expression we take.
 * @param {string} expression such as `(MIT OR Apache-2.0) AND Unicode-3.0`; a slash is an OR of old
 * @returns {string[]} those that hold together
 */
export function chosen(expression) {
  const words = expression.replace('/', ' OR ').match(/[()]|[^\s()]+/g) ?? []
  const either = () => {
    const ways = both()
    while (words[0] === 'OR' && words.shift()) ways.push(...both())
    return ways
  }
  const both = () => {
    let ways = one()
    while (words[0] === 'AND' && words.shift()) {
      const others = one()
      ways = ways.flatMap((way) => others.map((other) => [...way, ...other]))
    }
    return ways
  }
  const one = () => {
    const word = words.shift()
    if (word === '(') {
      const ways = either()
      words.shift()
      return ways
    }
    return [[words[0] === 'WITH' ? [word, ...words.splice(0, 2)].join(' ') : word]]
  }
  const rank = (way) => Math.max(...way.map((license) => Object.keys(ALLOWED).indexOf(license)))
  const fit = either().filter((way) => way.every((license) => Object.hasOwn(ALLOWED, license)))
  const [best] = fit.sort((one, other) => rank(one) - rank(other))
  if (!best)
    throw new Stop(`${expression} is not a licence that may be published with ours: see scripts/lib/licenses.mjs`)
  return best
}

/**
 * The text of a file THIRD-PARTY-LICENSES.
 * @param {{ crates?: string[], modules?: string[] }} what
 *   `crates`: ours, whose binaries are in there; `modules`: folders of the npm packages that are in there
 */
export function thirdPartyLicenses({ crates = [], modules = [] }) {
  const parts = [...(crates.length > 0 ? [...linked(crates), standardLibrary()] : []), ...modules.map(fromNpm)]
  const texts = new Map()
  for (const part of parts) {
    for (const text of textsOf(part)) {
      const key = oneLine(text)
      texts.set(key, { text, owners: [...(texts.get(key)?.owners ?? []), `${part.name} ${part.version}`] })
    }
  }
  const list = parts.map(({ name, version, license, taken }) => {
    const choice = taken.join(' AND ')
    return `${name} ${version}: ${license}${choice === license ? '' : `, taken as ${choice}`}`
  })
  const sections = [...texts.values()].map(({ text, owners }) => `${'-'.repeat(80)}\n${owners.join(', ')}\n\n${text}`)
  return `This package contains parts of others:\n\n${list.join('\n')}\n\n${sections.join('\n\n')}\n`
}

/** Every crate that goes into ours, at any depth, macros included, and the C libraries that they bring. */
function linked(crates) {
  const options = ['--locked', '--offline']
  const metadata = cargo(['metadata', ...options, '--format-version', '1', '--filter-platform', platform.triple])
  const known = new Map(JSON.parse(metadata).packages.map((each) => [`${each.name} v${each.version}`, each]))
  const edges = ['--edges', 'normal', '--prefix', 'none', '--target', platform.triple]
  const tree = crates.flatMap((crate) => cargo(['tree', ...options, '--package', crate, ...edges]).split('\n'))
  const used = new Set(tree.map((line) => line.split(' ').slice(0, 2).join(' ')).filter((id) => known.get(id)?.source))
  return [...used].sort().flatMap((id) => {
    const { name, version, license, authors, manifest_path } = known.get(id)
    const folder = dirname(manifest_path)
    const crate = { name, version, license, taken: chosen(license), folder, authors }
    const library = C_LIBRARIES[name]
    if (!library) return [crate]
    const texts = [readFileSync(join(folder, library.file), 'utf8').trim()]
    return [
      crate,
      { ...library, version: version.split('+')[1].replace(/^v/, ''), taken: chosen(library.license), texts },
    ]
  })
}

/**
 * Rust's own library, whose tables of Unicode have a licence of their own: unicode-ident, which is always there, has
 * its text.
 */
function standardLibrary() {
  const version = output('rustc', ['--version'])?.match(/\d+\.\d+\.\d+/)?.[0]
  const authors = ['The Rust Project Developers (see https://thanks.rust-lang.org)']
  return {
    name: 'Rust standard library',
    version,
    license: '(MIT OR Apache-2.0) AND Unicode-3.0',
    taken: ['MIT', 'Unicode-3.0'],
    authors,
  }
}

function fromNpm(folder) {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  return { name, version, license, taken: chosen(license), folder, authors: [] }
}

/** The licence texts that a part carries, of those that we take; for the plainest one the standard text serves. */
function textsOf({ name, version, taken, folder, authors, texts }) {
  if (texts) return texts
  const files = folder
    ? readdirSync(folder).filter((file) => /^(licen[sc]e|copying|copyright|unlicense)/i.test(file))
    : []
  const found = files.sort().map((file) => readFileSync(join(folder, file), 'utf8').trim())
  return taken.flatMap((license) => {
    const fitting = found.filter((text) => ALLOWED[license].test(oneLine(text)))
    if (fitting.length > 0) return fitting.slice(0, 1)
    if (license === 'MIT' && found.length === 0)
      return [standardMit(authors.length > 0 ? authors.join(', ') : `the authors of ${name}`)]
    if (name === 'Rust standard library') return []
    throw new Stop(`${name} ${version} does not carry the text of ${license}`)
  })
}

const oneLine = (text) => text.replace(/\s+/g, ' ')

const standardMit = (holder) =>
  readFileSync(`${root}LICENSE`, 'utf8')
    .replace(/^Copyright .*$/m, `Copyright (c) ${holder}`)
    .trim()

function cargo(args) {
  const text = output('cargo', args)
  if (!text) throw new Stop(`\`cargo ${args.join(' ')}\` failed: has \`npm run build\` been run?`)
  return text
}
