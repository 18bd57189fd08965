#!/usr/bin/env node
// Nothing is imported statically: the handler has to be in place before the rest is loaded, which takes a while.

// Without a handler, Node opens its inspector on SIGUSR1, which any local user could use to run code as root.
process.on('SIGUSR1', () => {})

import('./cli/main.js').then(({ main }) => main())
