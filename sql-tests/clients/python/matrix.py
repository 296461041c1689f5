"""The matrix of types.json as the programs of Python's clients run it: a check for each type.

MATRIX_TEXTS=postgres expects what a Postgres 15 writes where Millstream writes otherwise on purpose: by that each
program is held against a real one, so that what fails here is the server's doing (`run --types-on-postgres`).
"""

import json
import os
import pathlib


class Value:
    """A value: what is written in SQL, and the text that comes back."""

    def __init__(self, entry):
        self.written = entry[0]
        theirs = os.environ.get("MATRIX_TEXTS") == "postgres" and len(entry) > 2
        self.text = entry[2] if theirs else entry[1]

    def literal(self, type_name):
        quoted = self.written.replace("'", "''")
        return f"'{quoted}'::{type_name}"


class Type:
    """A type with its values."""

    def __init__(self, entry, number):
        self.name = entry["type"]
        self.oid = entry["oid"]
        self.array_oid = entry.get("array_oid")
        self.table = f"matrix_{number}"
        self.values = [Value(value) for value in entry["values"]]

    def columns(self):
        """Of its table: one of the type, and one of its arrays where it is none itself."""
        return "id int PRIMARY KEY, v " + self.name + (f", w {self.name}[]" if self.array_oid else "")


def types():
    path = pathlib.Path(os.environ["CLIENT_SOURCES"]) / "types.json"
    entries = json.loads(path.read_text(encoding="utf-8"))["types"]
    return [Type(entry, number) for number, entry in enumerate(entries)]


def composite_columns():
    """Columns of a table whose rows hold a value of each type that is no array."""
    scalars = [kind for kind in types() if kind.array_oid]
    return [(f"c{number}", kind, kind.values[0]) for number, kind in enumerate(scalars)]
