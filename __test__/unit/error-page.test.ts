import { readFileSync } from 'node:fs'
import test from 'ava'
import { errorCodes } from 'xsknet'
import { root } from '../helpers/workspace.js'

const page = readFileSync(`${root}docs/errors.md`, 'utf8')

/** What the page says of each code. */
const sections = page
  .split(/^### /m)
  .slice(1)
  .map((section) => {
    const [heading = '', sentence = ''] = section.split('\n\n')
    return { code: heading.replaceAll('`', ''), sentence, text: section.replace(/^## [\s\S]*/m, '') }
  })

test('docs/errors.md describes each code of errors.ts, and no other', (t) => {
  t.deepEqual(sections.map(({ code }) => code).sort(), Object.keys(errorCodes).sort())
})

test('docs/errors.md begins each section with the sentence of errors.ts; `npm run docs` copies it', (t) => {
  t.deepEqual(Object.fromEntries(sections.map(({ code, sentence }) => [code, sentence])), { ...errorCodes })
})

test('docs/errors.md says of each code when it comes and what to do', (t) => {
  for (const { code, text } of sections) {
    t.regex(text, /^- \*\*When:\*\* \S.{10,}/m, code)
    t.regex(text, /^- \*\*What to do:\*\* \S.{10,}/m, code)
  }
})

test('docs/errors.md mentions no code that errors.ts does not have', (t) => {
  const mentioned = page.match(/\bERR_XSKNET_[A-Z]+(_[A-Z]+)*\b/g) ?? []
  t.deepEqual(
    mentioned.filter((code) => !(code in errorCodes)),
    [],
  )
})
