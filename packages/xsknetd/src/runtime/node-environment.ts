/** What Node, its libuv and its OpenSSL read from the environment: files that they load and write, and how they work. */
const STEERING = /^(NODE_|OPENSSL_|SSL_CERT_|SSLKEYLOGFILE$|UV_)/
/** What many programs set and Node itself does not read. */
const HARMLESS = new Set(['NODE_ENV'])

/** The variables in an environment by which a shell, or whoever set it, steers Node. */
export function steering(environment: NodeJS.ProcessEnv): string[] {
  return Object.keys(environment).filter((name) => STEERING.test(name) && !HARMLESS.has(name))
}
