'use strict'

// For the build: whether a function has packages, in one word, so that what follows depends on nothing else of it.

const fs = require('node:fs')

const [from, to] = process.argv.slice(2)
let found = {}
try {
  found = fs.existsSync(from) ? JSON.parse(fs.readFileSync(from, 'utf8')) : {}
} catch (error) {
  console.error(`package.json is no JSON: ${error.message}`)
  process.exit(1)
}
const lists = [found.dependencies, found.optionalDependencies]
fs.writeFileSync(to, lists.some((list) => Object.keys(list || {}).length > 0) ? 'yes' : 'no')
