'use strict'

// What a handler gets of a request: its body by content type, its query.
//
// text/* is a string (so is a body without a type), application/json what it says, a form an object, everything else,
// and no body, an empty object; with RAW_BODY=true each body is a Buffer. MAX_JSON_SIZE bounds JSON and MAX_RAW_SIZE
// everything else ("100kb" each unless set); more is refused with 413.

const zlib = require('node:zlib')
const { promisify } = require('node:util')

const RAW = process.env.RAW_BODY === 'true'
const UNITS = { b: 1, kb: 2 ** 10, mb: 2 ** 20, gb: 2 ** 30 }
const INFLATE = { gzip: promisify(zlib.gunzip), deflate: promisify(zlib.inflate), br: promisify(zlib.brotliDecompress) }
const PARTS_LIMIT = 1000
const DEPTH_LIMIT = 5

class BodyError extends Error {
  constructor (status, sentence) {
    super(sentence)
    this.status = status
  }

  toString () { return `${this.message}\n` }
}

function size (text, name) {
  const found = /^(\d+(?:\.\d+)?) *(b|kb|mb|gb)?$/i.exec(text || '100kb')
  if (found === null) throw new Error(`${name}: must be a size like 100kb, not ${text}`)
  return Number(found[1]) * UNITS[(found[2] || 'b').toLowerCase()]
}

const JSON_LIMIT = size(process.env.MAX_JSON_SIZE, 'MAX_JSON_SIZE')
const OTHER_LIMIT = size(process.env.MAX_RAW_SIZE, 'MAX_RAW_SIZE')

async function readBody (request, headers) {
  const type = (headers['content-type'] || 'text/plain').split(';', 1)[0].trim().toLowerCase()
  if (headers['content-type'] === undefined) headers['content-type'] = 'text/plain'
  if (headers['content-length'] === undefined && headers['transfer-encoding'] === undefined) return {}
  const json = type === 'application/json'
  const data = await inflated(request, headers, json && !RAW ? JSON_LIMIT : OTHER_LIMIT)
  if (RAW) return data
  if (data.length === 0) return type.startsWith('text/') ? '' : {}
  const text = data.toString(/charset=("?)(iso-8859-1|latin1)\1/i.test(headers['content-type']) ? 'latin1' : 'utf8')
  if (json) return parsed(text)
  if (type.startsWith('text/')) return text
  return type === 'application/x-www-form-urlencoded' ? fields(text) : {}
}

async function inflated (request, headers, limit) {
  if (Number(headers['content-length'] || 0) > limit) throw tooLarge(limit)
  const pieces = []
  let bytes = 0
  for await (const piece of request) {
    bytes += piece.length
    if (bytes > limit) throw tooLarge(limit)
    pieces.push(piece)
  }
  const data = Buffer.concat(pieces)
  const coding = (headers['content-encoding'] || 'identity').toLowerCase()
  if (coding === 'identity') return data
  if (INFLATE[coding] === undefined) throw new BodyError(415, `Content-Encoding ${coding} is not known here.`)
  try {
    return await INFLATE[coding](data, { maxOutputLength: limit })
  } catch (error) {
    if (error.code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(limit)
    throw new BodyError(400, `The body is not what its Content-Encoding says: ${error.message}`)
  }
}

function tooLarge (limit) {
  return new BodyError(413, `The body is larger than ${limit} bytes (MAX_JSON_SIZE for JSON, else MAX_RAW_SIZE).`)
}

function parsed (text) {
  let value
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new BodyError(400, `The body is no JSON: ${error.message}`)
  }
  if (typeof value === 'object' && value !== null) return value
  throw new BodyError(400, 'The body is no JSON object or array.')
}

function readQuery (url) {
  const at = url.indexOf('?')
  return at < 0 ? {} : fields(url.slice(at + 1))
}

// a=1&a=2 and a[]=1&a[]=2 are a list, a[b]=1 is an object.
function fields (text) {
  const found = {}
  let count = 0
  for (const [name, value] of new URLSearchParams(text)) {
    if (++count > PARTS_LIMIT) break
    const [first, ...rest] = path(name)
    if (first !== undefined) put(found, first, rest, value)
  }
  return found
}

function path (name) {
  const keys = [...name.matchAll(/\[([^[\]]*)\]/g)].slice(0, DEPTH_LIMIT).map((match) => match[1])
  const first = name.split('[', 1)[0]
  const all = first === '' ? [name] : [first, ...keys]
  return all.some((key) => key in Object.prototype) ? [] : all
}

function put (into, key, rest, value) {
  const there = Object.hasOwn(into, key) ? into[key] : undefined
  if (rest.length === 0) {
    into[key] = there === undefined ? value : [there, value].flat()
  } else if (rest[0] === '') {
    into[key] = [there === undefined ? [] : there, value].flat()
  } else {
    if (typeof there !== 'object' || Array.isArray(there)) into[key] = {}
    put(into[key], rest[0], rest.slice(1), value)
  }
}

module.exports = { BodyError, readBody, readQuery }
