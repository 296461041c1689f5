"""psycopg2: literals, server-side cursors, COPY both ways, executemany, waiting asynchronously, notices, error fields."""

import datetime as dt
import io
import select
from decimal import Decimal

import psycopg2
import psycopg2.errors
import psycopg2.extensions
import psycopg2.extras

from tap import Client, equal, raises

client = Client("psycopg2", "psycopg2-binary")
check = client.check


def connect(autocommit=True):
    connection = psycopg2.connect("")
    connection.autocommit = autocommit
    return connection


def query(connection, text, values=None):
    with connection.cursor() as cursor:
        cursor.execute(text, values)
        return cursor.fetchall()


def run(connection, text, values=None):
    with connection.cursor() as cursor:
        cursor.execute(text, values)
        return cursor.rowcount


VALUES = [
    ("boolean", True),
    ("integer", -7),
    ("bigint", 2**62),
    ("double precision", 0.1),
    ("numeric(20, 4)", Decimal("12345678901234.5600")),
    ("text", "grüße \"'\\ 東京"),
    ("date", dt.date(1969, 7, 20)),
    ("time", dt.time(23, 59, 59, 999999)),
    ("timestamp", dt.datetime(2026, 1, 1, 12, 0, 0, 5)),
    ("timestamptz", dt.datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=dt.timezone.utc)),
    ("interval", dt.timedelta(days=3, seconds=4, microseconds=5)),
]


@check("login and server version")
def _():
    connection = connect()
    assert connection.server_version >= 150000
    equal(query(connection, "SELECT 1"), [(1,)])
    equal(connection.encoding, "UTF8")
    connection.close()


@check("parameters as literals, results by type")
def _():
    connection = connect()
    for name, value in VALUES:
        equal(query(connection, f"SELECT %s::{name}, %s::{name}", (value, None)), [(value, None)])
    equal(bytes(query(connection, "SELECT %s::bytea", (psycopg2.Binary(b"\x00\xff'\\"),))[0][0]), b"\x00\xff'\\")
    connection.close()


@check("lists as arrays")
def _():
    connection = connect()
    equal(query(connection, "SELECT %s", (["a", "b"],)), [(["a", "b"],)])
    found = query(connection, "SELECT x FROM (VALUES (1), (2), (3)) AS v(x) WHERE x = ANY(%s) ORDER BY x", ([1, 3],))
    equal(found, [(1,), (3,)])
    connection.close()


@check("transactions: commit, rollback, isolation levels")
def _():
    connection = connect(autocommit=False)
    run(connection, "CREATE TABLE p2_tx (id int PRIMARY KEY)")
    connection.commit()
    run(connection, "INSERT INTO p2_tx VALUES (1)")
    connection.rollback()
    run(connection, "INSERT INTO p2_tx VALUES (2)")
    connection.commit()
    connection.set_session(isolation_level="SERIALIZABLE", readonly=True)
    equal(query(connection, "SELECT id FROM p2_tx"), [(2,)])
    error = raises(psycopg2.errors.ReadOnlySqlTransaction, run, connection, "DELETE FROM p2_tx")
    equal(error.pgcode, "25006")
    connection.rollback()
    connection.set_session(isolation_level="DEFAULT", readonly="DEFAULT", autocommit=True)
    run(connection, "DROP TABLE p2_tx")
    connection.close()


@check("server-side cursors")
def _():
    connection = connect(autocommit=False)
    with connection.cursor("p2_cursor") as cursor:
        cursor.itersize = 100
        cursor.execute("SELECT g FROM generate_series(1, 1000) AS s(g) ORDER BY g")
        equal(cursor.fetchone(), (1,))
        equal(cursor.fetchmany(2), [(2,), (3,)])
        equal(sum(row[0] for row in cursor), sum(range(4, 1001)))
    connection.commit()
    with connection.cursor("p2_scroll", scrollable=True) as cursor:
        cursor.execute("SELECT g FROM generate_series(1, 10) AS s(g) ORDER BY g")
        equal(cursor.fetchmany(4), [(1,), (2,), (3,), (4,)])
        cursor.scroll(-2)
        equal(cursor.fetchone(), (3,))
    connection.commit()
    with connection.cursor("p2_held", withhold=True) as cursor:
        cursor.execute("SELECT g FROM generate_series(1, 10) AS s(g) ORDER BY g")
        connection.commit()
        equal(cursor.fetchmany(2), [(1,), (2,)])
    connection.close()


@check("executemany, execute_batch, execute_values")
def _():
    connection = connect()
    run(connection, "CREATE TABLE p2_many (id int PRIMARY KEY, v text)")
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO p2_many VALUES (%s, %s)", [(n, f"v{n}") for n in range(10)])
        psycopg2.extras.execute_batch(
            cursor, "INSERT INTO p2_many VALUES (%s, %s)", [(n, f"v{n}") for n in range(10, 20)], page_size=4
        )
        returned = psycopg2.extras.execute_values(
            cursor,
            "INSERT INTO p2_many VALUES %s RETURNING id",
            [(n, None) for n in range(20, 30)],
            page_size=5,
            fetch=True,
        )
        equal(returned, [(n,) for n in range(20, 30)])
    equal(query(connection, "SELECT count(*), count(v), sum(id) FROM p2_many"), [(30, 20, 435)])
    run(connection, "DROP TABLE p2_many")
    connection.close()


@check("COPY both ways")
def _():
    connection = connect()
    run(connection, "CREATE TABLE p2_copy (id int PRIMARY KEY, v text)")
    with connection.cursor() as cursor:
        cursor.copy_from(io.StringIO("1\ta\\tb\n2\t\\N\n"), "p2_copy", columns=("id", "v"))
        equal(cursor.rowcount, 2)
        cursor.copy_expert("COPY p2_copy FROM STDIN WITH (FORMAT CSV)", io.StringIO('3,"x,y"\n'))
        equal(query(connection, "SELECT * FROM p2_copy ORDER BY id"), [(1, "a\tb"), (2, None), (3, "x,y")])
        out = io.StringIO()
        cursor.copy_to(out, "p2_copy")
        equal(sorted(out.getvalue().splitlines()), ["1\ta\\tb", "2\t\\N", "3\tx,y"])
        out = io.StringIO()
        cursor.copy_expert("COPY (SELECT v FROM p2_copy ORDER BY id) TO STDOUT WITH CSV", out)
        equal(out.getvalue(), 'a\tb\n""\n"x,y"\n'.replace('""', ""))
    run(connection, "DROP TABLE p2_copy")
    connection.close()


def wait(connection):
    """As psycopg2's documentation says: by select, without a busy loop."""
    while True:
        state = connection.poll()
        if state == psycopg2.extensions.POLL_OK:
            return
        reading = [connection.fileno()] if state == psycopg2.extensions.POLL_READ else []
        writing = [connection.fileno()] if state == psycopg2.extensions.POLL_WRITE else []
        ready = select.select(reading, writing, [], 60)
        assert ready[0] or ready[1], "nothing came within a minute"


@check("an asynchronous connection")
def _():
    connection = psycopg2.connect("", async_=1)
    wait(connection)
    cursor = connection.cursor()
    cursor.execute("SELECT g FROM generate_series(1, 3) AS s(g) ORDER BY g")
    wait(connection)
    equal(cursor.fetchall(), [(1,), (2,), (3,)])
    connection.close()


@check("cancel")
def _():
    connection = psycopg2.connect("", async_=1)
    wait(connection)
    cursor = connection.cursor()
    cursor.execute("SELECT pg_sleep(60)")
    # psycopg2 sends the query while it polls; the cancel may come before it and then has no target: sent until the query
    # has ended, which its first message, the description of its columns, does not say.
    while connection.poll() == psycopg2.extensions.POLL_WRITE:
        pass

    def cancelled():
        while True:
            connection.cancel()
            readable = select.select([connection.fileno()], [], [], 0.05)[0]
            if readable and connection.poll() == psycopg2.extensions.POLL_OK:
                return

    raises(psycopg2.errors.QueryCanceled, cancelled)
    cursor.execute("SELECT 1")
    wait(connection)
    equal(cursor.fetchall(), [(1,)])
    connection.close()


@check("notices")
def _():
    connection = connect()
    run(connection, "DROP TABLE IF EXISTS p2_nowhere")
    equal(connection.notices, ['NOTICE:  table "p2_nowhere" does not exist, skipping\n'])
    connection.close()


@check("error fields")
def _():
    connection = connect()
    run(connection, "CREATE TABLE p2_err (id int PRIMARY KEY)")
    run(connection, "INSERT INTO p2_err VALUES (1)")
    error = raises(psycopg2.errors.UniqueViolation, run, connection, "INSERT INTO p2_err VALUES (1)")
    equal((error.pgcode, error.diag.table_name, error.diag.constraint_name), ("23505", "p2_err", "p2_err_pkey"))
    equal(error.diag.message_detail, "Key (id)=(1) already exists.")
    error = raises(psycopg2.errors.UndefinedTable, run, connection, "SELECT * FROM p2_er")
    equal(error.diag.statement_position, "15")
    run(connection, "DROP TABLE p2_err")
    connection.close()


@check("rows as dictionaries and named tuples")
def _():
    connection = connect()
    with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute("SELECT 1 AS a, 'x' AS b")
        equal(dict(cursor.fetchone()), {"a": 1, "b": "x"})
    with connection.cursor(cursor_factory=psycopg2.extras.NamedTupleCursor) as cursor:
        cursor.execute("SELECT 1 AS a, 'x' AS b")
        equal(cursor.fetchone().b, "x")
    connection.close()


client.run()
