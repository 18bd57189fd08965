import type { Credentials } from './credentials.js'
import type { Grant } from './grant.js'

/** Users, by user ID and by the groups that they are in. */
export interface UserSet {
  readonly uids: readonly number[]
  readonly gids: readonly number[]
}

/** What the control socket has to know of the grants. Root is always trusted and is not listed. */
export interface TrustedUsers {
  /** Users with a grant. */
  readonly trusted: UserSet
  /** Users whose requests may carry file descriptors: those with a grant for pinned ports. */
  readonly descriptors: UserSet
}

export function trustedUsers(grants: readonly Grant[]): TrustedUsers {
  return { trusted: holdersOf(grants), descriptors: holdersOf(grants.filter(({ pinned }) => pinned)) }
}

function holdersOf(grants: readonly Grant[]): UserSet {
  const uids = new Set<number>()
  const gids = new Set<number>()
  for (const { holder } of grants) {
    if ('uid' in holder) uids.add(holder.uid)
    else gids.add(holder.gid)
  }
  return { uids: [...uids], gids: [...gids] }
}

/**
 * The key under which a client's log lines are limited: one for each user that a grant names and for root, one for all
 * who have a grant through the same group, and one for all others. A single user can have thousands of user IDs, so
 * users without a grant of their own share a key.
 */
export function logSourceOf({ trusted }: TrustedUsers, { uid, gid, groups }: Credentials): string {
  if (uid === 0 || trusted.uids.includes(uid)) return `user ${uid}`
  const group = [gid, ...groups].find((group) => trusted.gids.includes(group))
  return group === undefined ? 'strangers' : `group ${group}`
}
