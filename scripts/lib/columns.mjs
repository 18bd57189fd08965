// Finds lines that are too long. The formatters break code and leave comments, strings and prose alone.
import { existsSync, readFileSync } from 'node:fs'
import { output, root } from './run.mjs'

/** The most columns of a line. */
const MOST = 120
/** A tab goes on to the next multiple of this, as in the kernel's C. */
const TAB = 8

/** What is read: sources, scripts and prose. Lock files and what a build makes are not. */
const READ = /\.(rs|[cm]?[jt]s|c|h|sh|md)$|^scripts\/kernels\/guest\/init$/

/** Lines that may be longer, by their file and their text, and why. */
const EXCEPTIONS = [
  { files: /\.md$/, lines: /^\s*\|.*\|\s*$/, why: 'a row of a table in Markdown cannot be broken' },
  { files: /\.rs$/, lines: /^\s*#\[case\b/, why: 'a row of a table of tests: rustfmt leaves attributes as they are' },
  {
    files: /^scripts\/lib\/host\.mjs$/,
    lines: /^ {2}(\[|\/\/ what )/,
    why: 'a row of a table in columns, or its head',
  },
]

/**
 * The lines of a text that have too many columns. An address of the web counts as nothing: it cannot be broken.
 * @param {string} file its path from the root, which decides what exceptions hold
 * @param {string} text
 * @returns {{ line: number, columns: number }[]}
 */
export function tooLong(file, text) {
  const lines = EXCEPTIONS.filter(({ files }) => files.test(file)).map(({ lines }) => lines)
  return text.split('\n').flatMap((content, at) => {
    const columns = columnsOf(content.replace(/https?:\/\/\S+/g, ''))
    return columns > MOST && !lines.some((exception) => exception.test(content)) ? [{ line: at + 1, columns }] : []
  })
}

/** The same in all files that git knows or would add, each as `file:line: so many columns`. */
export function tooLongLines() {
  const listed = output('git', ['ls-files', '--cached', '--others', '--exclude-standard']) ?? ''
  const files = listed.split('\n').filter((file) => READ.test(file) && existsSync(`${root}${file}`))
  return files.flatMap((file) =>
    tooLong(file, readFileSync(`${root}${file}`, 'utf8')).map(
      ({ line, columns }) => `${file}:${line}: ${columns} columns`,
    ),
  )
}

function columnsOf(line) {
  let columns = 0
  for (const sign of line) columns += sign === '\t' ? TAB - (columns % TAB) : 1
  return columns
}
