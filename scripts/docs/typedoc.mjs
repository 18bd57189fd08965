import { readFileSync } from 'node:fs'
import { Converter, ReflectionKind } from 'typedoc'

const root = new URL('../..', import.meta.url).pathname

/** What a program can import, by its name, and the declarations that say what it is. */
const entries = ['xsknet', 'xsknetd'].flatMap((name) => {
  const { exports } = JSON.parse(readFileSync(`${root}packages/${name}/package.json`, 'utf8'))
  const published = Object.entries(exports).filter(([path, { types }]) => types && path !== './internal')
  return published.map(([path, { types }]) => ({ name: name + path.slice(1), file: `${name}/${types.slice(2)}` }))
})

/** Calls each module by what a program imports, and not by the file that declares it. */
function nameModules(app) {
  const names = new Map(entries.map(({ name, file }) => [file.replace(/(\/index)?\.d\.ts$/, ''), name]))
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const module of project.getReflectionsByKind(ReflectionKind.Module)) {
      module.name = names.get(module.name) ?? module.name
    }
  })
}

/** @type {Partial<import('typedoc').TypeDocOptions>} */
export default {
  name: 'XSKNet',
  entryPoints: entries.map(({ file }) => `${root}packages/${file}`),
  tsconfig: `${root}scripts/docs/tsconfig.json`,
  out: `${root}target/docs`,
  plugin: [nameModules],
  readme: `${root}README.md`,
  projectDocuments: [
    `${root}docs/*.md`,
    ...['ARCHITECTURE', 'CONTRIBUTING', 'CHANGELOG'].map((page) => `${root}${page}.md`),
  ],
  highlightLanguages: ['bash', 'c', 'ini', 'javascript', 'json', 'mermaid', 'rust', 'sh', 'text', 'toml', 'typescript'],
  disableSources: true,
  excludeExternals: true,
  excludePrivate: true,
  // valibot's objects are declared twice, with the comments of both.
  suppressCommentWarningsInDeclarationFiles: true,
  validation: { invalidLink: true, invalidPath: true, notExported: true, rewrittenLink: true },
  treatWarningsAsErrors: true,
}
