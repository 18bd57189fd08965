// npm run endurance, fuzz, attack, claims: builds, then runs the programs of a folder one after the other, each with
// all that follows `--`. `npm run fuzz -- NAME …` runs one of them; where there is one program only, names are its own.
import { existsSync, readdirSync } from 'node:fs'
import { basename } from 'node:path'
import { build } from './build.mjs'
import { inTypeScript, main, root, run, Stop } from './lib/run.mjs'
import { setup } from './setup.mjs'

await main(async () => {
  const [folder, ...words] = process.argv.slice(2)
  const files = existsSync(`${root}${folder}`) ? readdirSync(`${root}${folder}`).sort() : []
  const programs = files.filter((file) => file.endsWith('.ts')).map((file) => basename(file, '.ts'))
  const chosen = programs.includes(words[0]) ? [words.shift()] : programs
  if (chosen.length === 0) throw new Stop(`there is no program in ${folder}/`)
  if (programs.length > 1 && words[0] && !words[0].startsWith('-'))
    throw new Stop(`${folder}/ has ${programs.join(', ')}, not ${words[0]}`)

  await setup()
  await build()
  const failed = []
  for (const program of chosen) {
    if ((await run(process.execPath, inTypeScript(`${folder}/${program}.ts`, ...words))) !== 0) failed.push(program)
  }
  if (failed.length > 0) throw new Stop(`failed: ${failed.join(', ')}`)
})
