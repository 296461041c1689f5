"""Every type of types.json through psycopg 3: as the client's own values and as the bytes of either format."""

import struct

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Transformer
from psycopg.pq import Format
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.json import Json, Jsonb

import matrix
from tap import equal


class Raw:
    """Bytes of a parameter of this type, in either format."""

    def __init__(self, oid, data):
        self.oid = oid
        self.data = data


class RawText(Raw):
    """The same, in the text format."""


class RawDumper(Dumper):
    format = Format.BINARY

    def get_key(self, obj, format):
        return (type(obj), obj.oid)

    def upgrade(self, obj, format):
        dumper = type(self)(type(obj))
        dumper.oid = obj.oid
        return dumper

    def dump(self, obj) -> Buffer:
        return obj.data


class RawTextDumper(RawDumper):
    format = Format.TEXT


def loaded(oid, format, data):
    """What psycopg makes of bytes; None where Python has no such value, the year 44 before Christ for example."""
    try:
        return Transformer().get_loader(oid, format).load(data)
    except psycopg.DataError:
        return None


def same(kind, got, wanted):
    if isinstance(wanted, list):
        equal(len(got), len(wanted))
        for one, other in zip(got, wanted):
            same(kind, one, other)
    elif isinstance(wanted, float):
        # The text of a real is the shortest that reads back, its value has more digits.
        code = ">f" if kind.oid == 700 else ">d"
        equal(struct.pack(code, got), struct.pack(code, wanted))
    else:
        equal(got, wanted)


def parameter(kind, native):
    wrap = {114: Json, 3802: Jsonb, 3807: Jsonb}.get(kind.oid)
    if kind.array_oid is None and wrap:
        return [None if element is None else wrap(element) for element in native]
    return wrap(native) if wrap else native


def raw(connection, format, sql, parameters=()):
    """The first row as it came."""
    cursor = connection.cursor(binary=format == Format.BINARY)
    cursor.execute(sql, parameters or None)
    return [cursor.pgresult.get_value(0, column) for column in range(cursor.pgresult.nfields)], cursor


def as_bytes(connection, kind, value):
    """The value's bytes in both formats, which go both ways by the other; gives those of the binary format."""
    expected = value.text.encode()
    literal = value.literal(kind.name)
    (text,), cursor = raw(connection, Format.TEXT, f"SELECT {literal}")
    equal((text, cursor.pgresult.ftype(0)), (expected, kind.oid))
    (binary,), cursor = raw(connection, Format.BINARY, f"SELECT {literal}")
    equal((cursor.pgresult.ftype(0), cursor.pgresult.fformat(0)), (kind.oid, 1))
    for sent in (Raw(kind.oid, binary), RawText(kind.oid, expected)):
        for format, wanted in ((Format.TEXT, expected), (Format.BINARY, binary)):
            got, _ = raw(connection, format, f"SELECT %b::{kind.name}" if type(sent) is Raw else f"SELECT %t::{kind.name}", (sent,))
            equal(got, [wanted])
    return binary


def within_arrays(connection, kind, value, binary):
    """Beside a NULL in an array of one dimension and of two."""
    literal = value.literal(kind.name)
    for written, type_name in (
        (f"ARRAY[{literal}, NULL, {literal}]", f"{kind.name}[]"),
        (f"ARRAY[ARRAY[{literal}, NULL], ARRAY[NULL, {literal}]]", f"{kind.name}[][]"),
    ):
        (array,), cursor = raw(connection, Format.BINARY, f"SELECT {written}::{type_name}")
        equal(cursor.pgresult.ftype(0), kind.array_oid)
        assert array.count(struct.pack(">i", len(binary)) + binary) >= 2, array
        (text,), _ = raw(connection, Format.TEXT, f"SELECT {written}::{type_name}")
        for sent in ("%b", Raw(kind.array_oid, array)), ("%t", RawText(kind.array_oid, text)):
            (got,), _ = raw(connection, Format.BINARY, f"SELECT {sent[0]}::{type_name}", (sent[1],))
            equal(got, array)
            (got,), _ = raw(connection, Format.TEXT, f"SELECT {sent[0]}::{type_name}", (sent[1],))
            equal(got, text)
        elements = loaded(kind.array_oid, Format.TEXT, text)
        if elements is not None:
            same(kind, loaded(kind.array_oid, Format.BINARY, array), elements)


def as_native(connection, kind, value, binary):
    """The value as Python has it: the same from both formats, and as a parameter in both."""
    native = loaded(kind.oid, Format.TEXT, value.text.encode())
    if native is None and value.text != "null":
        assert loaded(kind.oid, Format.BINARY, binary) is None, value.text
        return None
    same(kind, loaded(kind.oid, Format.BINARY, binary), native)
    for mark in "%t", "%b":
        for rows_in_binary in False, True:
            cursor = connection.cursor(binary=rows_in_binary)
            row = cursor.execute(f"SELECT {mark}::{kind.name}", (parameter(kind, native),)).fetchone()
            same(kind, row[0], native)
    return native


def in_a_table(connection, kind, rows):
    """Each value and a NULL by parameters in binary, read again in both formats."""
    connection.execute(f"DROP TABLE IF EXISTS {kind.table}")
    connection.execute(f"CREATE TABLE {kind.table} ({kind.columns()})")
    # An array's text is that of another parameter of the same bytes.
    for number, (value, binary) in enumerate(rows):
        row = [number, Raw(kind.oid, binary)]
        if kind.array_oid:
            literal = value.literal(kind.name)
            (array,), _ = raw(connection, Format.BINARY, f"SELECT ARRAY[{literal}, NULL]::{kind.name}[]")
            row.append(Raw(kind.array_oid, array))
        marks = ", ".join(["%b"] * len(row))
        connection.execute(f"INSERT INTO {kind.table} VALUES ({marks})", row)
        (got, *arrays), _ = raw(connection, Format.BINARY, f"SELECT v{', w' if kind.array_oid else ''} FROM {kind.table} WHERE id = {number}")
        equal([got] + arrays, [sent.data for sent in row[1:]])
        (got, *first), _ = raw(connection, Format.TEXT, f"SELECT v{', w[1]' if kind.array_oid else ''} FROM {kind.table} WHERE id = {number}")
        equal([got] + first, [value.text.encode()] * (1 + len(first)))
    nulls = [len(rows), None] + ([None] if kind.array_oid else [])
    connection.execute(f"INSERT INTO {kind.table} VALUES ({', '.join(['%b'] * len(nulls))})", nulls)
    for binary in False, True:
        cursor = connection.cursor(binary=binary)
        equal(cursor.execute(f"SELECT * FROM {kind.table} WHERE id = {len(rows)}").fetchone(), tuple(nulls))
    connection.execute(f"DROP TABLE {kind.table}")


def whole(kind):
    with psycopg.connect(autocommit=True) as connection:
        connection.adapters.register_dumper(Raw, RawDumper)
        connection.adapters.register_dumper(RawText, RawTextDumper)
        connection.execute("SET TimeZone = 'UTC'")
        rows = []
        for value in kind.values:
            binary = as_bytes(connection, kind, value)
            as_native(connection, kind, value, binary)
            if kind.array_oid:
                within_arrays(connection, kind, value, binary)
            rows.append((value, binary))
        for mark in "%t", "%b":
            for rows_in_binary in False, True:
                cursor = connection.cursor(binary=rows_in_binary)
                equal(cursor.execute(f"SELECT {mark}::{kind.name}", (None,)).fetchone(), (None,))
        in_a_table(connection, kind, rows)


def composites():
    """Rows of a table as values, read in both formats."""
    with psycopg.connect(autocommit=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        columns = matrix.composite_columns()
        types = ", ".join(f"{name} {kind.name}" for name, kind, _ in columns)
        literals = ", ".join(value.literal(kind.name) for _, kind, value in columns)
        connection.execute("DROP TABLE IF EXISTS matrix_row")
        connection.execute(f"CREATE TABLE matrix_row ({types}, id int PRIMARY KEY)")
        connection.execute(f"INSERT INTO matrix_row VALUES ({literals}, 1)")
        connection.execute("INSERT INTO matrix_row (id) VALUES (2)")
        register_composite(CompositeInfo.fetch(connection, "matrix_row"), connection)
        for binary in False, True:
            rows = connection.cursor(binary=binary).execute("SELECT r FROM matrix_row AS r ORDER BY id").fetchall()
            for (name, kind, value), got in zip(columns, rows[0][0]):
                same(kind, got, loaded(kind.oid, Format.TEXT, value.text.encode()))
            equal(rows[0][0][-1], 1)
            equal(set(rows[1][0][:-1]), {None})
        connection.execute("DROP TABLE matrix_row")


def declare(client):
    """A check for each type."""
    for kind in matrix.types():
        client.check(f"types: {kind.name}")(lambda kind=kind: whole(kind))
    client.check("types: composite values")(composites)
