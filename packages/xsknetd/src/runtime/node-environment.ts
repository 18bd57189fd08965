/** Variables that Node, its libuv or its OpenSSL read: files to load and write, and settings. */
const NODE_VARIABLES = /^(NODE_|OPENSSL_|SSL_CERT_|SSLKEYLOGFILE$|UV_)/
/** Variables that many programs set and that Node itself does not read. */
const HARMLESS = new Set(['NODE_ENV'])

/** The names of the variables in an environment that configure Node. */
export function nodeVariables(environment: NodeJS.ProcessEnv): string[] {
  return Object.keys(environment).filter((name) => NODE_VARIABLES.test(name) && !HARMLESS.has(name))
}
