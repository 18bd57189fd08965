/** The credentials of a client's process, as the kernel reported them when it connected. */
export interface Credentials {
  readonly pid: number
  /** Effective user ID. */
  readonly uid: number
  /** Effective group ID. */
  readonly gid: number
  /** Supplementary group IDs. */
  readonly groups: readonly number[]
}
