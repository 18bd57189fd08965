// npm run docs: the sentences of docs/errors.md, and the API reference of both packages in target/docs/, from the
// declarations that are published. A broken link fails.
import { buildPackages } from './build.mjs'
import { writeErrorPage } from './docs/errors.mjs'
import { main, must, root } from './lib/run.mjs'
import { setup } from './setup.mjs'

await main(async () => {
  await setup()
  await buildPackages()
  await writeErrorPage()
  await must(`${root}scripts/docs/node_modules/.bin/typedoc`, ['--options', `${root}scripts/docs/typedoc.mjs`])
})
