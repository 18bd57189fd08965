export { XsknetError, type XsknetErrorCode, type XsknetErrorOptions } from './errors.js'
export { type Versions, versions } from './versions.js'
