import { createHash } from 'node:crypto'
import { closeSync, constants, fchmodSync, openSync, readFileSync, writeSync } from 'node:fs'
import { isAbsolute } from 'node:path'
import { getAsset } from 'node:sea'
import { XsknetError } from 'xsknet'

/** In memory where that is possible; a folder that other users may write to comes last. */
const FOLDERS = ['/dev/shm', '/run', '/tmp', '/var/tmp', process.env.TMPDIR ?? '']

/** `O_TMPFILE`, which Node does not name. */
const NAMELESS = 0o20000000 | constants.O_DIRECTORY

/**
 * Loads a binding that travels inside this executable. The loader of the C library wants a file, so it gets one without
 * a name: no other process can create, replace or find it, and it goes with this process, however that ends.
 *
 * @param name The asset.
 * @param digest Its SHA-256 in hex, from the time of the build.
 * @throws {XsknetError} `ERR_XSKNET_UNSUPPORTED_PLATFORM`, with every folder that was tried, and why not.
 */
export function loadAsset(name: string, digest: string): unknown {
  const tried: { folder: string; why: string }[] = []
  for (const folder of FOLDERS.filter(isAbsolute)) {
    try {
      return load(extracted(name, digest, folder))
    } catch (error) {
      tried.push({ folder, why: (error as Error).message })
    }
  }
  const reasons = tried.map(({ folder, why }) => `${folder}: ${why}`).join('; ')
  throw new XsknetError(
    'ERR_XSKNET_UNSUPPORTED_PLATFORM',
    `the binding inside this executable does not load (${reasons})`,
    {
      hint: 'It needs /proc, glibc 2.34, and a folder of those that is mounted without noexec: name one in $TMPDIR.',
      details: { problem: 'refused', platform: process.platform, arch: process.arch, tried },
    },
  )
}

/** A descriptor to read the asset from, to which nothing can be written any more. */
function extracted(name: string, digest: string, folder: string): number {
  const writing = openSync(folder, NAMELESS | constants.O_EXCL | constants.O_RDWR, 0o500)
  let reading: number
  try {
    const bytes = new Uint8Array(getAsset(name))
    for (let at = 0; at < bytes.length; ) at += writeSync(writing, bytes, at)
    fchmodSync(writing, 0o500) // whatever the umask
    reading = openSync(pathOf(writing), 'r')
  } finally {
    closeSync(writing)
  }
  // What lies there counts, not what was written.
  const found = createHash('sha256')
    .update(readFileSync(pathOf(reading)))
    .digest('hex')
  if (found === digest) return reading
  closeSync(reading)
  throw new Error(`what was written does not read back as it is: SHA-256 ${found} instead of ${digest}`)
}

/**
 * The descriptor stays open: the C library takes a path that it knows for the file that it knows, and numbers come
 * again.
 */
function load(reading: number): unknown {
  const module = { exports: {} }
  try {
    process.dlopen(module, pathOf(reading))
  } catch (error) {
    closeSync(reading)
    throw error
  }
  return module.exports
}

const pathOf = (descriptor: number) => `/proc/self/fd/${descriptor}`
