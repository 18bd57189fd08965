// Copies the sentence of each error code from the built package into docs/errors.md. The rest of the page is written by
// hand.
import { readFileSync, writeFileSync } from 'node:fs'
import { isMain, main, root, Stop } from '../lib/run.mjs'

const PAGE = `${root}docs/errors.md`

export async function writeErrorPage() {
  const { errorCodes } = await import('xsknet')
  const page = readFileSync(PAGE, 'utf8')
  const headings = [...page.matchAll(/^### `(ERR_XSKNET_\w+)`$/gm)].map(([, code]) => code)
  const missing = Object.keys(errorCodes).filter((code) => !headings.includes(code))
  if (missing.length > 0) throw new Stop(`docs/errors.md lacks ${missing.join(', ')}: describe them there.`)
  const unknown = headings.filter((code) => !Object.hasOwn(errorCodes, code))
  if (unknown.length > 0)
    throw new Stop(`docs/errors.md describes ${unknown.join(', ')}, which errors.ts does not have.`)

  const written = page.replace(
    /^(### `(ERR_XSKNET_\w+)`\n\n).*\n/gm,
    (_, heading, code) => `${heading}${errorCodes[code]}\n`,
  )
  if (written !== page) writeFileSync(PAGE, written)
  console.log(`docs/errors.md ${written === page ? 'has' : 'now has'} the sentences of errors.ts`)
}

if (isMain(import.meta.url)) await main(writeErrorPage)
