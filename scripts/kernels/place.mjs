import { root } from '../lib/run.mjs'

/** Where all that is downloaded and made lies. Remove it to begin from nothing. */
export const place = `${root}target/kernels/`
