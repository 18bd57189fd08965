import { type Stats, statSync } from 'node:fs'
import { XsknetError } from 'xsknet'

/**
 * Refuses a state folder that others may write to: they could remove the secret in it, and all ports would get other MACs. The core
 * looks at the file itself, and makes the folder for root alone where there is none.
 *
 * @throws {XsknetError} `ERR_XSKNET_SECRET_INVALID`.
 */
export function checkStateFolder(): void {
  // As the core has it: systemd names several folders with colons between them.
  const folder = process.env.STATE_DIRECTORY?.split(':')[0] || '/var/lib/xsknet'
  let found: Stats
  try {
    found = statSync(folder)
  } catch {
    return // there is none yet; whatever else it is, the core says
  }
  const user = process.geteuid?.()
  const mode = (found.mode & 0o7777).toString(8)
  const details = { folder, mode, uid: found.uid }
  if (found.uid !== user) {
    throw new XsknetError('ERR_XSKNET_SECRET_INVALID', `the state folder ${folder} is user ${found.uid}'s, not user ${user}'s`, {
      hint: `Its owner could take the secret away that ports' MACs are made with: \`chown ${user} ${folder}\`, once nothing of others is in it.`,
      details,
    })
  }
  if ((found.mode & 0o022) !== 0) {
    throw new XsknetError('ERR_XSKNET_SECRET_INVALID', `others may write to the state folder ${folder}: it has mode ${mode}`, {
      hint: `They could take the secret away that ports' MACs are made with: \`chmod go-w ${folder}\`.`,
      details,
    })
  }
}
