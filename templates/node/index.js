'use strict'

// Serves one function on port 8080: loads its handler, gives each request to it, and ends when it is told to.
//
// A handler that cannot be loaded is told as `SLUG: why (FILE, line N)` in the last line, with exit code 66, as by
// functions in Python. Variables: port, write_timeout (how long requests may go on after SIGTERM), exec_timeout,
// RAW_BODY, MAX_JSON_SIZE, MAX_RAW_SIZE (body.js).

const fs = require('node:fs')
const http = require('node:http')
const path = require('node:path')
const { pathToFileURL } = require('node:url')

const { BodyError, readBody, readQuery } = require('./body')
const { Context, send } = require('./answer')

const FOLDER = path.join(__dirname, 'function')
const HANDLERS = ['handler.mjs', 'handler.cjs', 'handler.js']
const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/
const MILLISECONDS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

let handler = null
let draining = false

async function main () {
  const port = Number(process.env.port || 8080)
  const server = http.createServer({ requestTimeout: 0, keepAliveTimeout: 120_000 }, answer)
  for (const name of ['SIGTERM', 'SIGINT']) process.once(name, () => drain(server))
  server.once('error', (error) => fail('load-failed', `port ${port} cannot be listened on: ${error.message}`))
  server.listen(port)
  handler = await load()
}

async function load () {
  const file = HANDLERS.map((name) => path.join(FOLDER, name)).find((name) => fs.existsSync(name))
  if (file === undefined) return fail('handler-missing', 'there is no handler.js, handler.mjs or handler.cjs in the folder')
  let module
  try {
    module = await import(pathToFileURL(file))
  } catch (error) {
    return fail(error instanceof SyntaxError ? 'handler-syntax' : 'import-failed', said(error), place(error))
  }
  const own = module.default === undefined ? module : module.default
  const found = typeof own === 'function' ? own : own.handler
  if (typeof found !== 'function') {
    return fail('handler-missing', `${path.basename(file)} exports no function: module.exports = async (event, context) => ...`)
  }
  try {
    await (module.init || own.init || (() => {}))()
  } catch (error) {
    return fail('init-failed', said(error), place(error))
  }
  return found
}

async function answer (request, response) {
  const [target] = request.url.split('?', 1)
  if (target === '/_/health' || target === '/_/ready') return probe(request, response, target === '/_/ready')
  if (draining || handler === null) {
    response.writeHead(503, { 'X-Pilotlight-Busy': '1', Connection: 'close' })
    return response.end('The function is not ready.\n')
  }
  const context = new Context()
  try {
    const headers = request.headers
    const event = { body: await readBody(request, headers), headers, method: request.method, path: target, query: readQuery(request.url) }
    await send(request, response, context, await context.ask(handler, event))
  } catch (error) {
    refuse(response, context, error)
  }
}

function probe (request, response, ready) {
  if (request.method !== 'GET') response.writeHead(405)
  else response.writeHead(draining || (ready && handler === null) ? 503 : 200)
  response.end(response.statusCode === 200 ? 'OK' : '')
}

// What a handler threw, gave to context.fail or to its callback, and what was wrong with the request.
function refuse (response, context, error) {
  const own = error instanceof BodyError
  if (!own) console.error(error)
  if (response.headersSent) return response.destroy()
  const status = own ? error.status : context.statusCode === 200 ? 500 : context.statusCode
  const text = Buffer.from(said(error))
  response.writeHead(status, {
    'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': text.length, ...(own && { Connection: 'close' })
  })
  response.end(text)
}

function drain (server) {
  if (draining) return
  draining = true
  server.close(() => process.exit(0))
  server.closeIdleConnections()
  setTimeout(() => process.exit(0), duration(process.env.write_timeout, 30_000)).unref()
}

function duration (text, otherwise) {
  const found = DURATION.exec(text || '')
  return found === null ? otherwise : Number(found[1]) * MILLISECONDS[found[2] || 's']
}

function said (error) {
  return error && error.toString ? error.toString() : String(error)
}

// Where in the function's own files an error came from: `handler.js, line 3`.
function place (error) {
  const found = /function\/([^\s:()]+):(\d+)/.exec((error && error.stack) || '')
  return found === null ? '' : ` (${found[1]}, line ${found[2]})`
}

function fail (slug, why, where = '') {
  process.stderr.write(`${slug}: ${why.split('\n', 1)[0]}${where}\n`, () => process.exit(66))
  return new Promise(() => {})
}

main()
