"""psql: every command that people type first, completion in a terminal, scripts, ctrl-C.

Commands are given to a psql without a terminal, and what it prints is compared; what needs a terminal has one.
Times that psql prints are compared with their digits masked.
"""

import os
import re
import signal
import subprocess
import tempfile

from tap import Client, equal
from terminal import PATIENCE, Terminal

client = Client("psql", of_the_machine=True)
check = client.check

MAJOR = int(re.search(r"\d+", subprocess.run(["psql", "--version"], capture_output=True, text=True).stdout).group())
WORK = os.environ["CLIENT_WORK"]

SCHEMA = """
CREATE SCHEMA plant;
CREATE TABLE plant.events (event_id BIGINT PRIMARY KEY, machine TEXT NOT NULL DEFAULT 'press', amount NUMERIC, at TIMESTAMPTZ);
CREATE TABLE plant.lines (order_id BIGINT, line INT, product TEXT, PRIMARY KEY (order_id, line));
CREATE VIEW plant.named AS SELECT event_id, machine FROM plant.events;
CREATE MATERIALIZED VIEW plant.per_machine AS SELECT machine, count(*) AS events FROM plant.events GROUP BY machine;
CREATE INDEX by_machine ON plant.events (machine);
COMMENT ON TABLE plant.events IS 'what the machines said';
COMMENT ON COLUMN plant.events.amount IS 'in pieces';
CREATE ROLE watcher;
GRANT USAGE ON SCHEMA plant TO watcher;
GRANT SELECT ON plant.per_machine TO watcher;
"""

# The view's query: Postgres writes it anew from its parts, without what the search path makes needless.
QUERY = r"SELECT (events\.)?event_id,\s+(events\.)?machine\s+FROM (plant\.)?events"


def psql(script, *arguments, status=0, environment=None):
    """What psql prints to its standard output, and to its standard error; tuples only, without a terminal."""
    done = subprocess.run(
        ["psql", "-X", "-q", "-A", "-t", *arguments],
        input=script,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=dict(os.environ, PGOPTIONS="-c search_path=plant,public", **(environment or {})),
    )
    if done.returncode != status:
        raise AssertionError(f"status {done.returncode}, not {status}: {done.stdout}{done.stderr}")
    return done.stdout, done.stderr


def out(script, *arguments):
    """What a script without an error prints."""
    printed, errors = psql(script, *arguments)
    equal(errors, "")
    return printed


def person(*arguments, password=None):
    """psql as a person starts it, in a terminal, at its first prompt; a password that is given is typed."""
    inputrc = os.path.join(WORK, "inputrc")
    with open(inputrc, "w") as file:
        file.write("set enable-bracketed-paste off\nset bell-style none\n")
    environment = {
        "INPUTRC": inputrc, "PSQL_HISTORY": os.devnull, "PAGER": "", "PGOPTIONS": "-c search_path=plant,public",
    }
    if password:
        environment.update(PGPASSWORD="", PGPASSFILE=os.devnull)
    terminal = Terminal(["psql", "-X", *arguments], environment)
    if password:
        terminal.expect(f"Password for user {os.environ['PGUSER']}: ")
        terminal.line(password)
    terminal.expect(PROMPT)
    return terminal


PROMPT = re.escape(os.environ["PGDATABASE"]) + r"=# "


@check("\\d, \\d+, \\d NAME of tables, views, materialized views, indexes")
def _():
    out(SCHEMA)
    shown = out("\\d")
    user = os.environ["PGUSER"]
    for kind, name in [("table", "events"), ("table", "lines"), ("view", "named"), ("materialized view", "per_machine")]:
        assert f"plant|{name}|{kind}|{user}\n" in shown, shown
    assert f"plant|events|table|{user}|permanent|heap|" in out("\\d+")
    assert "|what the machines said\n" in out("\\d+")
    events = out("\\d events")
    wanted = [
        "event_id|bigint||not null|", "machine|text||not null|'press'::text", "amount|numeric|||",
        "at|timestamp with time zone|||",
    ]
    equal(events.splitlines(), wanted)
    whole = out("\\d events", "-P", "tuples_only=off")
    for line in ['Table "plant.events"', '    "events_pkey" PRIMARY KEY, btree (event_id)', '    "by_machine" btree (machine)']:
        assert line + "\n" in whole, whole
    assert "|in pieces" in out("\\d+ events")
    equal(out("\\d named"), "event_id|bigint|||\nmachine|text|||\n")
    assert re.search(QUERY, out("\\d+ named", "-P", "tuples_only=off"))
    equal(out("\\d per_machine"), "machine|text|||\nevents|bigint|||\n")
    assert out("\\d by_machine").startswith("machine|text|yes|machine\n")
    _, errors = psql("\\set QUIET off\n\\d nothing")
    equal(errors, 'Did not find any relation named "nothing".\n')


@check("\\dt \\dv \\dm \\di \\ds \\df")
def _():
    user = os.environ["PGUSER"]
    equal(out("\\dt"), f"plant|events|table|{user}\nplant|lines|table|{user}\n")
    equal(out("\\dv"), f"plant|named|view|{user}\n")
    equal(out("\\dm"), f"plant|per_machine|materialized view|{user}\n")
    indexes = [f"plant|by_machine|index|{user}|events", f"plant|events_pkey|index|{user}|events",
               f"plant|lines_pkey|index|{user}|lines", ""]
    equal(out("\\di"), "\n".join(indexes))
    equal(out("\\dt ev*"), f"plant|events|table|{user}\n")
    # There are none: nothing is shown, and that is no error.
    equal(psql("\\set QUIET off\n\\ds\n\\df"), ("", "Did not find any relations.\n"))
    equal(out("\\df pg_catalog.format_type"), "pg_catalog|format_type|text|oid, integer|func\n")


@check("\\dn \\l \\du \\dp \\dT \\sv \\conninfo")
def _():
    user, database = os.environ["PGUSER"], os.environ["PGDATABASE"]
    assert f"plant|{user}\n" in out("\\dn")
    assert out("\\l").startswith(f"{database}|{user}|UTF8|")
    roles = out("\\du")
    assert re.search(rf"^{user}\|Superuser, ", roles, re.M) and "watcher|Cannot login|{}\n" in roles, roles
    rights = out("\\dp per_machine")
    equal(rights, f"plant|per_machine|materialized view|{user}=arwdDxt/{user}\nwatcher=r/{user}||\n")
    equal(out("\\dT pg_catalog.int4").split("|")[:2], ["pg_catalog", "integer"])
    text = out("\\sv named")
    assert text.startswith("CREATE OR REPLACE VIEW plant.named AS\n") and re.search(QUERY, text), text
    host, port = os.environ["PGHOST"], os.environ["PGPORT"]
    said = out("\\conninfo")
    assert said.startswith(f'You are connected to database "{database}" as user "{user}"'), said
    assert host in said and f'at port "{port}"' in said, said


# Each with what it can have behind it.
LISTS = """
da dA+ dAc+ dAf+ dAo+ dAp+ db+ dc+ dC+ dd dD+ ddp dE+ des+ det+ deu+ dew+ df+ dfa dfn dfp dft dfw dF+ dFd+ dFp+ dFt+ dg+ di+
dl+ dL+ dm+ dn+ do+ dO+ dp dP+ dPi+ dPt+ drds dRp+ dRs+ ds+ dt+ dT+ du+ dv+ dx+ dX dy+ l+ z lo_list d+ dtvmsE+
""".split()


# Those that show what is the server's own by an S.
SYSTEM_LISTS = "d da dc dC dd dD dE df dg di dL dm dn do dO ds dt dT du dv".split()


@check("every command that lists things, with + and S: rows or none, never an error")
def _():
    scripts = []
    for command in LISTS:
        plain = command.rstrip("+")
        forms = [command, plain] + ([plain + "S"] if plain in SYSTEM_LISTS else [])
        # A bare \d with a pattern describes one relation after the other: there are hundreds.
        patterns = [" plant.events"] if plain == "d" else [" *", " plant.*"]
        scripts += [f"\\{form}" for form in forms] + [f"\\{command}{pattern}" for pattern in patterns]
    _, errors = psql("\n".join(f"\\warn {script[1:]}\n{script}" for script in scripts))
    # psql says by itself that it found nothing, or that a name has too many parts.
    assert "ERROR" not in errors and "invalid command" not in errors, errors
    if MAJOR >= 15:
        assert "search_path|" in out("\\dconfig search*")
    user = os.environ["PGUSER"]
    equal(out("\\db"), f"pg_default|{user}|\npg_global|{user}|\n")
    equal(out("\\lo_list"), "")
    equal(out("\\dn+ public"), f"public|{user}|{user}=UC/{user}\n=U/{user}|\n")
    shown = out("SELECT pg_relation_size('events') = 0;\n\\dt+ plant.events")
    equal(shown, f"t\nplant|events|table|{user}|permanent|heap|0 bytes|what the machines said\n")


@check("\\x \\gdesc \\gset \\gexec \\g \\crosstabview, several statements in one")
def _():
    equal(out("\\x\nSELECT 7 AS seven, 8 AS eight;"), "seven|7\neight|8\n")
    equal(out("SELECT 1 AS a, 'x'::text AS b, now() AS c \\gdesc"), "a|integer\nb|text\nc|timestamp with time zone\n")
    # What \gdesc describes is not run.
    equal(out("INSERT INTO lines VALUES (9, 9, 'x') RETURNING order_id \\gdesc\nSELECT count(*) FROM lines;"),
          "order_id|bigint\n0\n")
    equal(out("SELECT 40 AS forty, 2 AS two \\gset\nSELECT :forty + :two;"), "42\n")
    equal(out("SELECT 'SELECT ' || g FROM generate_series(1, 2) AS s(g) \\gexec"), "1\n2\n")
    equal(out("SELECT 1 \\; SELECT 2 \\; SELECT 3;"), "1\n2\n3\n")
    crossed = out("SELECT 'r' || a, 'c' || b, a * b FROM (VALUES (1, 1), (1, 2), (2, 2)) AS v(a, b) \\crosstabview",
                  "--pset=tuples_only=off", "--pset=footer=off")
    equal(crossed, "?column?|c1|c2\nr1|1|2\nr2||4\n")


@check("\\timing, the digits masked")
def _():
    shown = out("\\timing on\nSELECT 1;\n\\timing off\nSELECT 2;")
    equal(re.sub(r"\d+(\.\d+)? ms", "N ms", shown), "1\nTime: N ms\n2\n")
    printed, errors = psql("\\timing on\nSELECT 1 / 0;\nSELECT 3;")
    equal(re.sub(r"\d+(\.\d+)? ms", "N ms", printed), "Time: N ms\n3\nTime: N ms\n")
    equal(errors, "ERROR:  division by zero\n")


@check("\\errverbose, VERBOSITY, SHOW_CONTEXT")
def _():
    wanted = (
        r'ERROR:  42703: column "machin" does not exist\nLINE 1: SELECT machin FROM events;\n               \^\n'
        r'HINT:  Perhaps you meant to reference the column "(events\.)?machine"\.\n'
    )
    printed, errors = psql("SELECT machin FROM events;\n\\errverbose", "-v", "VERBOSITY=terse")
    terse, verbose = errors.split("\n", 1)
    equal((printed, terse), ("", 'ERROR:  column "machin" does not exist at character 8'))
    assert re.match(wanted, verbose), verbose
    _, errors = psql("\\set VERBOSITY sqlstate\nSELECT 1 / 0;")
    equal(errors, "ERROR:  22012\n")
    equal(psql("\\errverbose")[0] + psql("\\errverbose")[1], "There is no previous error.\n")


@check("\\bind, where psql has it (from 16 on)")
def _():
    if MAJOR >= 16:
        equal(out("SELECT $1::int + $2::int \\bind 40 2 \\g\n"), "42\n")
    else:
        equal(psql("\\bind 40 2")[1], "invalid command \\bind\n")


@check("\\watch shows a view move on, and ctrl-C ends it")
def _():
    with person("-A", "-t") as terminal:
        terminal.line("SELECT 'seen ' || count(*) FROM plant.named \\watch 0.01")
        for _ in range(3):
            terminal.expect(r"\nseen 0\n")
        out("INSERT INTO events VALUES (1, 'press', 5, now()), (2, 'lathe', 7, now());")
        terminal.expect(r"\nseen 2\n")
        terminal.interrupt()
        terminal.expect(PROMPT)
        terminal.line("SELECT 'still ' || 'here';")
        terminal.expect(r"\nstill here\n")
        terminal.line("\\q")
        equal(terminal.end(), 0)


@check("\\copy both ways: text, CSV, a query, a program, a bad row")
def _():
    file = os.path.join(WORK, "lines.csv")
    out("\\copy lines (order_id, line, product) from stdin\n1\t1\tbolt\n1\t2\t\\N\n\\.\n")
    out(f"\\copy (SELECT * FROM lines ORDER BY line) to '{file}' with (format csv, header)")
    with open(file) as written:
        equal(written.read(), "order_id,line,product\n1,1,bolt\n1,2,\n")
    out(f"DELETE FROM lines;\n\\copy lines from '{file}' csv header")
    equal(out("\\copy (SELECT * FROM lines ORDER BY line) to stdout"), "1\t1\tbolt\n1\t2\t\\N\n")
    equal(out("\\copy (SELECT product FROM lines WHERE line = 1) to program 'tr a-z A-Z; echo done'"), "BOLT\ndone\n")
    _, errors = psql("\\copy lines from stdin\n2\t1\tnut\n2\tx\tnut\n\\.\n")
    assert errors.startswith('ERROR:  invalid input syntax for type integer: "x"\n'), errors
    assert 'CONTEXT:  COPY lines, line 2, column line: "x"' in errors, errors
    equal(out("SELECT count(*) FROM lines;"), "2\n")


@check("-f scripts with ON_ERROR_STOP, without it, and as one transaction by -1")
def _():
    script = os.path.join(WORK, "script.sql")
    with open(script, "w") as file:
        file.write("CREATE TABLE made (id INT PRIMARY KEY);\nSELECT 'before';\nSELECT nothing;\nSELECT 'after';\n")
    printed, errors = psql("", "-f", script, "-v", "ON_ERROR_STOP=1", status=3)
    equal(printed, "before\n")
    equal(errors, f'psql:{script}:3: ERROR:  column "nothing" does not exist\nLINE 1: SELECT nothing;\n               ^\n')
    printed, errors = psql("DROP TABLE made;\n\\i " + script)
    equal(printed, "before\nafter\n")
    assert errors.startswith(f"psql:{script}:3: ERROR:  column"), errors
    # As one transaction: nothing of it stays.
    psql("", "-c", "DROP TABLE made")
    printed, errors = psql("", "-1", "-f", script, "-v", "ON_ERROR_STOP=1", status=3)
    equal(out("SELECT to_regclass('made') IS NULL;"), "t\n")
    # Without the stop the rest is refused, and psql's COMMIT is a ROLLBACK.
    printed, errors = psql("", "-1", "-f", script)
    equal(printed, "before\n")
    assert "current transaction is aborted" in errors, errors
    equal(out("SELECT to_regclass('made') IS NULL;"), "t\n")
    _, errors = psql("", "-c", "SELECT nothing", status=1)
    assert errors.startswith('ERROR:  column "nothing"'), errors


@check("transactions in a session: prompts, ON_ERROR_ROLLBACK, AUTOCOMMIT off")
def _():
    with person() as terminal:
        terminal.line("BEGIN;")
        terminal.expect(re.escape(os.environ["PGDATABASE"]) + r"=\*# ")
        terminal.line("SELECT 1 / 0;")
        terminal.expect(r"ERROR:  division by zero")
        terminal.expect(re.escape(os.environ["PGDATABASE"]) + r"=!# ")
        terminal.line("SELECT 1;")
        terminal.expect(r"ERROR:  current transaction is aborted, commands ignored until end of transaction block")
        terminal.line("COMMIT;")
        terminal.expect(r"\nROLLBACK\n")
        terminal.expect(PROMPT)
    printed, _ = psql("\\set ON_ERROR_ROLLBACK on\nBEGIN;\nSELECT 1 / 0;\nSELECT 'goes on';\nCOMMIT;")
    equal(printed, "goes on\n")
    out("\\set AUTOCOMMIT off\nINSERT INTO lines VALUES (7, 7, 'lost');\nROLLBACK;\n"
        "INSERT INTO lines VALUES (8, 8, 'kept');\nCOMMIT;")
    equal(out("SELECT product FROM lines WHERE order_id > 6;"), "kept\n")


@check("FETCH_COUNT: a result in parts")
def _():
    printed, errors = psql("\\set FETCH_COUNT 7\nSELECT g FROM generate_series(1, 30) AS s(g);")
    equal((printed, errors), ("".join(f"{n}\n" for n in range(1, 31)), ""))


@check("\\c as another role, \\password")
def _():
    with person("-A", "-t", password=os.environ["PGPASSWORD"]) as terminal:
        terminal.line("ALTER ROLE watcher LOGIN;")
        terminal.expect(PROMPT)
        terminal.line("\\password watcher")
        for _ in range(2):
            terminal.expect(r"(Enter new password.*|Enter it again): ")
            terminal.line("sees all")
        terminal.expect(PROMPT)
        terminal.line("\\c - watcher")
        terminal.expect(r"Password for user watcher: ")
        terminal.line("sees nothing")
        terminal.expect('password authentication failed for user "watcher"')
        terminal.expect("Previous connection kept")
        terminal.expect(PROMPT)
        terminal.line("\\c - watcher")
        terminal.expect(r"Password for user watcher: ")
        terminal.line("sees all")
        terminal.expect(r'You are now connected to database "\w+" as user "watcher"')
        # Not the prompt of a superuser any more.
        terminal.expect(re.escape(os.environ["PGDATABASE"]) + r"=> ")
        terminal.line("SELECT machine, events FROM per_machine ORDER BY machine;")
        terminal.expect(r"\nlathe\|1\npress\|1\n")
        terminal.line("SELECT * FROM events;")
        terminal.expect(r"ERROR:  permission denied for table events")


def completed(terminal, typed, wanted, cleared=True):
    """Types, presses TAB, and awaits the whole line; then empties the line."""
    terminal.send(typed + "\t")
    terminal.expect(r"(?:^|[ \n])" + re.escape(typed) + re.escape(wanted))
    if cleared:
        # ctrl-C at the prompt drops the line.
        terminal.interrupt()
        terminal.expect(PROMPT)


@check("tab completion of relations in a terminal")
def _():
    with person("-A", "-t") as terminal:
        completed(terminal, "SELECT * FROM ev", "ents ", cleared=False)
        terminal.line("WHERE false;")
        terminal.expect(PROMPT)
        completed(terminal, "SELECT * FROM plant.per", "_machine ")
        completed(terminal, "SELECT * FROM plant.na", "med ")
        completed(terminal, "\\d ev", "ents")
        completed(terminal, "\\dt li", "nes ")
        completed(terminal, "\\dm per", "_machine ")
        completed(terminal, "\\dv n", "amed ")
        completed(terminal, "\\di by", "_machine ")
        completed(terminal, "\\sv na", "med ")
        completed(terminal, "INSERT INTO li", "nes ")
        completed(terminal, "UPDATE ev", "ents ")
        completed(terminal, "DELETE FROM ev", "ents ")
        completed(terminal, "TRUNCATE li", "nes ")
        completed(terminal, "DROP MATERIALIZED VIEW per", "_machine ")
        completed(terminal, "DROP VIEW n", "amed ")
        completed(terminal, "DROP TABLE li", "nes ")
        completed(terminal, "DROP INDEX by", "_machine ")
        completed(terminal, "ALTER TABLE ev", "ents ")
        completed(terminal, "COMMENT ON TABLE ev", "ents ")
        completed(terminal, "COPY ev", "ents ")
        completed(terminal, "GRANT SELECT ON ev", "ents ")
        # Two keys more show what there is.
        terminal.send("SELECT * FROM plant.\t\t")
        before, _ = terminal.expect(r"per_machine")
        for name in ["events", "lines", "named"]:
            assert name in before, before


@check("tab completion of columns, schemas, roles, settings, types, databases")
def _():
    with person() as terminal:
        completed(terminal, "SELECT * FROM events WHERE mach", "ine ")
        completed(terminal, "UPDATE events SET am", "ount ")
        completed(terminal, "INSERT INTO events (ev", "ent_id")
        completed(terminal, "SELECT * FROM lines ORDER BY prod", "uct ")
        completed(terminal, "CREATE INDEX i ON events (mach", "ine ")
        completed(terminal, "\\dn pl", "ant ")
        completed(terminal, "DROP SCHEMA pl", "ant ")
        completed(terminal, "CREATE TABLE pl", "ant.")
        completed(terminal, "\\du wat", "cher ")
        completed(terminal, "SET ROLE wat", "cher ")
        completed(terminal, "GRANT SELECT ON events TO wat", "cher ")
        completed(terminal, "SET statement_t", "imeout ")
        completed(terminal, "SHOW search_p", "ath ")
        completed(terminal, "SET client_min_messages TO warn", "ing ")
        completed(terminal, "\\dT bigi", "nt ")
        completed(terminal, "\\c " + os.environ["PGDATABASE"][:-3], os.environ["PGDATABASE"][-3:] + " ")


def until_active(query):
    """Asks another session again and again until a query of this text runs."""
    script = f"SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '{query}%';"
    while out(script) == "0\n":
        pass


@check("ctrl-C on a long SELECT, from the keyboard and as SIGINT")
def _():
    long = "SELECT /*{}*/ count(*) FROM generate_series(1, 3000000) a, generate_series(1, 3000000) b;"
    with person("-A", "-t") as terminal:
        for name, interrupt in [("key", terminal.interrupt), ("signal", terminal.signal)]:
            terminal.line(long.format(name))
            until_active(f"SELECT /*{name}*/")
            interrupt()
            terminal.expect(r"Cancel request sent\n")
            terminal.expect(r"ERROR:  canceling statement due to user request")
            terminal.expect(PROMPT)
        terminal.line("SELECT pg_sleep(3600);")
        until_active("SELECT pg_sleep(3600)")
        terminal.interrupt()
        terminal.expect(r"ERROR:  canceling statement due to user request")
        terminal.expect(PROMPT)
        # The session lives on, and a ctrl-C at the prompt is nobody's business.
        terminal.interrupt()
        terminal.expect(PROMPT)
        terminal.line("SELECT 'still ' || 'here';")
        terminal.expect(r"\nstill here\n")


@check("ctrl-C while rows flow, and in a transaction")
def _():
    with person("-A", "-t") as terminal:
        terminal.line("COPY (SELECT b FROM generate_series(1, 100000) AS s(a), generate_series(1, 100000) AS t(b)) TO STDOUT;")
        terminal.expect(r"\n1000\n")
        terminal.interrupt()
        terminal.expect(r"ERROR:  canceling statement due to user request")
        terminal.expect(PROMPT)
        terminal.line("BEGIN; INSERT INTO lines VALUES (99, 1, 'never');")
        terminal.expect(r"=\*# ")
        terminal.line("SELECT pg_sleep(3600);")
        until_active("SELECT pg_sleep(3600)")
        terminal.interrupt()
        terminal.expect(r"ERROR:  canceling statement due to user request")
        terminal.expect(r"=!# ")
        terminal.line("COMMIT;")
        terminal.expect(r"\nROLLBACK\n")
        terminal.line("SELECT 'rows ' || count(*) FROM lines WHERE order_id = 99;")
        terminal.expect(r"\nrows 0\n")


@check("ctrl-C on a SUBSCRIBE, and on one whose rows a COPY shows as they come")
def _():
    with person("-A", "-t") as terminal:
        terminal.line("CREATE TABLE followed (v INT PRIMARY KEY);")
        terminal.expect(r"CREATE TABLE\n")
        terminal.expect(PROMPT)
        terminal.line("SUBSCRIBE followed;")
        until_active("SUBSCRIBE followed")
        terminal.interrupt()
        terminal.expect(r"ERROR:  canceling statement due to user request")
        terminal.expect(PROMPT)
        terminal.line("COPY (SUBSCRIBE followed) TO STDOUT;")
        # The changes of another session, while it goes on.
        for change, seen in [
            ("INSERT INTO followed VALUES (7)", r"\n[0-9]+\.[0-9]+\t1\t7\n"),
            ("DELETE FROM followed", r"[0-9]+\.[0-9]+\t-1\t7\n"),
        ]:
            out(change)
            terminal.expect(seen)
        terminal.interrupt()
        terminal.expect(r"ERROR:  canceling statement due to user request")
        terminal.expect(PROMPT)
        terminal.line("DROP TABLE followed;")
        terminal.expect(r"DROP TABLE\n")


@check("ctrl-C in a script ends psql, and its server's session")
def _():
    with tempfile.TemporaryFile() as errors:
        running = subprocess.Popen(
            ["psql", "-X", "-c", "SELECT pg_sleep(3600) /* script */"], stderr=errors, stdout=subprocess.DEVNULL
        )
        until_active("SELECT pg_sleep(3600) /* script */")
        running.send_signal(signal.SIGINT)
        equal(running.wait(PATIENCE), 1)
        errors.seek(0)
        equal(errors.read().decode(), "Cancel request sent\nERROR:  canceling statement due to user request\n")


@check("a session that an administrator ends is told so, and psql connects again")
def _():
    with person("-A", "-t") as terminal:
        terminal.line("SELECT 'process ' || pg_backend_pid();")
        _, found = terminal.expect(r"\nprocess (\d+)\n")
        terminal.expect(PROMPT)
        equal(out(f"SELECT pg_terminate_backend({found.group(1)});"), "t\n")
        terminal.line("SELECT 1;")
        terminal.expect(r"FATAL:  terminating connection due to administrator command")
        terminal.expect(r"The connection to the server was lost. Attempting reset: Succeeded.")
        terminal.expect(PROMPT)
        terminal.line("SELECT 'new ' || (pg_backend_pid() <> " + found.group(1) + ");")
        terminal.expect(r"\nnew true\n")


@check("DROP SCHEMA with all in it, DROP ROLE")
def _():
    out("DROP SCHEMA plant CASCADE;\nREVOKE ALL ON SCHEMA public FROM watcher;\nDROP ROLE watcher;", "-v", "ON_ERROR_STOP=1",
        "-c", "SET client_min_messages = warning", "-f", "-")
    equal(out("\\d plant.*"), "")


client.run()
