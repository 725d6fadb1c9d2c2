'use strict'

// From what a handler returned, or gave to its context or callback, to an HTTP answer.

const { Readable } = require('node:stream')
const { pipeline } = require('node:stream/promises')

class Context {
  constructor () {
    this.statusCode = 200
    this.headerValues = {}
    this.given = undefined
  }

  // Without an argument what was set before; else this, so that calls can be chained.
  status (code) {
    if (!code) return this.statusCode
    this.statusCode = code
    return this
  }

  headers (values) {
    if (!values) return this.headerValues
    this.headerValues = values
    return this
  }

  succeed (value) { this.settle({ value }) }
  fail (error) { this.settle({ error: error === undefined ? new Error('the function failed') : error }) }

  // What comes first counts: succeed, fail or the callback, or the value that the handler returns in the end.
  async ask (handler, event) {
    const early = new Promise((resolve) => { this.settle = resolve })
    const callback = (error, value) => error ? this.fail(error) : this.succeed(value)
    const returned = Promise.resolve(handler(event, this, callback)).then((value) => ({ value }))
    const found = await Promise.race([early, returned])
    if ('error' in found) throw found.error
    return found.value
  }
}

async function send (request, response, context, value) {
  const headers = lowered(context.headerValues)
  const [type, body] = written(value)
  if (type !== undefined && headers['content-type'] === undefined) headers['content-type'] = type
  if (!(body instanceof Readable)) {
    if (![204, 304].includes(context.statusCode)) headers['content-length'] = Buffer.byteLength(body)
    response.writeHead(context.statusCode, headers)
    response.end(request.method === 'HEAD' ? undefined : body)
    return
  }
  response.writeHead(context.statusCode, headers)
  await pipeline(body, response).catch((error) => {
    if (error.code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error // the client left
  })
}

function written (value) {
  if (value === undefined || value === null) return [undefined, '']
  if (typeof value === 'string') return ['text/plain; charset=utf-8', value]
  if (value instanceof Uint8Array) return ['application/octet-stream', Buffer.from(value)]
  if (value instanceof Readable) return ['application/octet-stream', value]
  if (typeof value[Symbol.asyncIterator] === 'function') return ['application/octet-stream', Readable.from(value)]
  return ['application/json; charset=utf-8', JSON.stringify(value)]
}

function lowered (headers) {
  const framing = ['content-length', 'transfer-encoding', 'connection']
  const pairs = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])
  return Object.fromEntries(pairs.filter(([name, value]) => !framing.includes(name) && value !== undefined))
}

module.exports = { Context, send }
