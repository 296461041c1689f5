"""pgcli: its start in a terminal, and what it completes after it has read the catalog."""

import os
import re
import sys
from unittest import mock

import pexpect
import psycopg
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from tap import Client, equal

client = Client("pgcli")
check = client.check


def make():
    drop()
    with psycopg.connect(autocommit=True) as connection:
        connection.execute("CREATE TABLE cli_orders (order_id int PRIMARY KEY, customer_name text)")
        connection.execute("CREATE VIEW cli_plain AS SELECT order_id AS plain_column FROM cli_orders")
        connection.execute(
            "CREATE MATERIALIZED VIEW cli_live AS SELECT customer_name, count(*) AS orders_made FROM cli_orders GROUP BY 1"
        )
        connection.execute("CREATE SCHEMA cli_schema")
        connection.execute("CREATE TABLE cli_schema.cli_inner (inner_column int PRIMARY KEY)")
        connection.execute("INSERT INTO cli_orders VALUES (1, 'Ann'), (2, NULL)")


def drop():
    with psycopg.connect(autocommit=True) as connection:
        for what in [
            "TABLE cli_schema.cli_inner", "SCHEMA cli_schema", "MATERIALIZED VIEW cli_live", "VIEW cli_plain",
            "TABLE cli_orders",
        ]:
            connection.execute("DROP {} IF EXISTS {}".format(*what.rsplit(" ", 1)))


def completer():
    """pgcli's own completer, filled by its own refresher from the server."""
    from pgcli.completion_refresher import CompletionRefresher
    from pgcli.pgexecute import PGExecute
    from pgspecial.main import PGSpecial

    variables = [os.environ[name] for name in ("PGDATABASE", "PGUSER", "PGPASSWORD", "PGHOST", "PGPORT")]
    executor = PGExecute(*variables)
    refresher = CompletionRefresher()
    done = []
    settings = {"smart_completion": True, "generate_aliases": False, "keyword_casing": "upper"}
    refresher._bg_refresh(executor, PGSpecial(), [done.append], None, settings)
    equal(len(done), 1)
    return done[0]


def offered(filled, text):
    document = Document(text=text, cursor_position=len(text))
    return {completion.text for completion in filled.get_completions(document, mock.Mock(spec=CompleteEvent))}


@check("completion of relations")
def _():
    make()
    filled = completer()
    names = offered(filled, "SELECT * FROM cli_")
    assert {"cli_orders", "cli_plain", "cli_live"} <= names, names
    assert "cli_inner" in offered(filled, "SELECT * FROM cli_schema.")
    assert "cli_schema" in offered(filled, "SELECT * FROM cli_")
    drop()


@check("completion of columns")
def _():
    make()
    filled = completer()
    assert {"order_id", "customer_name"} <= offered(filled, "SELECT * FROM cli_orders WHERE ")
    assert "plain_column" in offered(filled, "SELECT * FROM cli_plain WHERE pl")
    assert "orders_made" in offered(filled, "SELECT l. FROM cli_live AS l WHERE l.")
    assert "inner_column" in offered(filled, "SELECT * FROM cli_schema.cli_inner WHERE ")
    drop()


@check("completion of functions, types and databases")
def _():
    filled = completer()
    assert "count" in {name.rstrip("()").lower() for name in offered(filled, "SELECT coun")}
    assert os.environ["PGDATABASE"] in offered(filled, "\\c ")
    drop_types = offered(filled, "SELECT 1::big")
    assert "bigint" in {name.lower() for name in drop_types}, drop_types


def screen(text):
    """A terminal's bytes without its control sequences."""
    return re.sub(r"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07|[=>]|\(B)", "", text)


def start():
    environment = dict(os.environ, TERM="xterm", PAGER="cat", XDG_CONFIG_HOME=os.environ["CLIENT_WORK"])
    program = os.path.join(os.path.dirname(sys.executable), "pgcli")
    return pexpect.spawn(
        program, ["--no-password", "--less-chatty"], env=environment, encoding="utf-8", timeout=60, dimensions=(40, 120)
    )


@check("start in a terminal, a query, \\d, \\dt, quit")
def _():
    make()
    child = start()
    prompt = re.escape(os.environ["PGDATABASE"] + ">")
    child.expect(prompt)
    child.send("SELECT order_id, customer_name FROM cli_orders ORDER BY 1;\r")
    child.expect(r"SELECT 2")
    shown = screen(child.before)
    assert re.search(r"\| 1 +\| Ann", shown) and "<null>" in shown, shown
    child.expect(prompt)
    child.send("\\dt cli_*\r")
    child.expect("cli_orders")
    child.expect("SELECT 1")
    child.expect(prompt)
    child.send("\\d cli_orders\r")
    child.expect("customer_name")
    child.expect(prompt)
    child.send("\\q\r")
    child.expect(pexpect.EOF)
    child.close()
    equal((child.exitstatus, child.signalstatus), (0, None))
    drop()


@check("a statement that fails keeps the session")
def _():
    child = start()
    prompt = re.escape(os.environ["PGDATABASE"] + ">")
    child.expect(prompt)
    child.send("SELECT * FROM cli_nowhere;\r")
    child.expect('relation "cli_nowhere" does not exist')
    child.expect(prompt)
    child.send("SELECT 40 + 2 AS answer;\r")
    child.expect(r"42")
    child.expect(prompt)
    child.send("\\q\r")
    child.expect(pexpect.EOF)
    child.close()
    equal(child.exitstatus, 0)


client.run()
