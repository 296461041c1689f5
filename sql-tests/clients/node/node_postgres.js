// node-postgres: queries, named statements, cursors, query streams, pools, errors, notices, cancel by query_timeout.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import pg from 'pg'
import Cursor from 'pg-cursor'
import QueryStream from 'pg-query-stream'
import * as matrix from './matrix.js'

const checks = []
const check = (feature, run) => {
  if (feature.startsWith(process.env.CLIENT_FEATURES ?? '')) checks.push([feature, run])
}

// A connection for one check, ended with it.
async function connected(run, options = {}) {
  const client = new pg.Client(options)
  await client.connect()
  try {
    await run(client)
  } finally {
    await client.end()
  }
}

const values = async (client, ...query) => (await client.query(...query)).rows

check('queries', () =>
  connected(async (client) => {
    const result = await client.query("SELECT 1 AS a, 'x'::text AS b, NULL::int AS c, true AS d")
    assert.deepEqual(result.rows, [{ a: 1, b: 'x', c: null, d: true }])
    assert.deepEqual(result.fields.map((field) => field.dataTypeID), [23, 25, 23, 16])
    assert.equal(result.command, 'SELECT')
    assert.equal(result.rowCount, 1)
    const both = await client.query('SELECT 1 AS a; SELECT 2 AS b')
    assert.deepEqual(both.map((one) => one.rows[0]), [{ a: 1 }, { b: 2 }])
    const rows = await client.query({ text: 'SELECT 1, 2', rowMode: 'array' })
    assert.deepEqual(rows.rows, [[1, 2]])
  }))

check('queries with parameters of every JavaScript type', () =>
  connected(async (client) => {
    await client.query(
      'CREATE TABLE n_types (id int PRIMARY KEY, b boolean, n numeric(20, 4), d double precision, t text, ' +
        'at timestamptz, day date, raw bytea, list int[], big bigint)',
    )
    const at = new Date('2026-01-01T12:00:00.005Z')
    await client.query('INSERT INTO n_types VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)', [
      1, true, '12345.6789', 0.1, 'grüße \'"\\', at, '1969-07-20', Buffer.from([0, 1, 255]), [1, null, 3],
      9007199254740993n,
    ])
    const insert = 'INSERT INTO n_types VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)'
    await client.query(insert, [2, ...new Array(9).fill(null)])
    const [row, nulls] = await values(client, 'SELECT * FROM n_types ORDER BY id')
    assert.equal(row.b, true)
    assert.equal(row.n, '12345.6789')
    assert.equal(row.d, 0.1)
    assert.equal(row.t, 'grüße \'"\\')
    assert.equal(row.at.getTime(), at.getTime())
    assert.equal(row.day.getFullYear(), 1969)
    assert.deepEqual([...row.raw], [0, 1, 255])
    assert.deepEqual(row.list, [1, null, 3])
    assert.equal(row.big, '9007199254740993')
    assert.deepEqual(Object.values(nulls), [2, ...new Array(9).fill(null)])
    const found = await values(client, 'SELECT id FROM n_types WHERE at = $1 AND raw = $2 AND n > $3', [
      at, Buffer.from([0, 1, 255]), 1,
    ])
    assert.deepEqual(found, [{ id: 1 }])
    await client.query('DROP TABLE n_types')
  }))

check('a numeric shows all digits of its scale', () =>
  connected(async (client) => {
    assert.deepEqual(await values(client, 'SELECT 1.5::numeric(10, 4) AS n, 2::numeric(4, 1) AS m'), [
      { n: '1.5000', m: '2.0' },
    ])
  }))

check('results in binary', () =>
  connected(
    async (client) => {
      const text =
        'SELECT 7::smallint AS s, -5::int AS i, 0.5::real AS f, 0.1::double precision AS d, true AS b, ' +
        "'x'::text AS t, 1234.56::numeric(10, 2) AS n, '2026-01-01 12:00:00.005'::timestamp AS ts, " +
        '9007199254740993::bigint AS big, ARRAY[1, NULL, 3] AS list'
      const [row] = await values(client, text)
      assert.deepEqual({ ...row, ts: null, list: null }, {
        s: 7, i: -5, f: 0.5, d: 0.1, b: true, t: 'x', n: '1234.56', ts: null, big: '9007199254740993', list: null,
      })
      assert.deepEqual(row.list, [1, null, 3])
      assert.ok(row.ts instanceof Date)
    },
    { binary: true },
  ))

check('named statements', () =>
  connected(async (client) => {
    for (let number = 0; number < 10; number += 1) {
      const query = { name: 'n-add', text: 'SELECT $1::int + 1 AS v', values: [number] }
      assert.deepEqual(await values(client, query), [{ v: number + 1 }])
    }
    const listed = await values(client, "SELECT name, statement FROM pg_prepared_statements WHERE name = 'n-add'")
    assert.deepEqual(listed, [{ name: 'n-add', statement: 'SELECT $1::int + 1 AS v' }])
  }))

check('a named statement that fails can be sent again', () =>
  connected(async (client) => {
    const query = (value) => ({ name: 'n-divide', text: 'SELECT 10 / $1::int AS v', values: [value] })
    await assert.rejects(client.query(query(0)), { code: '22012' })
    assert.deepEqual(await values(client, query(5)), [{ v: 2 }])
  }))

check('queries that wait in a pipeline', () =>
  connected(async (client) => {
    const waiting = Array.from({ length: 50 }, (_, n) => client.query('SELECT $1::int AS v', [n]))
    const results = await Promise.all(waiting)
    assert.deepEqual(results.map((result) => result.rows[0].v), Array.from({ length: 50 }, (_, n) => n))
  }))

check('cursors', () =>
  connected(async (client) => {
    const cursor = client.query(new Cursor('SELECT g FROM generate_series(1, $1::int) AS s(g) ORDER BY g', [250]))
    assert.deepEqual((await cursor.read(2)).map((row) => row.g), [1, 2])
    assert.equal((await cursor.read(100)).length, 100)
    assert.equal((await cursor.read(1000)).length, 148)
    assert.equal((await cursor.read(10)).length, 0)
    await cursor.close()
    const given_up = client.query(new Cursor('SELECT g FROM generate_series(1, 100000) AS s(g)'))
    await given_up.read(1)
    await given_up.close()
    assert.deepEqual(await values(client, 'SELECT 1 AS a'), [{ a: 1 }])
  }))

check('query streams', () =>
  connected(async (client) => {
    const text = 'SELECT g FROM generate_series(1, $1::int) AS s(g)'
    const stream = client.query(new QueryStream(text, [5000], { batchSize: 100 }))
    let sum = 0
    for await (const row of stream) sum += row.g
    assert.equal(sum, 12502500)
    const early = client.query(new QueryStream(text, [5000], { batchSize: 10 }))
    for await (const row of early) {
      assert.equal(row.g, 1)
      break
    }
    assert.deepEqual(await values(client, 'SELECT 1 AS a'), [{ a: 1 }])
    const broken = client.query(new QueryStream('SELECT 1 / (g - 3) FROM generate_series(1, 5) AS s(g)'))
    await assert.rejects(broken.toArray(), { code: '22012' })
    assert.deepEqual(await values(client, 'SELECT 1 AS a'), [{ a: 1 }])
  }))

check('transactions', () =>
  connected(async (client) => {
    await client.query('CREATE TABLE n_tx (id int PRIMARY KEY)')
    await client.query('BEGIN')
    await client.query('INSERT INTO n_tx VALUES ($1)', [1])
    await client.query('ROLLBACK')
    await client.query('BEGIN')
    await client.query('INSERT INTO n_tx VALUES ($1)', [2])
    await client.query('COMMIT')
    assert.deepEqual(await values(client, 'SELECT id FROM n_tx'), [{ id: 2 }])
    await client.query('DROP TABLE n_tx')
  }))

check('errors with their fields', () =>
  connected(async (client) => {
    await client.query('CREATE TABLE n_err (id int PRIMARY KEY)')
    await client.query('INSERT INTO n_err VALUES (1)')
    await assert.rejects(client.query('INSERT INTO n_err VALUES ($1)', [1]), {
      code: '23505', severity: 'ERROR', detail: 'Key (id)=(1) already exists.', schema: 'public', table: 'n_err',
      constraint: 'n_err_pkey',
    })
    await assert.rejects(client.query('SELECT idd FROM n_err'), { code: '42703', position: '8' })
    await client.query('DROP TABLE n_err')
  }))

check('notices', () =>
  connected(async (client) => {
    const seen = []
    client.on('notice', (notice) => seen.push([notice.severity, notice.code, notice.message]))
    await client.query('DROP TABLE IF EXISTS n_nowhere')
    assert.deepEqual(seen, [['NOTICE', '00000', 'table "n_nowhere" does not exist, skipping']])
  }))

check('statement_timeout of the connection', () =>
  connected(
    async (client) => {
      await assert.rejects(client.query('SELECT pg_sleep(60)'), { code: '57014' })
      assert.deepEqual(await values(client, 'SELECT 1 AS a'), [{ a: 1 }])
    },
    { statement_timeout: 200, application_name: 'node test' },
  ))

check('pools', async () => {
  const pool = new pg.Pool({ max: 4 })
  const results = await Promise.all(Array.from({ length: 40 }, (_, n) => pool.query('SELECT $1::int AS v', [n])))
  assert.deepEqual(results.map((result) => result.rows[0].v), Array.from({ length: 40 }, (_, n) => n))
  assert.ok(pool.totalCount <= 4)
  await pool.end()
})

check('a connection that the server ends is told so', async () => {
  const ended = new pg.Client()
  await ended.connect()
  const told = new Promise((resolve) => ended.on('error', resolve))
  const [{ pid }] = await values(ended, 'SELECT pg_backend_pid() AS pid')
  await connected(async (client) => {
    assert.deepEqual(await values(client, 'SELECT pg_terminate_backend($1) AS done', [pid]), [{ done: true }])
  })
  assert.equal((await told).code, '57P01')
})

matrix.declare(check)

// Nothing here takes longer than a minute.
const bounded = (promise) => {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('not done within a minute')), 60_000)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

const { version } = createRequire(import.meta.url)('pg/package.json')
console.log(`# node-postgres ${version}`)
let failed = 0
for (const [feature, run] of checks) {
  try {
    await bounded(run())
    console.log(`ok - node-postgres: ${feature}`)
  } catch (error) {
    failed += 1
    console.log(`not ok - node-postgres: ${feature} # ${String(error).replace(/\s+/g, ' ')}`)
    console.error(error)
  }
}
console.log(`1..${checks.length}`)
process.exit(failed === 0 ? 0 : 1)
