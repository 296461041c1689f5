"""asyncpg: type introspection, prepared statements, records, COPY, cancellation by timeout, pools with reset."""

import asyncio
import datetime as dt
import io
from decimal import Decimal

import asyncpg

import asyncpg_matrix
from tap import Client, equal

client = Client("asyncpg")
check = client.check


async def raises(error_type, awaitable):
    try:
        result = await awaitable
    except error_type as error:
        return error
    raise AssertionError(f"{error_type.__name__} was expected, not {result!r}")


@check("login, settings and version")
async def _():
    connection = await asyncpg.connect(server_settings={"application_name": "asyncpg test"})
    assert connection.get_server_version().major >= 15
    equal(connection.get_settings().application_name, "asyncpg test")
    equal(await connection.fetchval("SHOW application_name"), "asyncpg test")
    await connection.close()


@check("type introspection at the start")
async def _():
    connection = await asyncpg.connect()
    # The types of arrays are looked up in pg_type at their first use.
    row = await connection.fetchrow(
        "SELECT $1::int[] AS i, $2::text[] AS t, $3::numeric(10, 2)[] AS n, $4::timestamptz[] AS ts",
        [1, None, 3],
        ["a", None, 'q"{},'],
        [Decimal("1.50")],
        [dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)],
    )
    equal(row["i"], [1, None, 3])
    equal(row["t"], ["a", None, 'q"{},'])
    equal(row["n"], [Decimal("1.50")])
    equal(row["ts"], [dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)])
    await connection.execute("CREATE TABLE ap_composite (id int PRIMARY KEY, v text)")
    await connection.execute("INSERT INTO ap_composite VALUES (1, 'x'), (2, NULL)")
    rows = await connection.fetch("SELECT c FROM ap_composite AS c ORDER BY id")
    equal([tuple(row["c"]) for row in rows], [(1, "x"), (2, None)])
    await connection.execute("DROP TABLE ap_composite")
    await connection.close()


VALUES = [
    ("boolean", True),
    ("smallint", -32768),
    ("integer", 2**31 - 1),
    ("bigint", -(2**63)),
    ("real", 0.5),
    ("double precision", 0.1),
    ("numeric", Decimal("-123.4560")),
    ("text", "grüße 東京"),
    ("varchar(20)", "grüße"),
    ("bytea", b"\x00\xff"),
    ("date", dt.date(1, 1, 1)),
    ("time", dt.time(0, 0, 0, 1)),
    ("timestamp", dt.datetime(1969, 12, 31, 23, 59, 59, 999999)),
    ("timestamptz", dt.datetime(2026, 1, 1, 12, tzinfo=dt.timezone.utc)),
    ("interval", dt.timedelta(days=40, seconds=4, microseconds=5)),
]


@check("parameters and results in binary")
async def _():
    connection = await asyncpg.connect()
    for name, value in VALUES:
        row = await connection.fetchrow(f"SELECT $1::{name} AS v, $2::{name} AS n", value, None)
        got = row["v"]
        assert got == value and row["n"] is None, f"{name}: {value!r} was expected, not {got!r}"
    await connection.close()


@check("prepared statements")
async def _():
    connection = await asyncpg.connect()
    await connection.execute("CREATE TABLE ap_prepared (id bigint PRIMARY KEY, v text, at timestamptz)")
    insert = await connection.prepare("INSERT INTO ap_prepared VALUES ($1, $2, $3)")
    equal([kind.name for kind in insert.get_parameters()], ["int8", "text", "timestamptz"])
    for number in range(3):
        await insert.fetch(number, f"v{number}", None)
    equal(insert.get_statusmsg(), "INSERT 0 1")
    select = await connection.prepare("SELECT id, v FROM ap_prepared WHERE id >= $1 ORDER BY id")
    equal([(column.name, column.type.name) for column in select.get_attributes()], [("id", "int8"), ("v", "text")])
    equal([tuple(row) for row in await select.fetch(1)], [(1, "v1"), (2, "v2")])
    equal(await select.fetchval(2, column=1), "v2")
    async with connection.transaction():
        equal([row["id"] async for row in select.cursor(0, prefetch=2)], [0, 1, 2])
        cursor = await select.cursor(0)
        equal((await cursor.fetchrow())["id"], 0)
        await cursor.forward(1)
        equal([row["id"] for row in await cursor.fetch(5)], [2])
    await connection.execute("DROP TABLE ap_prepared")
    await connection.close()


@check("the plan of a prepared statement as JSON")
async def _():
    connection = await asyncpg.connect()
    plan = await (await connection.prepare("SELECT $1::int + 1")).explain(1)
    assert isinstance(plan, list) and "Plan" in plan[0], plan
    await connection.close()


@check("executemany")
async def _():
    connection = await asyncpg.connect()
    await connection.execute("CREATE TABLE ap_many (id int PRIMARY KEY, v text)")
    await connection.executemany("INSERT INTO ap_many VALUES ($1, $2)", [(n, f"v{n}") for n in range(100)])
    equal(await connection.fetchval("SELECT sum(id)::bigint FROM ap_many"), 4950)
    # All or nothing.
    await raises(
        asyncpg.UniqueViolationError,
        connection.executemany("INSERT INTO ap_many VALUES ($1, $2)", [(100, "new"), (1, "twice")]),
    )
    equal(await connection.fetchval("SELECT count(*) FROM ap_many"), 100)
    await connection.execute("DROP TABLE ap_many")
    await connection.close()


@check("records")
async def _():
    connection = await asyncpg.connect()
    record = await connection.fetchrow("SELECT 1 AS a, 'x'::text AS b, NULL::int AS c")
    equal((record["a"], record[1], record.get("c"), list(record.keys())), (1, "x", None, ["a", "b", "c"]))
    equal(dict(record), {"a": 1, "b": "x", "c": None})
    equal(await connection.fetchrow("SELECT 1 WHERE false"), None)
    row = await connection.fetchval("SELECT ROW(1, 'x'::text, NULL::int)")
    equal(tuple(row), (1, "x", None))
    await connection.close()


@check("transactions and savepoints")
async def _():
    connection = await asyncpg.connect()
    await connection.execute("CREATE TABLE ap_tx (id int PRIMARY KEY)")
    async with connection.transaction(isolation="repeatable_read"):
        await connection.execute("INSERT INTO ap_tx VALUES (1)")
        try:
            async with connection.transaction():
                await connection.execute("INSERT INTO ap_tx VALUES (2)")
                await connection.execute("INSERT INTO ap_tx VALUES (1)")
        except asyncpg.UniqueViolationError:
            pass
        await connection.execute("INSERT INTO ap_tx VALUES (3)")
    equal([row[0] for row in await connection.fetch("SELECT id FROM ap_tx ORDER BY id")], [1, 3])
    await connection.execute("DROP TABLE ap_tx")
    await connection.close()


@check("COPY both ways")
async def _():
    connection = await asyncpg.connect()
    await connection.execute("CREATE TABLE ap_copy (id int PRIMARY KEY, v text, at timestamp, n numeric(10, 2))")
    rows = [(n, None if n % 7 == 0 else f"v{n}", dt.datetime(2026, 1, 1, 0, 0, n % 60), Decimal(n)) for n in range(500)]
    tag = await connection.copy_records_to_table("ap_copy", records=rows)
    equal(tag, "COPY 500")
    equal(await connection.fetchval("SELECT count(*) - count(v) FROM ap_copy"), 72)
    tag = await connection.copy_to_table(
        "ap_copy", source=io.BytesIO(b'1000,"a,b",,\n'), format="csv", columns=["id", "v", "at", "n"]
    )
    equal(tag, "COPY 1")
    out = io.BytesIO()
    tag = await connection.copy_from_query(
        "SELECT id, v FROM ap_copy WHERE id >= $1 ORDER BY id", 499, output=out, format="csv", header=True
    )
    equal((tag, out.getvalue()), ("COPY 2", b'id,v\n499,v499\n1000,"a,b"\n'))
    out = io.BytesIO()
    equal(await connection.copy_from_table("ap_copy", output=out, format="binary"), "COPY 501")
    assert out.getvalue().startswith(b"PGCOPY\n\xff\r\n\0") and out.getvalue().endswith(b"\xff\xff")
    await connection.execute("DROP TABLE ap_copy")
    await connection.close()


@check("cancellation by timeout")
async def _():
    connection = await asyncpg.connect()
    await raises(asyncio.TimeoutError, connection.fetch("SELECT pg_sleep(60)", timeout=0.2))
    equal(await connection.fetchval("SELECT 'usable'"), "usable")
    await raises(asyncio.TimeoutError, connection.execute("SELECT pg_sleep(60)", timeout=0.2))
    equal(await connection.fetchval("SELECT 'usable'"), "usable")
    await connection.execute("SET statement_timeout = '100ms'")
    await raises(asyncpg.QueryCanceledError, connection.fetch("SELECT pg_sleep(60)"))
    await connection.close()


@check("pools with reset")
async def _():
    async with asyncpg.create_pool(min_size=2, max_size=4, max_inactive_connection_lifetime=60) as pool:

        async def worker(number):
            async with pool.acquire() as connection:
                # What a session sets is gone when the pool has it back.
                equal(await connection.fetchval("SHOW statement_timeout"), "0")
                await connection.execute("SET statement_timeout = '50s'")
                return await connection.fetchval("SELECT $1::int * 2", number)

        equal(await asyncio.gather(*(worker(number) for number in range(40))), [2 * n for n in range(40)])
        equal(await pool.fetchval("SELECT 1"), 1)


@check("terminate and close notices, listeners of the log")
async def _():
    connection = await asyncpg.connect()
    seen = []
    connection.add_log_listener(lambda _, message: seen.append(message))
    await connection.execute("DROP TABLE IF EXISTS ap_nowhere")
    # Listeners are called by the loop, after the reply.
    while not seen:
        await asyncio.sleep(0)
    equal(seen[0].message, 'table "ap_nowhere" does not exist, skipping')
    other = await asyncpg.connect()
    ended = asyncio.get_running_loop().create_future()
    other.add_termination_listener(lambda _: ended.set_result(True))
    equal(await connection.fetchval("SELECT pg_terminate_backend($1)", other.get_server_pid()), True)
    equal(await ended, True)
    await connection.close()


@check("errors with their class and fields")
async def _():
    connection = await asyncpg.connect()
    await connection.execute("CREATE TABLE ap_err (id int PRIMARY KEY)")
    await connection.execute("INSERT INTO ap_err VALUES ($1)", 1)
    error = await raises(asyncpg.UniqueViolationError, connection.execute("INSERT INTO ap_err VALUES ($1)", 1))
    equal((error.table_name, error.constraint_name), ("ap_err", "ap_err_pkey"))
    error = await raises(asyncpg.UndefinedColumnError, connection.fetch("SELECT idd FROM ap_err"))
    equal(error.position, "8")
    await connection.execute("DROP TABLE ap_err")
    await connection.close()


asyncpg_matrix.declare(client)
client.run()
