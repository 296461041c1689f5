"""dbt: debug, run with views and materialized views, test, docs; a second run that changes nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg

from tap import Client, equal

client = Client("dbt", "dbt-postgres")
check = client.check

WORK = Path(os.environ["CLIENT_WORK"])
PROJECT = WORK / "dbt"
RELATIONS = """
SELECT c.relname, c.relkind::text, c.oid::bigint FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'shop' ORDER BY c.relname
"""


def dbt(*arguments):
    """Runs dbt in the project; its output when it has succeeded."""
    program = Path(sys.executable).parent / "dbt"
    command = [program, *arguments, "--project-dir", PROJECT, "--profiles-dir", PROJECT]
    paths = {"DBT_TARGET_PATH": str(WORK / "target"), "DBT_LOG_PATH": str(WORK / "logs")}
    environment = dict(os.environ, **paths, DBT_SEND_ANONYMOUS_USAGE_STATS="false", NO_COLOR="1", DBT_USE_COLORS="false")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150)
    print(done.stdout, file=sys.stderr)
    if done.returncode != 0:
        lines = done.stdout.splitlines()
        said = [line for number, line in enumerate(lines) if "rror" in "".join(lines[max(number - 3, 0) : number + 1])]
        raise AssertionError(f"dbt {arguments[0]} ended with {done.returncode}: {' '.join(said)[:800]}")
    return done.stdout


def rows(sql):
    with psycopg.connect(autocommit=True) as connection:
        return connection.execute(sql).fetchall()


def run(*statements):
    with psycopg.connect(autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def results():
    """What dbt says of each node of its last command."""
    text = json.loads((WORK / "target" / "run_results.json").read_text())
    return {result["unique_id"].split(".")[2]: result["status"] for result in text["results"]}


# Made before the first check, so that each check stands on its own command of dbt.
shutil.copytree(Path(os.environ["CLIENT_SOURCES"]) / "dbt", PROJECT)
run(
    "CREATE TABLE raw_orders (id int PRIMARY KEY, customer text, cents bigint)",
    "INSERT INTO raw_orders VALUES (1, 'ann', 70), (2, 'ben', 300), (3, 'ann', 40), (4, 'cid', 5), (5, 'cid', -1)",
)


@check("dbt debug")
def _():
    assert "Connection test: [OK connection ok]" in dbt("debug")


@check("dbt run with materializations view and materialized_view")
def _():
    dbt("run")
    equal(results(), {"orders": "success", "totals": "success", "large": "success"})
    kinds = [(name, kind) for name, kind, _ in rows(RELATIONS) if kind in "vm"]
    equal(kinds, [("large", "v"), ("orders", "v"), ("totals", "m")])
    equal(rows("SELECT customer, orders, cents::bigint FROM shop.totals ORDER BY 1"),
          [("ann", 2, 110), ("ben", 1, 300), ("cid", 1, 5)])
    run("INSERT INTO raw_orders VALUES (6, 'ben', 1)")
    equal(rows("SELECT customer, cents::bigint FROM shop.large ORDER BY 1"), [("ann", 110), ("ben", 301)])


@check("dbt test")
def _():
    dbt("test")
    found = results()
    equal(len(found), 8)
    equal(set(found.values()), {"pass"})


@check("dbt test finds what is wrong")
def _():
    run("INSERT INTO raw_orders VALUES (7, 'dora', 1000)")
    try:
        dbt("test", "--select", "large")
        raise ZeroDivisionError("a value that is not accepted was accepted")
    except AssertionError:
        equal(list(results().values()), ["fail"])
    run("DELETE FROM raw_orders WHERE id = 7")


@check("dbt docs generate")
def _():
    dbt("docs", "generate")
    catalog = json.loads((WORK / "target" / "catalog.json").read_text())
    nodes = {name.split(".")[2]: node for name, node in catalog["nodes"].items()}
    equal(sorted(nodes), ["large", "orders", "totals"])
    equal(nodes["totals"]["metadata"]["type"], "MATERIALIZED VIEW")
    equal(nodes["orders"]["metadata"]["type"], "VIEW")
    columns = {name: column["type"] for name, column in nodes["orders"]["columns"].items()}
    equal(columns, {"id": "integer", "customer": "text", "cents": "bigint"})
    equal(nodes["totals"]["metadata"]["comment"], "what each customer's orders cost, always fresh")
    equal(nodes["orders"]["columns"]["id"]["comment"], "the number of the order")


@check("a second dbt run changes nothing")
def _():
    before = rows(RELATIONS)
    assert len(before) >= 3, before
    totals = rows("SELECT * FROM shop.totals ORDER BY 1")
    dbt("run")
    equal(set(results().values()), {"success"})
    after = rows(RELATIONS)
    # dbt swaps a view in by renames each time; a materialized view it leaves as it is.
    equal([row for row in after if row[1] == "m"], [row for row in before if row[1] == "m"])
    equal([row[:2] for row in after], [row[:2] for row in before])
    equal(rows("SELECT * FROM shop.totals ORDER BY 1"), totals)


@check("dbt run after a change of a model, and with --full-refresh")
def _():
    model = PROJECT / "models" / "large.sql"
    model.write_text(model.read_text().replace("100", "5"))
    dbt("run", "--select", "large")
    equal(rows("SELECT count(*) FROM shop.large"), [(3,)])
    # dbt drops a materialized view with CASCADE and does not learn what went along: the view over it fails in the same
    # run, with Postgres, too, and is made by the next one.
    try:
        dbt("run", "--full-refresh")
        raise ZeroDivisionError("dbt has learnt what goes with a materialized view: expect success")
    except AssertionError as failed:
        assert 'relation "shop.large" does not exist' in str(failed), failed
    equal(results(), {"orders": "success", "totals": "success", "large": "error"})
    dbt("run", "--full-refresh", "--select", "orders", "large")
    equal(set(results().values()), {"success"})
    equal(rows("SELECT count(*) FROM shop.large"), [(3,)])


client.run()
