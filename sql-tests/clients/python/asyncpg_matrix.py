"""Every type of types.json through asyncpg: as the client's own values in binary, as tuples, and as text.

What asyncpg has no value for (the year 44 before Christ, 24:00, months of an interval) goes as the tuple of numbers
that the binary format holds, which asyncpg offers for that, or as text.
"""

import datetime as dt
import json
import struct
import uuid
from decimal import Decimal

import asyncpg

import matrix
from tap import equal

# Types whose binary format asyncpg gives as a tuple, by the names of the catalog.
TUPLES = {1082: "date", 1083: "time", 1114: "timestamp", 1184: "timestamptz", 1186: "interval"}
# As asyncpg has infinity; what it gives for that of timestamptz it does not take back.
INFINITY = {
    (1082, "infinity"): dt.date.max,
    (1082, "-infinity"): dt.date.min,
    (1114, "infinity"): dt.datetime.max,
    (1114, "-infinity"): dt.datetime.min,
}
READERS = {
    16: lambda text: text == "t",
    20: int,
    21: int,
    23: int,
    700: float,
    701: float,
    1700: Decimal,
    17: lambda text: bytes.fromhex(text[2:]),
    1082: dt.date.fromisoformat,
    1083: dt.time.fromisoformat,
    1114: dt.datetime.fromisoformat,
    1184: lambda text: dt.datetime.fromisoformat(text + ":00"),
    2950: uuid.UUID,
}


def native(kind, value):
    """The value as asyncpg has it; None where Python has none."""
    if (kind.oid, value.text) in INFINITY:
        return INFINITY[(kind.oid, value.text)]
    try:
        return READERS.get(kind.oid, str)(value.text)
    except ValueError:
        return None


def same(kind, got, wanted):
    if isinstance(wanted, float):
        code = ">f" if kind.oid == 700 else ">d"
        equal(struct.pack(code, got), struct.pack(code, wanted))
    else:
        assert got == wanted, f"{wanted!r} was expected, not {got!r}"


async def connect(format=None, kind=None):
    connection = await asyncpg.connect()
    await connection.execute("SET TimeZone = 'UTC'")
    if format is not None:
        name = await connection.fetchval("SELECT typname::text FROM pg_type WHERE oid = $1", kind.oid)
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=lambda value: value, decoder=lambda value: value, format=format
        )
    return connection


async def there_and_back(connection, kind, sent, text):
    """By a parameter, alone and within arrays of one dimension and of two, and as NULL."""
    same(kind, await connection.fetchval(f"SELECT $1::{kind.name}", sent), sent)
    equal(await connection.fetchval(f"SELECT $1::{kind.name}", None), None)
    shown = await connection.fetchval(f"SELECT ($1::{kind.name}[])[1]::text", [sent, None])
    # A cast to text writes the whole word of a truth value, knows no zeros of a scale, and leaves the blanks of a
    # char(n) out.
    if kind.oid == 1700:
        equal(Decimal(shown), Decimal(text))
    elif kind.oid == 1042:
        equal(shown, text.rstrip(" "))
    elif text is not None and kind.oid != 16:
        equal(shown, text)
    for array, dimensions in ([sent, None, sent], "[]"), ([[sent, None], [None, sent]], "[][]"):
        got = await connection.fetchval(f"SELECT $1::{kind.name}{dimensions}", array)
        flat = got if dimensions == "[]" else got[0] + got[1]
        equal([element is None for element in flat], [False, True, False] if len(flat) == 3 else [False, True, True, False])
        for element in flat:
            if element is not None:
                same(kind, element, sent)
    equal(await connection.fetchval(f"SELECT $1::{kind.name}[]", []), [])


async def in_a_table(connection, kind, values):
    await connection.execute(f"DROP TABLE IF EXISTS {kind.table}")
    await connection.execute(f"CREATE TABLE {kind.table} ({kind.columns()})")
    # The key is written into the statements: it may be of the type whose values go by another codec.
    for number, value in enumerate(values):
        await connection.execute(f"INSERT INTO {kind.table} VALUES ({number}, $1, $2)", value, [value, None])
    await connection.execute(f"INSERT INTO {kind.table} VALUES ({len(values)}, $1, $2)", None, None)
    rows = await connection.fetch(f"SELECT v, w FROM {kind.table} ORDER BY id")
    equal(len(rows), len(values) + 1)
    for row, value in zip(rows, values):
        same(kind, row["v"], value)
        same(kind, row["w"][0], value)
        equal(row["w"][1:], [None])
    equal(tuple(rows[-1]), (None, None))
    await connection.execute(f"DROP TABLE {kind.table}")


async def whole(kind):
    connection = await connect()
    natives = []
    for value in kind.values:
        wanted = native(kind, value)
        if wanted is None:
            assert kind.oid in TUPLES, value.text
            continue
        got = await connection.fetchval(f"SELECT {value.literal(kind.name)}")
        # Months of an interval are lost in asyncpg's own values: they are no part of them.
        if kind.oid == 1186:
            wanted = got
        same(kind, got, wanted)
        # What is written may have more digits than is told, or fewer: 1.50.
        await there_and_back(connection, kind, wanted, None if kind.oid in (1114, 1184, 1186, 1082) else value.text)
        natives.append(wanted)
    await in_a_table(connection, kind, natives)
    await connection.close()
    # asyncpg itself crashes over arrays of a text that has another codec; its own is that of text already.
    formats = (["tuple"] if kind.oid in TUPLES else []) + ([] if kind.oid in (25, 1042, 1043) else ["text"])
    for format in formats:
        connection = await connect(format, kind)
        values = []
        for value in kind.values:
            got = await connection.fetchval(f"SELECT {value.literal(kind.name)}")
            if format == "text":
                equal(got, value.text)
            await there_and_back(connection, kind, got, value.text)
            values.append(got)
        await in_a_table(connection, kind, values)
        await connection.close()


async def arrays(kind):
    """A type that is an array: values as lists, the same as their text says."""
    connection = await connect()
    for value in kind.values:
        literal = value.literal(kind.name)
        got = await connection.fetchval(f"SELECT {literal}")
        assert isinstance(got, list), got
        back = await connection.fetchrow(f"SELECT $1::{kind.name} AS v, $1::{kind.name}::text AS t", got)
        equal((back["v"], back["t"]), (got, value.text))
        await connection.execute(f"CREATE TABLE {kind.table} ({kind.columns()})")
        await connection.execute(f"INSERT INTO {kind.table} VALUES (1, $1), (2, NULL)", got)
        rows = await connection.fetch(f"SELECT v, v::text AS t FROM {kind.table} ORDER BY id")
        equal([tuple(row) for row in rows], [(got, value.text), (None, None)])
        await connection.execute(f"DROP TABLE {kind.table}")
    equal(await connection.fetchval(f"SELECT $1::{kind.name}", None), None)
    await connection.close()


async def composites():
    """Rows of a table as values."""
    connection = await connect()
    columns = [column for column in matrix.composite_columns() if column[1].oid != 1186]
    types = ", ".join(f"{name} {kind.name}" for name, kind, _ in columns)
    literals = ", ".join(value.literal(kind.name) for _, kind, value in columns)
    await connection.execute("DROP TABLE IF EXISTS matrix_row")
    await connection.execute(f"CREATE TABLE matrix_row ({types}, id int PRIMARY KEY)")
    await connection.execute(f"INSERT INTO matrix_row VALUES ({literals}, 1)")
    await connection.execute("INSERT INTO matrix_row (id) VALUES (2)")
    full, empty = await connection.fetch("SELECT r FROM matrix_row AS r ORDER BY id")
    for (name, kind, value), got in zip(columns, full["r"]):
        same(kind, got, native(kind, value))
    equal(set(tuple(empty["r"])[:-1]), {None})
    await connection.execute("DROP TABLE matrix_row")
    await connection.close()


def declare(client):
    """A check for each type."""
    for kind in matrix.types():
        run = whole if kind.array_oid else arrays
        client.check(f"types: {kind.name}")(lambda kind=kind, run=run: run(kind))
    client.check("types: composite values")(composites)
