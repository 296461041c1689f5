// pgjdbc: both query modes, fetch size, batches, DatabaseMetaData, statements prepared on the server, binary transfer,
// COPY, cancel, transactions.

import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Array;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.Date;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Time;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.postgresql.PGConnection;
import org.postgresql.PGStatement;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PGInterval;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

public class PgjdbcClient {
    interface Check {
        void run() throws Exception;
    }

    static int count = 0;
    static int failed = 0;

    static void check(String feature, Check check) {
        if (!feature.startsWith(System.getenv().getOrDefault("CLIENT_FEATURES", ""))) {
            return;
        }
        count += 1;
        try {
            check.run();
            System.out.println("ok - pgjdbc: " + feature);
        } catch (Throwable error) {
            failed += 1;
            System.out.println("not ok - pgjdbc: " + feature + " # " + error.toString().replaceAll("\\s+", " "));
            error.printStackTrace();
        }
    }

    static void equal(Object got, Object wanted) {
        if (!Objects.deepEquals(got, wanted)) {
            throw new AssertionError(shown(wanted) + " was expected, not " + shown(got));
        }
    }

    static String shown(Object value) {
        return value instanceof Object[] array ? Arrays.deepToString(array) : String.valueOf(value);
    }

    static Connection connect(String... options) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        for (int at = 0; at < options.length; at += 2) {
            properties.setProperty(options[at], options[at + 1]);
        }
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/"
            + System.getenv("PGDATABASE");
        return DriverManager.getConnection(url, properties);
    }

    static void run(Connection connection, String... statements) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            for (String sql : statements) {
                statement.execute(sql);
            }
        }
    }

    /** The rows of a query, each column as text; NULL is null. */
    static List<List<String>> rows(Connection connection, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int at = 0; at < values.length; at += 1) {
                statement.setObject(at + 1, values[at]);
            }
            return all(statement.executeQuery());
        }
    }

    static List<List<String>> all(ResultSet found) throws SQLException {
        List<List<String>> rows = new ArrayList<>();
        int columns = found.getMetaData().getColumnCount();
        while (found.next()) {
            List<String> row = new ArrayList<>();
            for (int column = 1; column <= columns; column += 1) {
                row.add(found.getString(column));
            }
            rows.add(row);
        }
        return rows;
    }

    /** Some columns of a result of DatabaseMetaData. */
    static List<List<String>> columns(ResultSet found, String... names) throws SQLException {
        List<List<String>> rows = new ArrayList<>();
        while (found.next()) {
            List<String> row = new ArrayList<>();
            for (String name : names) {
                row.add(found.getString(name));
            }
            rows.add(row);
        }
        return rows;
    }

    static SQLException fails(String state, Check check) throws Exception {
        try {
            check.run();
        } catch (SQLException error) {
            equal(error.getSQLState(), state);
            return error;
        }
        throw new AssertionError("an error " + state + " was expected");
    }

    /** Parameters and results of every type that JDBC has a setter for. */
    static void types(Connection connection) throws SQLException {
        run(connection, "DROP TABLE IF EXISTS j_types", "CREATE TABLE j_types (id int PRIMARY KEY, b boolean, s smallint,"
            + " l bigint, f real, d double precision, n numeric(20, 4), t text, v varchar(20), day date, at time,"
            + " ts timestamp, tz timestamptz, raw bytea, iv interval, list int[], words text[])");
        String insert = "INSERT INTO j_types VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        OffsetDateTime zoned = OffsetDateTime.of(2026, 1, 1, 12, 0, 0, 5000, ZoneOffset.UTC);
        Array list = connection.createArrayOf("int4", new Object[] {1, null, 3});
        Array words = connection.createArrayOf("text", new Object[] {"a", null, "q\"{},\\"});
        try (PreparedStatement statement = connection.prepareStatement(insert)) {
            // More than the five uses after which statements are prepared and values go in binary.
            for (int id = 1; id <= 8; id += 1) {
                statement.setInt(1, id);
                statement.setBoolean(2, true);
                statement.setShort(3, (short) -7);
                statement.setLong(4, Long.MIN_VALUE);
                statement.setFloat(5, 0.5f);
                statement.setDouble(6, 0.1);
                statement.setBigDecimal(7, new BigDecimal("12345678901234.5678"));
                statement.setString(8, "grüße '\"\\ 東京");
                statement.setString(9, "v");
                statement.setObject(10, LocalDate.of(1969, 7, 20));
                statement.setObject(11, LocalTime.of(23, 59, 59, 999_999_000));
                statement.setObject(12, LocalDateTime.of(2026, 1, 1, 12, 0, 0, 5000));
                statement.setObject(13, zoned);
                statement.setBytes(14, new byte[] {0, 1, -1});
                statement.setObject(15, new PGInterval(1, 2, 3, 4, 5, 6.5));
                statement.setArray(16, list);
                statement.setArray(17, words);
                equal(statement.executeUpdate(), 1);
            }
        }
        try (PreparedStatement statement = connection.prepareStatement("SELECT * FROM j_types WHERE id = ?")) {
            for (int id = 1; id <= 8; id += 1) {
                statement.setInt(1, id);
                ResultSet found = statement.executeQuery();
                equal(found.next(), true);
                equal(found.getInt("id"), id);
                equal(found.getBoolean("b"), true);
                equal(found.getShort("s"), (short) -7);
                equal(found.getLong("l"), Long.MIN_VALUE);
                equal(found.getFloat("f"), 0.5f);
                equal(found.getDouble("d"), 0.1);
                equal(found.getBigDecimal("n"), new BigDecimal("12345678901234.5678"));
                equal(found.getString("t"), "grüße '\"\\ 東京");
                equal(found.getString("v"), "v");
                equal(found.getObject("day", LocalDate.class), LocalDate.of(1969, 7, 20));
                equal(found.getObject("at", LocalTime.class), LocalTime.of(23, 59, 59, 999_999_000));
                equal(found.getObject("ts", LocalDateTime.class), LocalDateTime.of(2026, 1, 1, 12, 0, 0, 5000));
                equal(found.getObject("tz", OffsetDateTime.class).toInstant(), zoned.toInstant());
                equal(found.getBytes("raw"), new byte[] {0, 1, -1});
                equal(found.getObject("iv"), new PGInterval(1, 2, 3, 4, 5, 6.5));
                equal(found.getArray("list").getArray(), new Integer[] {1, null, 3});
                equal(found.getArray("words").getArray(), new String[] {"a", null, "q\"{},\\"});
                equal(found.next(), false);
            }
        }
        try (PreparedStatement statement = connection.prepareStatement(insert)) {
            statement.setInt(1, 100);
            int[] kinds = {Types.BOOLEAN, Types.SMALLINT, Types.BIGINT, Types.REAL, Types.DOUBLE, Types.NUMERIC,
                Types.VARCHAR, Types.VARCHAR, Types.DATE, Types.TIME, Types.TIMESTAMP, Types.TIMESTAMP_WITH_TIMEZONE,
                Types.BINARY, Types.OTHER, Types.ARRAY, Types.ARRAY};
            for (int at = 0; at < kinds.length; at += 1) {
                statement.setNull(at + 2, kinds[at]);
            }
            statement.executeUpdate();
        }
        ResultSet nulls = connection.createStatement().executeQuery("SELECT * FROM j_types WHERE id = 100");
        equal(nulls.next(), true);
        for (int column = 2; column <= 17; column += 1) {
            equal(nulls.getObject(column), null);
        }
        run(connection, "DROP TABLE j_types");
    }

    static void connections() {
        check("login, versions, driver's settings", () -> {
            try (Connection connection = connect("ApplicationName", "jdbc test", "currentSchema", "public")) {
                equal(connection.getMetaData().getDatabaseMajorVersion() >= 15, true);
                equal(rows(connection, "SHOW application_name"), List.of(List.of("jdbc test")));
                equal(connection.getSchema(), "public");
                equal(connection.isValid(10), true);
                equal(connection.getCatalog(), System.getenv("PGDATABASE"));
            }
        });
        for (String mode : List.of("extended", "simple", "extendedForPrepared", "extendedCacheEverything")) {
            check("query mode " + mode + ": parameters and results of every type", () -> {
                try (Connection connection = connect("preferQueryMode", mode)) {
                    types(connection);
                }
            });
        }
        check("binary transfer from the first use", () -> {
            try (Connection connection = connect("prepareThreshold", "-1", "binaryTransfer", "true")) {
                types(connection);
            }
        });
        check("dates and times of java.sql", () -> {
            try (Connection connection = connect()) {
                for (int use = 0; use < 8; use += 1) {
                    String sql = "SELECT ?::date AS d, ?::time AS t, ?::timestamp AS ts";
                    PreparedStatement statement = connection.prepareStatement(sql);
                    statement.setDate(1, Date.valueOf("1969-07-20"));
                    statement.setTime(2, Time.valueOf("23:59:58"));
                    statement.setTimestamp(3, Timestamp.valueOf("2026-01-01 12:00:00.000005"));
                    ResultSet found = statement.executeQuery();
                    equal(found.next(), true);
                    equal(found.getDate(1), Date.valueOf("1969-07-20"));
                    equal(found.getTime(2), Time.valueOf("23:59:58"));
                    equal(found.getTimestamp(3), Timestamp.valueOf("2026-01-01 12:00:00.000005"));
                    statement.close();
                }
            }
        });
    }

    static void statements() {
        check("a statement is prepared on the server after five uses", () -> {
            try (Connection connection = connect()) {
                PreparedStatement statement = connection.prepareStatement("SELECT ?::int + 1");
                for (int use = 1; use <= 10; use += 1) {
                    statement.setInt(1, use);
                    equal(all(statement.executeQuery()), List.of(List.of(String.valueOf(use + 1))));
                    // True when the next use is the fifth or a later one.
                    equal(statement.unwrap(PGStatement.class).isUseServerPrepare(), use >= 4);
                }
            }
        });
        check("a prepared statement over a table that was made anew", () -> {
            try (Connection connection = connect("autosave", "conservative")) {
                run(connection, "CREATE TABLE j_again (id int PRIMARY KEY)", "INSERT INTO j_again VALUES (1)");
                PreparedStatement statement = connection.prepareStatement("SELECT * FROM j_again");
                for (int use = 0; use < 7; use += 1) {
                    equal(all(statement.executeQuery()), List.of(List.of("1")));
                }
                run(connection, "DROP TABLE j_again", "CREATE TABLE j_again (id int PRIMARY KEY, v text)",
                    "INSERT INTO j_again VALUES (2, 'x')");
                equal(all(statement.executeQuery()), List.of(List.of("2", "x")));
                run(connection, "DROP TABLE j_again");
            }
        });
        check("fetch size: rows by portal", () -> {
            try (Connection connection = connect()) {
                connection.setAutoCommit(false);
                Statement statement = connection.createStatement();
                statement.setFetchSize(100);
                ResultSet found = statement.executeQuery("SELECT g FROM generate_series(1, 1050) AS s(g) ORDER BY g");
                int row = 0;
                while (found.next()) {
                    row += 1;
                    equal(found.getInt(1), row);
                    if (row == 150) {
                        // Another statement runs while the portal stays open.
                        equal(rows(connection, "SELECT 'between'"), List.of(List.of("between")));
                    }
                }
                equal(row, 1050);
                connection.commit();
            }
        });
        check("batches of one prepared statement", () -> {
            try (Connection connection = connect()) {
                run(connection, "CREATE TABLE j_batch (id int PRIMARY KEY, v text)");
                PreparedStatement statement = connection.prepareStatement("INSERT INTO j_batch VALUES (?, ?)");
                for (int id = 0; id < 300; id += 1) {
                    statement.setInt(1, id);
                    statement.setString(2, id % 3 == 0 ? null : "v" + id);
                    statement.addBatch();
                }
                int[] counts = statement.executeBatch();
                equal(counts.length, 300);
                equal(Arrays.stream(counts).allMatch(one -> one == 1), true);
                equal(rows(connection, "SELECT count(*), count(v), sum(id) FROM j_batch"),
                    List.of(List.of("300", "200", "44850")));
                run(connection, "DROP TABLE j_batch");
            }
        });
        check("batches with reWriteBatchedInserts, and generated keys", () -> {
            try (Connection connection = connect("reWriteBatchedInserts", "true")) {
                run(connection, "CREATE TABLE j_multi (id int PRIMARY KEY, v text)");
                PreparedStatement statement = connection.prepareStatement("INSERT INTO j_multi (id, v) VALUES (?, ?)");
                for (int id = 0; id < 300; id += 1) {
                    statement.setInt(1, id);
                    statement.setString(2, "v");
                    statement.addBatch();
                }
                statement.executeBatch();
                equal(rows(connection, "SELECT count(*) FROM j_multi"), List.of(List.of("300")));
                PreparedStatement keys =
                    connection.prepareStatement("INSERT INTO j_multi VALUES (?, ?)", new String[] {"id"});
                keys.setInt(1, 1000);
                keys.setString(2, "k");
                keys.executeUpdate();
                equal(all(keys.getGeneratedKeys()), List.of(List.of("1000")));
                run(connection, "DROP TABLE j_multi");
            }
        });
        check("a batch of several statements, and one that fails", () -> {
            try (Connection connection = connect()) {
                Statement statement = connection.createStatement();
                statement.addBatch("CREATE TABLE j_mixed (id int PRIMARY KEY)");
                statement.addBatch("INSERT INTO j_mixed VALUES (1), (2)");
                statement.addBatch("DELETE FROM j_mixed WHERE id = 1");
                equal(statement.executeBatch(), new int[] {0, 2, 1});
                PreparedStatement insert = connection.prepareStatement("INSERT INTO j_mixed VALUES (?)");
                for (int id : new int[] {3, 2, 4}) {
                    insert.setInt(1, id);
                    insert.addBatch();
                }
                try {
                    insert.executeBatch();
                    throw new AssertionError("the batch has a key twice");
                } catch (BatchUpdateException error) {
                    equal(error.getSQLState(), "23505");
                }
                // What stands between two Syncs is one transaction.
                equal(rows(connection, "SELECT id FROM j_mixed ORDER BY id"), List.of(List.of("2")));
                run(connection, "DROP TABLE j_mixed");
            }
        });
        check("metadata of results and parameters", () -> {
            try (Connection connection = connect()) {
                run(connection, "CREATE TABLE j_meta (id int PRIMARY KEY, price numeric(10, 2), name varchar(40))");
                PreparedStatement statement =
                    connection.prepareStatement("SELECT id, price, name, count(*) AS n FROM j_meta WHERE id > ? GROUP BY 1, 2, 3");
                equal(statement.getParameterMetaData().getParameterTypeName(1), "int4");
                ResultSetMetaData meta = statement.getMetaData();
                List<String> described = new ArrayList<>();
                for (int column = 1; column <= meta.getColumnCount(); column += 1) {
                    described.add(meta.getColumnName(column) + " " + meta.getColumnTypeName(column) + " "
                        + meta.getPrecision(column) + " " + meta.getScale(column));
                }
                equal(described, List.of("id int4 10 0", "price numeric 10 2", "name varchar 40 0", "n int8 19 0"));
                equal(meta.getTableName(1), "j_meta");
                equal(meta.isNullable(1), ResultSetMetaData.columnNoNulls);
                run(connection, "DROP TABLE j_meta");
            }
        });
        check("updatable results", () -> {
            try (Connection connection = connect()) {
                run(connection, "CREATE TABLE j_updatable (id int PRIMARY KEY, v text)", "INSERT INTO j_updatable VALUES (1, 'a')");
                Statement statement =
                    connection.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE);
                ResultSet found = statement.executeQuery("SELECT id, v FROM j_updatable");
                equal(found.next(), true);
                found.updateString("v", "b");
                found.updateRow();
                equal(rows(connection, "SELECT v FROM j_updatable"), List.of(List.of("b")));
                run(connection, "DROP TABLE j_updatable");
            }
        });
    }

    static void transactions() {
        check("transactions, savepoints, isolation levels", () -> {
            try (Connection connection = connect()) {
                run(connection, "CREATE TABLE j_tx (id int PRIMARY KEY)");
                connection.setAutoCommit(false);
                connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
                equal(connection.getTransactionIsolation(), Connection.TRANSACTION_REPEATABLE_READ);
                run(connection, "INSERT INTO j_tx VALUES (1)");
                Savepoint savepoint = connection.setSavepoint("here");
                run(connection, "INSERT INTO j_tx VALUES (2)");
                connection.rollback(savepoint);
                run(connection, "INSERT INTO j_tx VALUES (3)");
                connection.commit();
                run(connection, "INSERT INTO j_tx VALUES (4)");
                connection.rollback();
                equal(rows(connection, "SELECT id FROM j_tx ORDER BY id"), List.of(List.of("1"), List.of("3")));
                connection.commit();
                connection.setReadOnly(true);
                fails("25006", () -> run(connection, "INSERT INTO j_tx VALUES (5)"));
                connection.rollback();
                connection.setReadOnly(false);
                connection.setAutoCommit(true);
                run(connection, "DROP TABLE j_tx");
            }
        });
        check("errors with their fields", () -> {
            try (Connection connection = connect()) {
                run(connection, "CREATE TABLE j_err (id int PRIMARY KEY)", "INSERT INTO j_err VALUES (1)");
                PSQLException error =
                    (PSQLException) fails("23505", () -> rows(connection, "INSERT INTO j_err VALUES (?) RETURNING id", 1));
                ServerErrorMessage message = error.getServerErrorMessage();
                equal(message.getTable(), "j_err");
                equal(message.getConstraint(), "j_err_pkey");
                equal(message.getDetail(), "Key (id)=(1) already exists.");
                error = (PSQLException) fails("42703", () -> rows(connection, "SELECT idd FROM j_err"));
                equal(error.getServerErrorMessage().getPosition(), 8);
                run(connection, "DROP TABLE j_err");
            }
        });
        check("cancel, and a query timeout", () -> {
            try (Connection connection = connect()) {
                Statement statement = connection.createStatement();
                statement.setQueryTimeout(1);
                fails("57014", () -> statement.executeQuery("SELECT pg_sleep(60)"));
                equal(rows(connection, "SELECT 'usable'"), List.of(List.of("usable")));
            }
        });
        check("notices as warnings", () -> {
            try (Connection connection = connect()) {
                Statement statement = connection.createStatement();
                statement.execute("DROP TABLE IF EXISTS j_nowhere");
                equal(statement.getWarnings().getMessage(), "table \"j_nowhere\" does not exist, skipping");
                equal(statement.getWarnings().getSQLState(), "00000");
            }
        });
        check("COPY both ways", () -> {
            try (Connection connection = connect()) {
                run(connection, "CREATE TABLE j_copy (id int PRIMARY KEY, v text)");
                CopyManager copies = connection.unwrap(PGConnection.class).getCopyAPI();
                equal(copies.copyIn("COPY j_copy FROM STDIN (FORMAT CSV)", new StringReader("1,\"a,b\"\n2,\n")), 2L);
                ByteArrayOutputStream out = new ByteArrayOutputStream();
                equal(copies.copyOut("COPY (SELECT * FROM j_copy ORDER BY id) TO STDOUT", out), 2L);
                equal(out.toString("UTF-8"), "1\ta,b\n2\t\\N\n");
                fails("22P02", () -> copies.copyIn("COPY j_copy FROM STDIN", new StringReader("x\ty\n")));
                equal(rows(connection, "SELECT count(*) FROM j_copy"), List.of(List.of("2")));
                run(connection, "DROP TABLE j_copy");
            }
        });
        check("a connection that the server ends says so", () -> {
            try (Connection connection = connect(); Connection other = connect()) {
                String process = rows(connection, "SELECT pg_backend_pid()").get(0).get(0);
                equal(rows(other, "SELECT pg_terminate_backend(?)", Integer.valueOf(process)), List.of(List.of("t")));
                fails("57P01", () -> rows(connection, "SELECT 1"));
                equal(connection.isValid(5), false);
            }
        });
    }

    static void metadata() throws SQLException {
        try (Connection connection = connect()) {
            run(connection, "CREATE SCHEMA j_schema",
                "CREATE TABLE j_schema.pairs (b text, a int, price numeric(10, 2) NOT NULL DEFAULT 1.5, PRIMARY KEY (b, a))",
                "CREATE VIEW j_schema.plain AS SELECT a FROM j_schema.pairs",
                "CREATE MATERIALIZED VIEW j_schema.live AS SELECT a, count(*) AS n FROM j_schema.pairs GROUP BY a");
        }
        check("DatabaseMetaData: catalogs, schemas, types of tables", () -> {
            try (Connection connection = connect()) {
                DatabaseMetaData meta = connection.getMetaData();
                equal(meta.getDatabaseProductName(), "PostgreSQL");
                equal(columns(meta.getCatalogs(), "TABLE_CAT").contains(List.of(System.getenv("PGDATABASE"))), true);
                List<List<String>> schemas = columns(meta.getSchemas(), "TABLE_SCHEM");
                equal(schemas.contains(List.of("public")) && schemas.contains(List.of("j_schema")), true);
                equal(columns(meta.getSchemas(null, "j_%"), "TABLE_SCHEM"), List.of(List.of("j_schema")));
                equal(columns(meta.getTableTypes(), "TABLE_TYPE").contains(List.of("MATERIALIZED VIEW")), true);
            }
        });
        check("DatabaseMetaData: tables by type", () -> {
            try (Connection connection = connect()) {
                DatabaseMetaData meta = connection.getMetaData();
                Map<String, String> kinds = new HashMap<>();
                kinds.put("TABLE", "pairs");
                kinds.put("VIEW", "plain");
                kinds.put("MATERIALIZED VIEW", "live");
                for (Map.Entry<String, String> kind : kinds.entrySet()) {
                    ResultSet found = meta.getTables(null, "j_schema", "%", new String[] {kind.getKey()});
                    equal(columns(found, "TABLE_NAME", "TABLE_TYPE"), List.of(List.of(kind.getValue(), kind.getKey())));
                }
                TreeSet<String> names = new TreeSet<>();
                for (List<String> row : columns(meta.getTables(null, "j_schema", null, null), "TABLE_NAME")) {
                    names.add(row.get(0));
                }
                equal(names.containsAll(List.of("pairs", "plain", "live")), true);
            }
        });
        check("DatabaseMetaData: columns", () -> {
            try (Connection connection = connect()) {
                ResultSet found = connection.getMetaData().getColumns(null, "j_schema", "pairs", "%");
                equal(columns(found, "COLUMN_NAME", "TYPE_NAME", "COLUMN_SIZE", "IS_NULLABLE", "ORDINAL_POSITION"),
                    List.of(List.of("b", "text", "2147483647", "NO", "1"), List.of("a", "int4", "10", "NO", "2"),
                        List.of("price", "numeric", "10", "NO", "3")));
                ResultSet view = connection.getMetaData().getColumns(null, "j_schema", "live", "n");
                equal(columns(view, "COLUMN_NAME", "DATA_TYPE"), List.of(List.of("n", String.valueOf(Types.BIGINT))));
            }
        });
        check("DatabaseMetaData: primary keys, indexes, foreign keys", () -> {
            try (Connection connection = connect()) {
                DatabaseMetaData meta = connection.getMetaData();
                equal(columns(meta.getPrimaryKeys(null, "j_schema", "pairs"), "COLUMN_NAME", "KEY_SEQ", "PK_NAME"),
                    List.of(List.of("b", "1", "pairs_pkey"), List.of("a", "2", "pairs_pkey")));
                List<List<String>> indexes = columns(meta.getIndexInfo(null, "j_schema", "pairs", true, false),
                    "INDEX_NAME", "COLUMN_NAME", "NON_UNIQUE");
                equal(indexes, List.of(List.of("pairs_pkey", "b", "f"), List.of("pairs_pkey", "a", "f")));
                equal(columns(meta.getImportedKeys(null, "j_schema", "pairs"), "FK_NAME"), List.of());
                equal(columns(meta.getBestRowIdentifier(null, "j_schema", "pairs", 0, false), "COLUMN_NAME").size(), 2);
            }
        });
        check("DatabaseMetaData: type info, functions, privileges", () -> {
            try (Connection connection = connect()) {
                DatabaseMetaData meta = connection.getMetaData();
                Map<String, String> types = new HashMap<>();
                for (List<String> row : columns(meta.getTypeInfo(), "TYPE_NAME", "DATA_TYPE")) {
                    types.put(row.get(0), row.get(1));
                }
                equal(types.get("int4"), String.valueOf(Types.INTEGER));
                equal(types.get("timestamptz"), String.valueOf(Types.TIMESTAMP));
                equal(types.get("numeric"), String.valueOf(Types.NUMERIC));
                columns(meta.getFunctions(null, "pg_catalog", "pg_get%"), "FUNCTION_NAME");
                columns(meta.getTablePrivileges(null, "j_schema", "pairs"), "GRANTEE", "PRIVILEGE");
                equal(meta.getSQLKeywords().contains("analyze"), true);
            }
        });
        try (Connection connection = connect()) {
            run(connection, "DROP MATERIALIZED VIEW j_schema.live", "DROP VIEW j_schema.plain", "DROP TABLE j_schema.pairs",
                "DROP SCHEMA j_schema");
        }
    }

    public static void main(String[] arguments) throws Exception {
        System.out.println("# pgjdbc " + new org.postgresql.Driver().getClass().getPackage().getImplementationVersion());
        connections();
        statements();
        transactions();
        metadata();
        Matrix.checks();
        System.out.println("1.." + count);
        System.exit(failed == 0 ? 0 : 1);
    }
}

/**
 * Every type of types.json: what pgjdbc makes of a value in the binary format is what it makes of the text, which is the
 * one expected; it is sent as a parameter, alone and within arrays, and kept by a table.
 */
class Matrix {
    /** A type; its values are pairs of what is written in SQL and the text that comes back. */
    record Kind(int number, String name, boolean isArray, List<String[]> values) {
        String literal(String[] value) {
            return "'" + value[0].replace("'", "''") + "'::" + name;
        }
    }

    private static final String STRING = "\"((?:[^\"\\\\]|\\\\.)*)\"";

    /** The file has a type in each line, so that it takes no library to be read. */
    static List<Kind> kinds() throws Exception {
        boolean theirs = "postgres".equals(System.getenv("MATRIX_TEXTS"));
        Pattern head = Pattern.compile("\\{\"type\": " + STRING + ", \"oid\": \\d+(, \"array_oid\": \\d+)?, \"values\": ");
        Pattern entry = Pattern.compile("\\[" + STRING + ", " + STRING + "(?:, " + STRING + ")?\\]");
        List<Kind> kinds = new ArrayList<>();
        for (String line : Files.readAllLines(Path.of(System.getenv("CLIENT_SOURCES"), "types.json"))) {
            Matcher found = head.matcher(line);
            if (found.find()) {
                List<String[]> values = new ArrayList<>();
                for (Matcher value = entry.matcher(line.substring(found.end())); value.find();) {
                    String text = value.group(theirs && value.group(3) != null ? 3 : 2);
                    values.add(new String[] {unescaped(value.group(1)), unescaped(text)});
                }
                kinds.add(new Kind(kinds.size(), unescaped(found.group(1)), found.group(2) == null, values));
            }
        }
        PgjdbcClient.equal(kinds.size() > 20, true);
        return kinds;
    }

    static String unescaped(String json) {
        StringBuilder text = new StringBuilder();
        for (int at = 0; at < json.length(); at += 1) {
            if (json.charAt(at) != '\\') {
                text.append(json.charAt(at));
                continue;
            }
            at += 1;
            switch (json.charAt(at)) {
                case 'n' -> text.append('\n');
                case 't' -> text.append('\t');
                case 'u' -> {
                    text.append((char) Integer.parseInt(json.substring(at + 1, at + 5), 16));
                    at += 4;
                }
                default -> text.append(json.charAt(at));
            }
        }
        return text.toString();
    }

    static void checks() throws Exception {
        for (Kind kind : kinds()) {
            PgjdbcClient.check("types: " + kind.name(), () -> {
                try (Connection text = PgjdbcClient.connect("prepareThreshold", "0", "binaryTransfer", "false");
                    Connection binary = PgjdbcClient.connect("prepareThreshold", "-1", "binaryTransfer", "true")) {
                    whole(kind, text, binary);
                }
            });
        }
    }

    static void whole(Kind kind, Connection text, Connection binary) throws SQLException {
        String table = "j_matrix_" + kind.number();
        for (Connection connection : List.of(text, binary)) {
            PgjdbcClient.run(connection, "SET TimeZone = 'UTC'", "SET DateStyle = 'ISO'");
        }
        PgjdbcClient.run(text, "DROP TABLE IF EXISTS " + table,
            "CREATE TABLE " + table + " (id int PRIMARY KEY, v " + kind.name() + ")");
        for (int id = 0; id < kind.values().size(); id += 1) {
            String literal = kind.literal(kind.values().get(id));
            PgjdbcClient.equal(PgjdbcClient.rows(text, "SELECT " + literal),
                List.of(List.of(kind.values().get(id)[1])));
            Object value = same("SELECT " + literal, text, binary);
            String kept = "SELECT v FROM " + table + " WHERE id = ";
            for (Connection connection : List.of(text, binary)) {
                Object sent = kind.isArray() ? array(connection, kind, value, null) : value;
                PgjdbcClient.equal(one(connection, "SELECT ?::" + kind.name(), sent), value);
                int key = connection == text ? id : id + 1000;
                try (PreparedStatement insert =
                    connection.prepareStatement("INSERT INTO " + table + " SELECT ?, ?::" + kind.name())) {
                    insert.setInt(1, key);
                    insert.setObject(2, sent);
                    PgjdbcClient.equal(insert.executeUpdate(), 1);
                }
                PgjdbcClient.equal(same(kept + key, text, binary), value);
            }
            if (!kind.isArray()) {
                arrays(kind, kind.values().get(id), text, binary);
            }
        }
        for (Connection connection : List.of(text, binary)) {
            PgjdbcClient.equal(one(connection, "SELECT ?::" + kind.name(), (Object[]) null), null);
        }
        PgjdbcClient.run(text, "DROP TABLE " + table);
    }

    /** Beside NULL, in one dimension and in two. */
    static void arrays(Kind kind, String[] written, Connection text, Connection binary) throws SQLException {
        String[][] forms = {{"ARRAY[@, NULL, @]", "[]"}, {"ARRAY[ARRAY[@, NULL], ARRAY[NULL, @]]", "[][]"}};
        for (String[] form : forms) {
            String type = kind.name() + form[1];
            Object value = same("SELECT " + form[0].replace("@", kind.literal(written)) + "::" + type, text, binary);
            for (Connection connection : List.of(text, binary)) {
                Object sent = value instanceof String ? value : array(connection, kind, value, written[1]);
                PgjdbcClient.equal(one(connection, "SELECT ?::" + type, sent), value);
            }
        }
    }

    /** An array as a parameter, of a type that the client looks up. */
    static Array array(Connection connection, Kind kind, Object value, String text) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            ResultSet of = statement.executeQuery("SELECT NULL::" + kind.name().replace("[]", ""));
            return connection.createArrayOf(of.getMetaData().getColumnTypeName(1), (Object[]) within(value, text));
        }
    }

    /**
     * What goes into an array as its text: within arrays the client writes infinity as a year, takes no bytes in two
     * dimensions, and forgets the era of a day.
     */
    static Object within(Object value, String text) {
        if (value instanceof Object[] array) {
            return Arrays.stream(array).map(element -> within(element, text)).toArray();
        }
        boolean infinite = value instanceof java.util.Date date
            && (date.getTime() == PGStatement.DATE_POSITIVE_INFINITY || date.getTime() == PGStatement.DATE_NEGATIVE_INFINITY);
        if (text == null) {
            return infinite ? "infinity" : value;
        }
        return infinite || value instanceof Date || value instanceof byte[] ? text : value;
    }

    /** The value of a query, which is the same to both connections. */
    static Object same(String sql, Connection text, Connection binary) throws SQLException {
        Object value = one(text, sql);
        PgjdbcClient.equal(one(binary, sql), value);
        return value;
    }

    static Object one(Connection connection, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            if (values == null) {
                statement.setNull(1, Types.OTHER);
            } else if (values.length > 0) {
                statement.setObject(1, values[0]);
            }
            ResultSet found = statement.executeQuery();
            PgjdbcClient.equal(found.next(), true);
            // The client's own times differ by a day from one format to the other.
            Object value = found.getObject(1);
            boolean ofTimes = value instanceof Array array && array.getBaseType() == Types.TIME;
            if (ofTimes || value instanceof Time) {
                return found.getString(1);
            }
            return value instanceof Array array ? array.getArray() : value;
        }
    }
}
