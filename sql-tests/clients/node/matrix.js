// Every type of types.json through node-postgres: values and arrays as text both ways, and parameters as the bytes of
// the binary format, in which it sends Buffers. Results in binary are read as UTF-8 by node-postgres itself, so that
// bytes of 128 and more are lost: none are asked for here.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import pg from 'pg'

// By MATRIX_TEXTS=postgres the program is held against a real one, where the texts differ on purpose.
const theirs = process.env.MATRIX_TEXTS === 'postgres'

const types = () => {
  const entries = JSON.parse(readFileSync(`${process.env.CLIENT_SOURCES}/types.json`, 'utf8')).types
  return entries.map((entry, number) => ({
    ...entry,
    number,
    values: entry.values.map(([written, ours, postgres]) => ({
      literal: `'${written.replaceAll("'", "''")}'::${entry.type}`,
      text: theirs ? (postgres ?? ours) : ours,
    })),
  }))
}

const filled = (bytes, write) => {
  const buffer = Buffer.alloc(bytes)
  write(buffer)
  return buffer
}

const number = (text) => Number(text.replace('infinity', 'Infinity'))

// The binary format of a value that is shown so, by the type's OID.
const encoders = {
  16: (text) => Buffer.from([text === 't' ? 1 : 0]),
  17: (text) => Buffer.from(text.slice(2), 'hex'),
  20: (text) => filled(8, (buffer) => buffer.writeBigInt64BE(BigInt(text))),
  21: (text) => filled(2, (buffer) => buffer.writeInt16BE(number(text))),
  23: (text) => filled(4, (buffer) => buffer.writeInt32BE(number(text))),
  25: (text) => Buffer.from(text),
  114: (text) => Buffer.from(text),
  700: (text) => filled(4, (buffer) => buffer.writeFloatBE(number(text))),
  701: (text) => filled(8, (buffer) => buffer.writeDoubleBE(number(text))),
  1043: (text) => Buffer.from(text),
  2950: (text) => Buffer.from(text.replaceAll('-', ''), 'hex'),
  3802: (text) => Buffer.concat([Buffer.from([1]), Buffer.from(text)]),
}

// Values as they came, without what node-postgres makes of them.
const untouched = { getTypeParser: () => (value) => value }

// The first value of a query and its type.
const raw = async (client, text, values = []) => {
  const result = await client.query({ text, values, rowMode: 'array', types: untouched })
  return [result.rows[0][0], result.fields[0].dataTypeID]
}

const whole = async (client, kind) => {
  await client.query("SET TimeZone = 'UTC'")
  const table = `n_matrix_${kind.number}`
  await client.query(`DROP TABLE IF EXISTS ${table}`)
  await client.query(`CREATE TABLE ${table} (id int PRIMARY KEY, v ${kind.type})`)
  for (const [id, { literal, text }] of kind.values.entries()) {
    assert.deepEqual(await raw(client, `SELECT ${literal}`), [text, kind.oid])
    const encode = encoders[kind.oid]
    const sent = encode ? [text, encode(text)] : [text]
    for (const value of sent) assert.deepEqual((await raw(client, `SELECT $1::${kind.type}`, [value]))[0], text)
    if (kind.array_oid) {
      for (const [written, name] of [
        [`ARRAY[${literal}, NULL, ${literal}]`, `${kind.type}[]`],
        [`ARRAY[ARRAY[${literal}, NULL], ARRAY[NULL, ${literal}]]`, `${kind.type}[][]`],
      ]) {
        const [shown, oid] = await raw(client, `SELECT ${written}::${name}`)
        assert.equal(oid, kind.array_oid)
        assert.equal((await raw(client, `SELECT $1::${name}`, [shown]))[0], shown)
      }
      // A list of JavaScript becomes an array by node-postgres itself.
      assert.equal((await raw(client, `SELECT ($1::${kind.type}[])[2]`, [[null, text]]))[0], text)
    }
    const insert = `INSERT INTO ${table} VALUES ($1, $2) RETURNING v`
    assert.equal((await raw(client, insert, [id, sent.at(-1)]))[0], text)
    assert.deepEqual(await raw(client, `SELECT v FROM ${table} WHERE id = $1`, [id]), [text, kind.oid])
    const same = 'SELECT v IS NOT DISTINCT FROM w FROM (SELECT v, $1::' + `${kind.type} AS w FROM ${table}`
    if (kind.type !== 'json') assert.equal((await raw(client, `${same} WHERE id = ${id}) AS s`, [text]))[0], 't')
  }
  const none = kind.values.length
  await client.query(`INSERT INTO ${table} VALUES ($1, $2)`, [none, null])
  assert.equal((await raw(client, `SELECT v FROM ${table} WHERE id = ${none}`))[0], null)
  assert.equal((await raw(client, `SELECT $1::${kind.type}`, [null]))[0], null)
  await client.query(`DROP TABLE ${table}`)
}

export const declare = (check) => {
  for (const kind of types()) {
    check(`types: ${kind.type}`, async () => {
      const client = new pg.Client()
      await client.connect()
      try {
        await whole(client, kind)
      } finally {
        await client.end()
      }
    })
  }
}
