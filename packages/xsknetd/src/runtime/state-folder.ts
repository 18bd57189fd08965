import { type Stats, statSync } from 'node:fs'
import { XsknetError } from 'xsknet'

/**
 * Refuses a state folder that other users may write to: they could remove the secret in it, which would change the MACs
 * of all ports. The core checks the file itself, and creates a missing folder for root alone.
 *
 * @throws {XsknetError} `ERR_XSKNET_SECRET_INVALID`.
 */
export function checkStateFolder(): void {
  // As the core does: systemd separates several folders by colons.
  const folder = process.env.STATE_DIRECTORY?.split(':')[0] || '/var/lib/xsknet'
  let found: Stats
  try {
    found = statSync(folder)
  } catch {
    return // it does not exist yet; the core reports any other problem
  }
  const user = process.geteuid?.()
  const mode = (found.mode & 0o7777).toString(8)
  const details = { folder, mode, uid: found.uid }
  const risk = 'could remove the secret that the MACs of ports are derived from'
  if (found.uid !== user) {
    throw new XsknetError(
      'ERR_XSKNET_SECRET_INVALID',
      `the state folder ${folder} is owned by user ${found.uid}, not by user ${user}`,
      {
        hint: `Its owner ${risk}: remove the files of others from it, then run \`chown ${user} ${folder}\`.`,
        details,
      },
    )
  }
  if ((found.mode & 0o022) !== 0) {
    throw new XsknetError(
      'ERR_XSKNET_SECRET_INVALID',
      `the state folder ${folder} is writable by other users (mode ${mode})`,
      { hint: `They ${risk}: run \`chmod go-w ${folder}\`.`, details },
    )
  }
}
