import { Converter, ReflectionKind } from 'typedoc'

/** Calls each module by what a program imports, and not by the file that declares it. */
export function load(app) {
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const module of project.getReflectionsByKind(ReflectionKind.Module)) module.name = module.name.replace('/dist', '')
  })
}
