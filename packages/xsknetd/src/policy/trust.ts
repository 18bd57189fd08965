import type { Credentials } from '../platform/transport.js'
import type { Grant } from './policy.js'

/** Users, by their ids and by groups that they are in. */
export interface Party {
  readonly uids: readonly number[]
  readonly gids: readonly number[]
}

/** Whom the policy knows, as far as the control socket has to know it. Root is not named. */
export interface Trust {
  /** Those with a grant. */
  readonly trusted: Party
  /** Those whose requests may bring file descriptors: they may have pinned ports. */
  readonly descriptors: Party
}

export function trustOf(grants: readonly Grant[]): Trust {
  return { trusted: holdersOf(grants), descriptors: holdersOf(grants.filter(({ pinned }) => pinned)) }
}

function holdersOf(grants: readonly Grant[]): Party {
  const uids = new Set<number>()
  const gids = new Set<number>()
  for (const { holder } of grants) {
    if ('uid' in holder) uids.add(holder.uid)
    else gids.add(holder.gid)
  }
  return { uids: [...uids], gids: [...gids] }
}

/**
 * Whose lines of the log are counted together: each user's that a grant names, root's, those of everyone who has a grant by the
 * same group, and those of all others. One user may bring thousands of user ids, so that strangers and members of a group share.
 */
export function speakerOf({ trusted }: Trust, { uid, gid, groups }: Credentials): string {
  if (uid === 0 || trusted.uids.includes(uid)) return `user ${uid}`
  const group = [gid, ...groups].find((group) => trusted.gids.includes(group))
  return group === undefined ? 'strangers' : `group ${group}`
}
