"""SQLAlchemy 2: reflection, Core, a small ORM model, pool pre-ping; over psycopg 3, and in short over psycopg2 and asyncpg."""

import asyncio
import datetime as dt
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from tap import Client, equal, raises

client = Client("SQLAlchemy")
check = client.check


def engine(driver="psycopg", **options):
    # Host, port, user, password and database come from the environment, through libpq.
    return sa.create_engine(f"postgresql+{driver}://", **options)


def script(*statements):
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def make():
    drop()
    script(
        "CREATE TABLE sa_items (id bigint PRIMARY KEY, name varchar(40) NOT NULL, price numeric(10, 2) DEFAULT 1.5, "
        "tags text[], at timestamptz, day date, ok boolean, raw bytea, f real, d double precision, s smallint, "
        "i integer, t time, ts timestamp, iv interval)",
        "CREATE TABLE sa_pairs (a int, b text, v text, PRIMARY KEY (b, a))",
        "CREATE VIEW sa_view AS SELECT id, name FROM sa_items WHERE price > 1",
        "CREATE MATERIALIZED VIEW sa_matview AS SELECT name, count(*) AS n FROM sa_items GROUP BY name",
    )


def drop():
    for what in ["MATERIALIZED VIEW IF EXISTS sa_matview", "VIEW IF EXISTS sa_view", "TABLE IF EXISTS sa_pairs, sa_items"]:
        script(f"DROP {what}")


@check("first connection: version, schema, isolation level")
def _():
    with engine().connect() as connection:
        equal(connection.dialect.server_version_info[0] >= 15, True)
        equal(connection.dialect.default_schema_name, "public")
        equal(connection.get_isolation_level(), "READ COMMITTED")
        equal(connection.execute(sa.text("SELECT :x + 1"), {"x": 41}).scalar(), 42)
    with engine(isolation_level="REPEATABLE READ").connect() as connection:
        equal(connection.get_isolation_level(), "REPEATABLE READ")
        equal(connection.execute(sa.select(sa.literal("x"))).scalar(), "x")


@check("reflection: schemas and relations by kind")
def _():
    make()
    inspector = sa.inspect(engine())
    assert {"public", "information_schema"} <= set(inspector.get_schema_names()), inspector.get_schema_names()
    equal(sorted(inspector.get_table_names()), ["sa_items", "sa_pairs"])
    equal(inspector.get_view_names(), ["sa_view"])
    equal(inspector.get_materialized_view_names(), ["sa_matview"])
    equal([inspector.has_table(name) for name in ["sa_items", "sa_view", "sa_matview", "sa_none"]], [True] * 3 + [False])
    drop()


@check("reflection: columns with types, nullability and defaults")
def _():
    make()
    inspector = sa.inspect(engine())
    columns = {column["name"]: column for column in inspector.get_columns("sa_items")}
    types = {name: str(column["type"]) for name, column in columns.items()}
    equal(
        types,
        {
            "id": "BIGINT",
            "name": "VARCHAR(40)",
            "price": "NUMERIC(10, 2)",
            "tags": "ARRAY",
            "at": "TIMESTAMP",
            "day": "DATE",
            "ok": "BOOLEAN",
            "raw": "BYTEA",
            "f": "REAL",
            "d": "DOUBLE PRECISION",
            "s": "SMALLINT",
            "i": "INTEGER",
            "t": "TIME",
            "ts": "TIMESTAMP",
            "iv": "INTERVAL",
        },
    )
    equal((columns["at"]["type"].timezone, columns["ts"]["type"].timezone), (True, False))
    equal((columns["id"]["nullable"], columns["name"]["nullable"], columns["price"]["nullable"]), (False, False, True))
    assert columns["price"]["default"].startswith("1.5"), columns["price"]["default"]
    equal(columns["name"]["default"], None)
    equal([column["name"] for column in inspector.get_columns("sa_matview")], ["name", "n"])
    equal([str(column["type"]) for column in inspector.get_columns("sa_matview")], ["VARCHAR(40)", "BIGINT"])
    equal([str(column["type"]) for column in inspector.get_columns("sa_view")], ["BIGINT", "VARCHAR(40)"])
    drop()


@check("reflection: primary keys and foreign keys")
def _():
    make()
    inspector = sa.inspect(engine())
    key = inspector.get_pk_constraint("sa_items")
    equal((key["constrained_columns"], key["name"]), (["id"], "sa_items_pkey"))
    equal(inspector.get_pk_constraint("sa_pairs")["constrained_columns"], ["b", "a"])
    equal(inspector.get_foreign_keys("sa_items"), [])
    equal(inspector.get_unique_constraints("sa_items"), [])
    equal(inspector.get_check_constraints("sa_items"), [])
    drop()


@check("reflection: comments")
def _():
    make()
    script(
        "COMMENT ON TABLE sa_items IS 'what is sold'",
        "COMMENT ON COLUMN sa_items.price IS 'it''s in euros'",
        "COMMENT ON MATERIALIZED VIEW sa_matview IS 'always fresh'",
    )
    inspector = sa.inspect(engine())
    equal(inspector.get_table_comment("sa_items"), {"text": "what is sold"})
    equal(inspector.get_table_comment("sa_pairs"), {"text": None})
    equal(inspector.get_table_comment("sa_matview"), {"text": "always fresh"})
    equal({c["name"]: c["comment"] for c in inspector.get_columns("sa_items")}["price"], "it's in euros")
    drop()


@check("reflection: indexes")
def _():
    make()
    script("CREATE INDEX sa_items_name ON sa_items (name, price)")
    found = sa.inspect(engine()).get_indexes("sa_items")
    equal([(index["name"], index["column_names"], index["unique"]) for index in found],
          [("sa_items_name", ["name", "price"], False)])
    drop()


@check("reflection: whole tables by MetaData.reflect")
def _():
    make()
    metadata = sa.MetaData()
    metadata.reflect(engine(), views=True)
    equal(sorted(metadata.tables), ["sa_items", "sa_matview", "sa_pairs", "sa_view"])
    equal([column.name for column in metadata.tables["sa_pairs"].primary_key], ["b", "a"])
    drop()


@check("reflection: the text of a view")
def _():
    make()
    inspector = sa.inspect(engine())
    assert "sa_items" in inspector.get_view_definition("sa_view")
    assert "sa_items" in inspector.get_view_definition("sa_matview")
    drop()


@check("Core: create, insert with RETURNING, bulk insert, select, update, delete, drop")
def _():
    metadata = sa.MetaData()
    table = sa.Table(
        "sa_core",
        metadata,
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(50)),
        sa.Column("price", sa.Numeric(10, 2)),
        sa.Column("at", sa.DateTime(timezone=True)),
    )
    made = engine()
    metadata.create_all(made)
    metadata.create_all(made)
    at = dt.datetime(2026, 1, 1, 12, tzinfo=dt.timezone.utc)
    with made.begin() as connection:
        insert = sa.insert(table).values(id=1, name="a", price=Decimal("1.50"), at=at).returning(table.c.id, table.c.at)
        equal(tuple(connection.execute(insert).one()), (1, at))
        connection.execute(sa.insert(table), [{"id": n, "name": f"n{n}", "price": n, "at": at} for n in range(2, 200)])
    with made.begin() as connection:
        count = sa.select(sa.func.count()).select_from(table)
        equal(connection.execute(count).scalar(), 199)
        query = sa.select(table.c.name, sa.func.sum(table.c.price)).where(table.c.id.in_([1, 2, 3]))
        rows = connection.execute(query.group_by(table.c.name).order_by(table.c.name.desc()).limit(2)).all()
        equal([tuple(row) for row in rows], [("n3", Decimal("3.00")), ("n2", Decimal("2.00"))])
        equal(connection.execute(sa.update(table).where(table.c.id > 100).values(name="late")).rowcount, 99)
        equal(connection.execute(sa.delete(table).where(table.c.name == "late")).rowcount, 99)
        equal(connection.execute(count).scalar(), 100)
        like = sa.select(table.c.id).where(table.c.name.ilike("N1%"), table.c.at == at).order_by(table.c.id)
        equal(connection.execute(like).scalars().all(), list(range(10, 20)) + [100])
    metadata.drop_all(made)
    equal(sa.inspect(made).has_table("sa_core"), False)


@check("Core: rollback, savepoints, streamed results")
def _():
    script("CREATE TABLE sa_tx (id int PRIMARY KEY)")
    table = sa.table("sa_tx", sa.column("id"))
    made = engine()
    with made.connect() as connection:
        with connection.begin() as transaction:
            connection.execute(sa.insert(table).values(id=1))
            transaction.rollback()
        with connection.begin():
            connection.execute(sa.insert(table).values(id=2))
            savepoint = connection.begin_nested()
            connection.execute(sa.insert(table).values(id=3))
            savepoint.rollback()
        equal(connection.execute(sa.select(table.c.id)).scalars().all(), [2])
        connection.rollback()
        streamed = connection.execution_options(yield_per=100).execute(
            sa.text("SELECT g FROM generate_series(1, 1000) AS s(g)")
        )
        equal(sum(row.g for row in streamed), 500500)
    script("DROP TABLE sa_tx")


@check("Core: ON CONFLICT of the PostgreSQL dialect")
def _():
    from sqlalchemy.dialects.postgresql import insert

    script("CREATE TABLE sa_upsert (id int PRIMARY KEY, v text)")
    table = sa.table("sa_upsert", sa.column("id"), sa.column("v"))
    with engine().begin() as connection:
        connection.execute(insert(table).values(id=1, v="a"))
        connection.execute(insert(table).values(id=1, v="b").on_conflict_do_nothing())
        equal(connection.execute(sa.select(table.c.v)).scalar(), "a")
        upsert = insert(table).values(id=1, v="c")
        connection.execute(upsert.on_conflict_do_update(index_elements=["id"], set_={"v": upsert.excluded.v}))
        equal(connection.execute(sa.select(table.c.v)).scalar(), "c")
    script("DROP TABLE sa_upsert")


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "sa_customers"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    note: Mapped[str | None]


class Order(Base):
    __tablename__ = "sa_orders"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    customer_id: Mapped[int]
    cents: Mapped[int]
    placed: Mapped[dt.datetime]


class Total(Base):
    """A materialized view as a model that is only read."""

    __tablename__ = "sa_totals"
    customer_id: Mapped[int] = mapped_column(primary_key=True)
    cents: Mapped[Decimal]


@check("ORM: units of work, queries, joins, a live view as a model")
def _():
    made = engine()
    tables = [Customer.__table__, Order.__table__]
    Base.metadata.create_all(made, tables=tables)
    script("CREATE MATERIALIZED VIEW sa_totals AS SELECT customer_id, sum(cents) AS cents FROM sa_orders GROUP BY 1")
    day = dt.datetime(2026, 1, 1)
    with Session(made) as session:
        session.add_all([Customer(id=1, name="Ann"), Customer(id=2, name="Ben", note="new")])
        session.add_all([Order(id=n, customer_id=1 + n % 2, cents=100 * n, placed=day) for n in range(1, 6)])
        session.commit()
        equal([(total.customer_id, total.cents) for total in session.query(Total).order_by(Total.customer_id)],
              [(1, Decimal(600)), (2, Decimal(900))])
        session.rollback()
        ann = session.get(Customer, 1)
        ann.note = "changed"
        session.delete(session.get(Order, 5))
        session.flush()
        equal(session.scalar(sa.select(sa.func.count()).select_from(Order)), 4)
        session.rollback()
        equal(session.get(Customer, 1).note, None)
        session.get(Customer, 1).note = "kept"
        session.delete(session.get(Order, 5))
        session.commit()
        query = (
            sa.select(Customer.name, sa.func.count(Order.id))
            .join(Order, Order.customer_id == Customer.id)
            .group_by(Customer.name)
            .order_by(Customer.name)
        )
        equal([tuple(row) for row in session.execute(query)], [("Ann", 2), ("Ben", 2)])
        equal(session.scalars(sa.select(Total.cents).order_by(Total.customer_id)).all(), [Decimal(600), Decimal(400)])
    script("DROP MATERIALIZED VIEW sa_totals")
    Base.metadata.drop_all(made, tables=tables)


@check("pool pre-ping: a connection that the server ended is replaced")
def _():
    made = engine(pool_pre_ping=True, pool_size=1, max_overflow=0)
    with made.connect() as connection:
        first = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    with engine().connect() as other:
        equal(other.exec_driver_sql(f"SELECT pg_terminate_backend({first})").scalar(), True)
    with made.connect() as connection:
        second = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    assert first != second, first


@check("pool pre-ping: a connection that is lost is replaced")
def _():
    made = engine(pool_pre_ping=True, pool_size=1, max_overflow=0)
    with made.connect() as connection:
        connection.connection.dbapi_connection.pgconn.finish()
    with made.connect() as connection:
        equal(connection.exec_driver_sql("SELECT 1").scalar(), 1)


@check("errors as SQLAlchemy's classes")
def _():
    script("CREATE TABLE sa_err (id int PRIMARY KEY)")
    with engine().connect() as connection:
        table = sa.table("sa_err", sa.column("id"))
        connection.execute(sa.insert(table).values(id=1))
        error = raises(sa.exc.IntegrityError, connection.execute, sa.insert(table).values(id=1))
        equal(error.orig.sqlstate, "23505")
        connection.rollback()
        raises(sa.exc.ProgrammingError, connection.execute, sa.text("SELECT * FROM sa_nowhere"))
    script("DROP TABLE sa_err")


@check("the same over psycopg2")
def _():
    script("CREATE TABLE sa_two (id int PRIMARY KEY, v text)")
    made = engine("psycopg2")
    equal([column["name"] for column in sa.inspect(made).get_columns("sa_two")], ["id", "v"])
    with made.begin() as connection:
        table = sa.Table("sa_two", sa.MetaData(), autoload_with=made)
        connection.execute(sa.insert(table), [{"id": n, "v": str(n)} for n in range(5)])
        equal(connection.execute(sa.select(sa.func.max(table.c.v))).scalar(), "4")
    script("DROP TABLE sa_two")


@check("the same over asyncpg")
async def _():
    script("CREATE TABLE sa_three (id int PRIMARY KEY, v text)")
    made = create_async_engine("postgresql+asyncpg://")
    async with made.begin() as connection:
        columns = await connection.run_sync(lambda sync: sa.inspect(sync).get_columns("sa_three"))
        equal([column["name"] for column in columns], ["id", "v"])
        table = sa.table("sa_three", sa.column("id"), sa.column("v"))
        await connection.execute(sa.insert(table), [{"id": n, "v": str(n)} for n in range(5)])
        equal((await connection.execute(sa.select(sa.func.max(table.c.v)))).scalar(), "4")
    await made.dispose()
    script("DROP TABLE sa_three")


client.run()
