"""psycopg 3: parameters in both formats, server-side cursors, pipelines, COPY, executemany, async, notices, errors."""

import asyncio
import datetime as dt
from decimal import Decimal

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

import psycopg_matrix
from tap import Client, bounded, equal, raises

client = Client("psycopg")
check = client.check


def connect(**options):
    options.setdefault("autocommit", True)
    return psycopg.connect(**options)


VALUES = [
    ("boolean", True),
    ("smallint", 7),
    ("integer", -70_000),
    ("bigint", 2**62),
    ("double precision", 0.1),
    ("real", 0.5),
    ("numeric(20, 4)", Decimal("12345678901234.5600")),
    ("text", "grüße \"'\\ 東京"),
    ("bytea", b"\x00\x01\xff"),
    ("date", dt.date(1969, 7, 20)),
    ("time", dt.time(23, 59, 59, 999999)),
    ("timestamp", dt.datetime(2026, 1, 1, 12, 0, 0, 5)),
    ("timestamptz", dt.datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=dt.timezone.utc)),
    ("interval", dt.timedelta(days=3, seconds=4, microseconds=5)),
]


@check("login, server version and encoding")
def _():
    with connect() as connection:
        assert connection.info.server_version >= 150000, connection.info.server_version
        equal(connection.info.encoding, "utf-8")
        equal(connection.info.parameter_status("integer_datetimes"), "on")
        equal(connection.execute("SELECT 1").fetchone(), (1,))


@check("parameters and results as text")
def _():
    with connect() as connection:
        for name, value in VALUES:
            # A cast does not see the client's type, a column's type is what the parameter is compared with.
            row = connection.execute(f"SELECT %t::{name}, %t::{name} IS NULL", (value, None)).fetchone()
            equal(row, (value, True))


@check("parameters and results as binary")
def _():
    with connect() as connection:
        cursor = connection.cursor(binary=True)
        for name, value in VALUES:
            row = cursor.execute(f"SELECT %b::{name}, %b::{name} IS NULL", (value, None)).fetchone()
            equal(row, (value, True))


@check("parameters of the client's choice of format in INSERT and WHERE")
def _():
    with connect() as connection:
        columns = ", ".join(f"c{number} {name}" for number, (name, _) in enumerate(VALUES))
        connection.execute(f"CREATE TABLE p3_types (id int PRIMARY KEY, {columns})")
        marks = ", ".join("%s" for _ in VALUES)
        values = [value for _, value in VALUES]
        connection.execute(f"INSERT INTO p3_types VALUES (%s, {marks})", [1, *values])
        connection.execute(f"INSERT INTO p3_types VALUES (%s, {marks})", [2] + [None] * len(values))
        equal(connection.execute("SELECT * FROM p3_types WHERE id = %s", (1,)).fetchone(), (1, *values))
        for number, value in enumerate(values):
            found = connection.execute(f"SELECT id FROM p3_types WHERE c{number} = %s", (value,)).fetchall()
            equal(found, [(1,)])
        connection.execute("DROP TABLE p3_types")


@check("lists as arrays: = ANY(%s)")
def _():
    with connect() as connection:
        rows = connection.execute("SELECT x FROM (VALUES (1), (2), (3)) AS v(x) WHERE x = ANY(%s) ORDER BY x", ([1, 3],))
        equal(rows.fetchall(), [(1,), (3,)])
        equal(connection.execute("SELECT %s::text[]", (["a", None, "ü,\"{}"],)).fetchone(), (["a", None, "ü,\"{}"],))
        equal(connection.cursor(binary=True).execute("SELECT %b::bigint[]", ([1, None],)).fetchone(), ([1, None],))


@check("prepared statements")
def _():
    with connect() as connection:
        for number in range(12):
            rows = connection.execute("SELECT %s::int + 1", (number,), prepare=True).fetchall()
            equal(rows, [(number + 1,)])
        # By itself after five uses, and dropped again beyond prepared_max.
        connection.prepared_max = 2
        for number in range(30):
            equal(connection.execute(f"SELECT %s::int + {number % 5}", (number,)).fetchone(), (number + number % 5,))


@check("a prepared statement survives a change of its table")
def _():
    with connect() as connection:
        connection.execute("CREATE TABLE p3_again (id int PRIMARY KEY)")
        for _ in range(7):
            equal(connection.execute("SELECT count(*) FROM p3_again WHERE id > %s", (0,)).fetchone(), (0,))
        connection.execute("DROP TABLE p3_again")
        connection.execute("CREATE TABLE p3_again (id bigint PRIMARY KEY)")
        connection.execute("INSERT INTO p3_again VALUES (5)")
        equal(connection.execute("SELECT count(*) FROM p3_again WHERE id > %s", (0,)).fetchone(), (1,))
        connection.execute("DROP TABLE p3_again")


@check("dict rows and column descriptions")
def _():
    with connect(row_factory=dict_row) as connection:
        cursor = connection.execute("SELECT 1 AS a, 'x'::text AS b, 1.50::numeric(6, 2) AS c")
        equal([column.name for column in cursor.description], ["a", "b", "c"])
        equal([column.type_code for column in cursor.description], [23, 25, 1700])
        equal((cursor.description[2].precision, cursor.description[2].scale), (6, 2))
        equal(cursor.fetchone(), {"a": 1, "b": "x", "c": Decimal("1.50")})


@check("executemany")
def _():
    with connect() as connection:
        connection.execute("CREATE TABLE p3_many (id int PRIMARY KEY, v text)")
        cursor = connection.cursor()
        cursor.executemany("INSERT INTO p3_many VALUES (%s, %s)", [(n, f"v{n}") for n in range(50)])
        equal(cursor.rowcount, 50)
        equal(connection.execute("SELECT count(*), sum(id) FROM p3_many").fetchone(), (50, 1225))
        connection.execute("DROP TABLE p3_many")


@check("executemany with RETURNING")
def _():
    with connect() as connection:
        connection.execute("CREATE TABLE p3_returning (id int PRIMARY KEY, v text)")
        cursor = connection.cursor()
        cursor.executemany(
            "INSERT INTO p3_returning VALUES (%s, %s) RETURNING id", [(n, "v") for n in range(3)], returning=True
        )
        returned = [cursor.fetchone()]
        while cursor.nextset():
            returned.append(cursor.fetchone())
        equal(returned, [(0,), (1,), (2,)])
        connection.execute("DROP TABLE p3_returning")


@check("transactions: commit, rollback, nested blocks")
def _():
    with connect(autocommit=False) as connection:
        connection.execute("CREATE TABLE p3_tx (id int PRIMARY KEY)")
        connection.commit()
        connection.execute("INSERT INTO p3_tx VALUES (1)")
        connection.rollback()
        equal(connection.execute("SELECT count(*) FROM p3_tx").fetchone(), (0,))
        connection.commit()
        with connection.transaction():
            connection.execute("INSERT INTO p3_tx VALUES (1)")
            try:
                with connection.transaction():
                    connection.execute("INSERT INTO p3_tx VALUES (2)")
                    raise ZeroDivisionError
            except ZeroDivisionError:
                pass
            with connection.transaction():
                connection.execute("INSERT INTO p3_tx VALUES (3)")
        with connect() as other:
            equal(other.execute("SELECT id FROM p3_tx ORDER BY id").fetchall(), [(1,), (3,)])
            other.execute("DROP TABLE p3_tx")


@check("isolation level, read-only and deferrable")
def _():
    with psycopg.connect() as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        connection.deferrable = True
        equal(connection.execute("SHOW transaction_isolation").fetchone(), ("repeatable read",))
        equal(connection.execute("SHOW transaction_read_only").fetchone(), ("on",))
        error = raises(psycopg.errors.ReadOnlySqlTransaction, connection.execute, "CREATE TABLE p3_ro (id int)")
        equal(error.sqlstate, "25006")


@check("server-side cursors")
def _():
    with psycopg.connect() as connection:
        with connection.cursor(name="p3 cursor") as cursor:
            cursor.execute("SELECT g, 'v' || g::text FROM generate_series(1, %s) AS s(g) ORDER BY g", (1000,))
            equal([column.name for column in cursor.description][0], "g")
            equal(cursor.fetchone(), (1, "v1"))
            equal(cursor.fetchmany(3), [(2, "v2"), (3, "v3"), (4, "v4")])
            cursor.itersize = 100
            equal(sum(row[0] for row in cursor), sum(range(5, 1001)))
            equal(cursor.fetchone(), None)
        with connection.cursor(name="binary", binary=True) as cursor:
            cursor.execute("SELECT g::bigint FROM generate_series(1, 10) AS s(g) ORDER BY g")
            equal(cursor.fetchall(), [(n,) for n in range(1, 11)])


@check("scrollable and held cursors")
def _():
    with psycopg.connect() as connection:
        with connection.cursor(name="scrolls", scrollable=True) as cursor:
            cursor.execute("SELECT g FROM generate_series(1, 10) AS s(g) ORDER BY g")
            equal(cursor.fetchmany(4), [(1,), (2,), (3,), (4,)])
            cursor.scroll(-2)
            equal(cursor.fetchone(), (3,))
            cursor.scroll(9, mode="absolute")
            equal(cursor.fetchone(), (10,))
        with connection.cursor(name="held", withhold=True) as cursor:
            cursor.execute("SELECT g FROM generate_series(1, 10) AS s(g) ORDER BY g")
            connection.commit()
            equal(cursor.fetchmany(2), [(1,), (2,)])


@check("client cursors: parameters merged by the client, several statements")
def _():
    with connect(cursor_factory=psycopg.ClientCursor) as connection:
        cursor = connection.cursor()
        for name, value in VALUES:
            equal(cursor.execute(f"SELECT %s::{name}", (value,)).fetchone(), (value,))
        cursor.execute("SELECT 1; SELECT %s", ("two",))
        equal(cursor.fetchall(), [(1,)])
        equal(cursor.nextset(), True)
        equal(cursor.fetchall(), [("two",)])


@check("stream row by row")
def _():
    with connect() as connection:
        rows = connection.cursor().stream("SELECT g FROM generate_series(1, 5000) AS s(g)")
        equal(sum(row[0] for row in rows), 12_502_500)
        equal(connection.execute("SELECT 'after'").fetchone(), ("after",))


@check("pipeline mode")
def _():
    with connect() as connection:
        connection.execute("DROP TABLE IF EXISTS p3_pipe")
        connection.execute("CREATE TABLE p3_pipe (id int PRIMARY KEY)")
        with connection.pipeline() as pipeline:
            cursors = [connection.execute("INSERT INTO p3_pipe VALUES (%s) RETURNING id", (n,)) for n in range(20)]
            count = connection.execute("SELECT count(*) FROM p3_pipe")
            pipeline.sync()
            equal([cursor.fetchone() for cursor in cursors], [(n,) for n in range(20)])
            equal(count.fetchone(), (20,))
        connection.execute("DROP TABLE p3_pipe")


@check("pipeline mode: an error ends what stands before the next sync, and no more")
def _():
    with connect() as connection:
        connection.execute("DROP TABLE IF EXISTS p3_pipe")
        connection.execute("CREATE TABLE p3_pipe (id int PRIMARY KEY)")
        with connection.pipeline() as pipeline:
            connection.execute("INSERT INTO p3_pipe VALUES (1)")
            broken = connection.execute("SELECT no_such_column FROM p3_pipe")
            skipped = connection.execute("SELECT 1")
            raises(psycopg.errors.UndefinedColumn, pipeline.sync)
            raises(psycopg.Error, broken.fetchone)
            raises(psycopg.Error, skipped.fetchone)
            after = connection.execute("SELECT count(*) FROM p3_pipe")
            # The implicit transaction of the pipeline is undone.
            equal(after.fetchone(), (0,))
        connection.execute("DROP TABLE p3_pipe")


COPY_ROWS = [(1, "a\tb\\n\n", None), (2, None, dt.date(2026, 1, 1)), (3, "", dt.date(1, 1, 1)), (4, "\\N", None)]


def copies(connection, options, types):
    connection.execute("DROP TABLE IF EXISTS p3_copy")
    connection.execute("CREATE TABLE p3_copy (id int PRIMARY KEY, v text, d date)")
    cursor = connection.cursor()
    with cursor.copy(f"COPY p3_copy (id, v, d) FROM STDIN {options}") as copy:
        if types:
            copy.set_types(["int4", "text", "date"])
        for row in COPY_ROWS:
            copy.write_row(row)
    equal(cursor.rowcount, 4)
    equal(connection.execute("SELECT * FROM p3_copy ORDER BY id").fetchall(), COPY_ROWS)
    with connection.cursor().copy(f"COPY (SELECT * FROM p3_copy ORDER BY id) TO STDOUT {options}") as copy:
        copy.set_types(["int4", "text", "date"])
        equal(list(copy.rows()), COPY_ROWS)
    connection.execute("DROP TABLE p3_copy")


@check("COPY both ways as text")
def _():
    with connect() as connection:
        copies(connection, "", False)


@check("COPY both ways as binary")
def _():
    with connect() as connection:
        copies(connection, "(FORMAT BINARY)", True)


@check("COPY both ways as CSV")
def _():
    with connect() as connection:
        connection.execute("CREATE TABLE p3_csv (id int PRIMARY KEY, v text)")
        text = 'id,v\n1,"a,""b"""\n2,\n3,""\n'
        with connection.cursor().copy("COPY p3_csv FROM STDIN (FORMAT CSV, HEADER)") as copy:
            # Cut anywhere: chunks are not lines.
            for start in range(0, len(text), 5):
                copy.write(text[start : start + 5])
        equal(connection.execute("SELECT v FROM p3_csv ORDER BY id").fetchall(), [('a,"b"',), (None,), ("",)])
        with connection.cursor().copy("COPY (SELECT * FROM p3_csv ORDER BY id) TO STDOUT (FORMAT CSV, HEADER)") as copy:
            equal(b"".join(bytes(chunk) for chunk in copy).decode(), text)
        connection.execute("DROP TABLE p3_csv")


@check("COPY that fails leaves nothing and names its line")
def _():
    with connect() as connection:
        connection.execute("CREATE TABLE p3_bad (id int PRIMARY KEY)")

        def copy_in():
            with connection.cursor().copy("COPY p3_bad FROM STDIN") as copy:
                copy.write("1\n2\nthree\n")

        error = raises(psycopg.errors.InvalidTextRepresentation, copy_in)
        assert "line 3" in error.diag.context and "id" in error.diag.context, error.diag.context

        def given_up():
            with connection.cursor().copy("COPY p3_bad FROM STDIN") as copy:
                copy.write("1\n")
                raise ZeroDivisionError

        raises(ZeroDivisionError, given_up)
        equal(connection.execute("SELECT count(*) FROM p3_bad").fetchone(), (0,))
        connection.execute("DROP TABLE p3_bad")


@check("async: connections, queries, pipelines, cancel")
async def _():
    async with await psycopg.AsyncConnection.connect(autocommit=True) as connection:
        cursor = await connection.execute("SELECT %s::int", (5,))
        equal(await cursor.fetchone(), (5,))
        async with connection.pipeline():
            first = await connection.execute("SELECT %s::int", (1,))
            second = await connection.execute("SELECT %s::text", ("x",))
            equal(await first.fetchone(), (1,))
            equal(await second.fetchone(), ("x",))
        # Cancelled by the task's own cancellation: psycopg sends a cancel request and waits for its effect.
        started = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
        async with await psycopg.AsyncConnection.connect(autocommit=True) as other:
            while True:
                active = await other.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND state = 'active'",
                    (connection.info.backend_pid,),
                )
                if (await active.fetchone())[0] == 1:
                    break
        started.cancel()
        try:
            await bounded(started)
            raise AssertionError("the query was not cancelled")
        except asyncio.CancelledError:
            pass
        equal(await (await connection.execute("SELECT 'usable'")).fetchone(), ("usable",))


@check("notices")
def _():
    with connect() as connection:
        seen = []
        # The fields are gone once the handler has returned.
        connection.add_notice_handler(
            lambda notice: seen.append((notice.severity_nonlocalized, notice.sqlstate, notice.message_primary))
        )
        connection.execute("DROP TABLE IF EXISTS p3_no_such_table")
        equal(seen, [("NOTICE", "00000", 'table "p3_no_such_table" does not exist, skipping')])
        connection.execute("SET client_min_messages = warning")
        connection.execute("DROP TABLE IF EXISTS p3_no_such_table")
        equal(len(seen), 1)


@check("error fields")
def _():
    with connect() as connection:
        connection.execute("CREATE TABLE p3_err (id int PRIMARY KEY, v int NOT NULL)")
        connection.execute("INSERT INTO p3_err VALUES (1, 1)")
        error = raises(psycopg.errors.UniqueViolation, connection.execute, "INSERT INTO p3_err VALUES (1, 2)")
        diag = error.diag
        equal((diag.sqlstate, diag.severity_nonlocalized), ("23505", "ERROR"))
        equal(diag.message_primary, 'duplicate key value violates unique constraint "p3_err_pkey"')
        equal(diag.message_detail, "Key (id)=(1) already exists.")
        equal((diag.schema_name, diag.table_name, diag.constraint_name), ("public", "p3_err", "p3_err_pkey"))
        error = raises(psycopg.errors.NotNullViolation, connection.execute, "INSERT INTO p3_err VALUES (2, NULL)")
        equal((error.diag.table_name, error.diag.column_name), ("p3_err", "v"))
        error = raises(psycopg.errors.UndefinedColumn, connection.execute, "SELECT vv FROM p3_err")
        equal((error.diag.statement_position, error.diag.message_primary), ("8", 'column "vv" does not exist'))
        assert '"p3_err.v"' in error.diag.message_hint, error.diag.message_hint
        error = raises(psycopg.errors.SyntaxError, connection.execute, "SELEC 1")
        equal(error.diag.statement_position, "1")
        error = raises(psycopg.errors.DivisionByZero, connection.execute, "SELECT 1 / (v - 1) FROM p3_err")
        equal(error.diag.message_primary, "division by zero")
        connection.execute("DROP TABLE p3_err")


@check("a failed transaction refuses until ROLLBACK")
def _():
    with psycopg.connect() as connection:
        raises(psycopg.errors.UndefinedTable, connection.execute, "SELECT * FROM p3_nowhere")
        raises(psycopg.errors.InFailedSqlTransaction, connection.execute, "SELECT 1")
        connection.rollback()
        equal(connection.execute("SELECT 1").fetchone(), (1,))


@check("names composed with psycopg.sql")
def _():
    with connect() as connection:
        name = 'p3 "odd" Näme'
        create = sql.SQL("CREATE TABLE {} ({} int PRIMARY KEY)").format(sql.Identifier(name), sql.Identifier("Kéy %"))
        connection.execute(create)
        connection.execute(sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier(name), sql.Literal(9)))
        equal(connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name))).fetchone(), (9,))
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))


@check("TypeInfo.fetch of an array type and of a composite")
def _():
    from psycopg.types import TypeInfo
    from psycopg.types.composite import CompositeInfo

    with connect() as connection:
        info = TypeInfo.fetch(connection, "int8")
        equal((info.name, info.oid, info.array_oid), ("int8", 20, 1016))
        connection.execute("CREATE TABLE p3_row (id int PRIMARY KEY, v text)")
        composite = CompositeInfo.fetch(connection, "p3_row")
        equal(list(composite.field_names), ["id", "v"])
        equal(list(composite.field_types), [23, 25])
        connection.execute("DROP TABLE p3_row")


@check("a live view follows its table")
def _():
    with connect() as connection:
        connection.execute("CREATE TABLE p3_orders (id int PRIMARY KEY, customer text, cents bigint)")
        connection.execute(
            "CREATE MATERIALIZED VIEW p3_totals AS "
            "SELECT customer, sum(cents) AS cents FROM p3_orders GROUP BY customer"
        )
        connection.execute("INSERT INTO p3_orders VALUES (1, 'a', 100), (2, 'b', 50), (3, 'a', 1)")
        rows = connection.execute("SELECT customer, cents::bigint FROM p3_totals ORDER BY customer").fetchall()
        equal(rows, [("a", 101), ("b", 50)])
        connection.execute("UPDATE p3_orders SET customer = 'b' WHERE id = %s", (1,))
        rows = connection.execute("SELECT customer, cents::bigint FROM p3_totals ORDER BY customer").fetchall()
        equal(rows, [("a", 1), ("b", 150)])
        connection.execute("DROP MATERIALIZED VIEW p3_totals")
        connection.execute("DROP TABLE p3_orders")


psycopg_matrix.declare(client)
client.run()
