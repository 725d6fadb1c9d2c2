'use strict'

// Run it with: node --test
const test = require('node:test')
const assert = require('node:assert')

const handler = require('./handler')

test('it greets by name', async () => {
  assert.deepStrictEqual(await handler({ body: { name: 'Ada' } }, {}), { hello: 'Ada' })
})
