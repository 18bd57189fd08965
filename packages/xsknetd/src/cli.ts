#!/usr/bin/env node
// Nothing is imported here: what follows has to be in place before the rest is read, which takes a while.

// Node opens its inspector at SIGUSR1 unless somebody listens: any user of the machine could then run code as root by it.
process.on('SIGUSR1', () => {})

import('./cli/main.js').then(({ main }) => main())
