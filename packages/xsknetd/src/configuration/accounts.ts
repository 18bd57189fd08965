import { readFileSync } from 'node:fs'

/** User and group IDs by name. Only the local files are read; accounts of directory services need numeric IDs. */
export interface Accounts {
  user(name: string): number | undefined
  group(name: string): number | undefined
}

/** Reads `/etc/passwd` and `/etc/group` when they are first needed. */
export function systemAccounts(folder = '/etc'): Accounts {
  const file = (name: string) => {
    let ids: Map<string, number> | undefined
    return (account: string) => {
      ids ??= idsOf(readFileSync(`${folder}/${name}`, 'utf8'))
      return ids.get(account)
    }
  }
  return { user: file('passwd'), group: file('group') }
}

/** Both files have the name in the first field and the ID in the third. */
function idsOf(text: string): Map<string, number> {
  const ids = new Map<string, number>()
  for (const line of text.split('\n')) {
    const [name, , id] = line.split(':')
    if (name && id && /^\d+$/.test(id) && !ids.has(name)) ids.set(name, Number(id))
  }
  return ids
}
