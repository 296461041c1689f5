//! COPY over sockets and real sessions: as drivers do it, and message by message.

use std::pin::pin;

use super::raw::{RawClient, bind, describe, execute, message, parse, query, startup, sync, tags};
use super::served::Served;
use bytes::Bytes;
use futures::{SinkExt, StreamExt, TryStreamExt};
use tokio_postgres::Client;
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::types::{ToSql, Type};

async fn copied_in(client: &Client, sql: &str, pieces: &[&[u8]]) -> Result<u64, tokio_postgres::Error> {
    let mut sink = pin!(client.copy_in::<_, Bytes>(sql).await?);
    for piece in pieces {
        sink.send(Bytes::copy_from_slice(piece)).await?;
    }
    sink.finish().await
}

async fn copied_out(client: &Client, sql: &str) -> Result<String, tokio_postgres::Error> {
    let parts: Vec<Bytes> = client.copy_out(sql).await?.try_collect().await?;
    Ok(String::from_utf8(parts.concat()).unwrap())
}

async fn count(client: &Client, table: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0)
}

/// SQLSTATE, message and context of what a COPY fails with.
async fn refused(client: &Client, sql: &str, data: &str) -> (String, String, String) {
    let error = copied_in(client, sql, &[data.as_bytes()]).await.unwrap_err();
    let error = error.as_db_error().unwrap_or_else(|| panic!("{sql} {data:?}: {error}"));
    (error.code().code().to_string(), error.message().to_string(), error.where_().unwrap_or_default().to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_in_any_form_comes_in_again() {
    let server = Served::start().await;
    let client = server.client().await;
    let columns = "(i INT PRIMARY KEY, s SMALLINT, b BIGINT, f DOUBLE PRECISION, r REAL, n NUMERIC(12,3), t TEXT, \
                   y BYTEA, d DATE, ts TIMESTAMP, tz TIMESTAMPTZ, o BOOLEAN)";
    client.batch_execute(&format!("CREATE TABLE source {columns}; CREATE TABLE target {columns}")).await.unwrap();
    let rows = "INSERT INTO source VALUES
        (1, -2, 3000000000, 1.5, -0.25, 12.345, E'tab\\t line\\n return\\r \\\\ \"quoted\", \u{e4}', '\\x00ff', '2026-01-02',
         '2026-01-02 03:04:05.678901', '2026-01-02 03:04:05+02', true),
        (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        (3, 0, 0, 'NaN', 'Infinity', 0, '', '', '1970-01-01', '1970-01-01', '1970-01-01', false),
        (4, 1, 1, 1e300, 1e-30, -999999999.999, '\\N', '\\x5c', '0044-03-15', '9999-12-31 23:59:59.999999', '1999-01-01', true),
        (5, 1, 1, 1, 1, 1, '\\.', 'a', '2026-01-02', '2026-01-02', '2026-01-02', NULL)";
    client.batch_execute(rows).await.unwrap();
    for form in [
        "",
        "WITH (FORMAT csv)",
        "WITH (FORMAT csv, DELIMITER ';', QUOTE '|', ESCAPE '\\', NULL 'null', HEADER)",
        "(FORMAT binary)",
        "WITH DELIMITER AS '|' NULL AS 'x'",
        "CSV HEADER FORCE QUOTE t, y",
        "WITH (FORMAT text, HEADER, DELIMITER ',')",
    ] {
        let from = form.replace(" FORCE QUOTE t, y", "");
        let parts: Vec<Bytes> =
            client.copy_out(&format!("COPY source TO STDOUT {form}")).await.unwrap().try_collect().await.unwrap();
        let data = parts.concat();
        // In pieces of seven bytes: no message ends where a row does.
        let pieces: Vec<&[u8]> = data.chunks(7).collect();
        let sql = format!("COPY target FROM STDIN {from}");
        assert_eq!(copied_in(&client, &sql, &pieces).await.unwrap(), 5, "{form}");
        let differences = "SELECT count(*) FROM ((SELECT * FROM source EXCEPT SELECT * FROM target) UNION ALL \
                           (SELECT * FROM target EXCEPT SELECT * FROM source)) d";
        assert_eq!(client.query_one(differences, &[]).await.unwrap().get::<_, i64>(0), 0, "{form}");
        client.batch_execute("DELETE FROM target").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_leave_as_postgres_writes_them() {
    let server = Served::start().await;
    let client = server.client().await;
    client.batch_execute("CREATE TABLE t (a INT PRIMARY KEY, b TEXT, g AS a + 1)").await.unwrap();
    client.batch_execute("INSERT INTO t VALUES (1, E'x\\ty'), (2, NULL), (3, 'p,\"q\"'), (4, '')").await.unwrap();
    let ordered = "(SELECT a, b FROM t ORDER BY a)";
    assert_eq!(
        copied_out(&client, &format!("COPY {ordered} TO STDOUT")).await.unwrap(),
        "1\tx\\ty\n2\t\\N\n3\tp,\"q\"\n4\t\n"
    );
    assert_eq!(
        copied_out(&client, &format!("COPY {ordered} TO STDOUT WITH CSV HEADER")).await.unwrap(),
        "a,b\n1,x\ty\n2,\n3,\"p,\"\"q\"\"\"\n4,\"\"\n"
    );
    assert_eq!(
        copied_out(&client, &format!("COPY {ordered} TO STDOUT (FORMAT csv, FORCE_QUOTE *, NULL 'n')")).await.unwrap(),
        "\"1\",\"x\ty\"\n\"2\",n\n\"3\",\"p,\"\"q\"\"\"\n\"4\",\"\"\n"
    );
    // A generated column stays where it is, so that the data fits the table again.
    assert_eq!(copied_out(&client, "COPY t TO STDOUT").await.unwrap().lines().next().unwrap().split('\t').count(), 2);
    assert_eq!(copied_out(&client, "COPY t (b) TO STDOUT (NULL '')").await.unwrap().lines().count(), 4);
    assert_eq!(
        copied_out(&client, "COPY (INSERT INTO t VALUES (5, 'r') RETURNING a, g) TO STDOUT").await.unwrap(),
        "5\t6\n"
    );
    assert_eq!(
        copied_out(&client, "COPY (SELECT relname FROM pg_catalog.pg_class WHERE relname = 't') TO STDOUT")
            .await
            .unwrap(),
        "t\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_row_names_its_place_and_nothing_stays() {
    let server = Served::start().await;
    let client = server.client().await;
    client.batch_execute("CREATE TABLE t (a INT PRIMARY KEY, b INT NOT NULL, c TEXT)").await.unwrap();
    let cases = [
        ("", "1\t2\tx\n2\tq\tx\n", "22P02", "COPY t, line 2, column b: \"q\""),
        ("", "1\t2\tx\n2\t99999999999\tx\n", "22003", "COPY t, line 2, column b: \"99999999999\""),
        ("", "1\t2\tx\n\n", "22P02", "COPY t, line 2, column a: \"\""),
        ("", "1\t2\tx\n3\t4\n", "22P04", "COPY t, line 2: \"3\t4\""),
        ("", "1\t2\tx\ty\n", "22P04", "COPY t, line 1: \"1\t2\tx\ty\""),
        ("", "1\t2\tx\n3\t\\N\tx\n", "23502", "COPY t, line 2"),
        ("", "1\t2\tx\n2\t2\tx\n1\t2\tx\n", "23505", "COPY t, line 3"),
        ("", "1\t2\t\\xff\n", "22021", "COPY t, line 1, column c: \"\u{fffd}\""),
        ("CSV", "1,2,x\n\n", "22P04", "COPY t, line 2: \"\""),
        ("", "1\t2\tx\n1\t3\tx\n3\t3\tx\n", "23505", "COPY t, line 2"),
        ("", "1\t2\tx\n\n3\t3\tx\n", "22P02", "COPY t, line 2, column a: \"\""),
        ("CSV", "1,2,\"a\nb\"\n3,4,\"x\n", "22P04", "COPY t, line 3"),
        ("CSV", "1,,x\n2,3,x\n", "23502", "COPY t, line 1"),
        ("CSV HEADER", "1,2,3\n1,z,\n", "22P02", "COPY t, line 2, column b: \"z\""),
        ("(FORMAT csv, HEADER match)", "a,x,c\n", "22P04", "COPY t, line 1: \"a,x,c\""),
        ("(FORMAT binary)", "no binary data", "22P04", "COPY t, line 1"),
    ];
    for (form, data, sqlstate, place) in cases {
        let (code, message, context) = refused(&client, &format!("COPY t FROM STDIN {form}"), data).await;
        assert_eq!((code.as_str(), context.as_str()), (sqlstate, place), "{form} {data:?}: {message}");
        assert_eq!(count(&client, "t").await, 0, "{form} {data:?}");
    }
    let long = format!("1\t{}\tx\n", "9".repeat(200));
    let (_, _, context) = refused(&client, "COPY t FROM STDIN", &long).await;
    assert_eq!(context, format!("COPY t, line 1, column b: \"{}...\"", "9".repeat(100)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defaults_generated_columns_conflicts_and_late_rows_are_those_of_insert() {
    let server = Served::start().await;
    let client = server.client().await;
    client
        .batch_execute(
            "CREATE TABLE d (a INT PRIMARY KEY, b INT DEFAULT 7, c TEXT DEFAULT 'x', g AS a * 2);
             CREATE TABLE u (k INT PRIMARY KEY, v INT) ON CONFLICT DO UPDATE;
             CREATE TABLE w (v INT, ts TIMESTAMP, WATERMARK FOR ts AS ts)",
        )
        .await
        .unwrap();
    assert_eq!(copied_in(&client, "COPY d (c, a) FROM STDIN", &[b"p\t1\n\\N\t2\n"]).await.unwrap(), 2);
    let rows = client.query("SELECT a, b, c, g FROM d ORDER BY a", &[]).await.unwrap();
    let rows: Vec<(i32, i32, Option<&str>, i32)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
    assert_eq!(rows, [(1, 7, Some("p"), 2), (2, 7, None, 4)]);

    assert_eq!(copied_in(&client, "COPY u FROM STDIN", &[b"1\t1\n2\t2\n", b"1\t3\n"]).await.unwrap(), 3);
    assert_eq!(copied_out(&client, "COPY (SELECT * FROM u ORDER BY k) TO STDOUT").await.unwrap(), "1\t3\n2\t2\n");

    let mut raw = server.raw().await;
    raw.send(&query("COPY w FROM STDIN CSV")).await;
    assert_eq!(raw.next().await.unwrap().tag, 'G');
    let data = b"1,2026-01-01 00:00:10\n2,2026-01-01 00:00:05\n3,2026-01-01 00:00:20\n";
    raw.send(&[message('d', data), message('c', b"")].concat()).await;
    let replies = raw.until_ready().await;
    assert_eq!(tags(&replies), "NCZ");
    assert_eq!(replies[0].field('M'), "1 row was below the watermark of \"w\" and not inserted");
    assert_eq!(replies[1].body, b"COPY 3\0");
    assert_eq!(count(&client, "w").await, 2);
    assert_eq!(count(&client, "\"w$late\"").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_rows_travel_both_ways() {
    let server = Served::start().await;
    let client = server.client().await;
    client.batch_execute("CREATE TABLE t (a BIGINT, b TEXT, c DOUBLE PRECISION)").await.unwrap();
    let types = [Type::INT8, Type::TEXT, Type::FLOAT8];
    let sink = client.copy_in("COPY t FROM STDIN BINARY").await.unwrap();
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    for number in 0..1000_i64 {
        let text = (number % 3 != 0).then(|| format!("row {number}"));
        let values: [&(dyn ToSql + Sync); 3] = [&number, &text, &(number as f64 / 2.0)];
        writer.as_mut().write(&values).await.unwrap();
    }
    assert_eq!(writer.finish().await.unwrap(), 1000);
    let stream = client.copy_out("COPY (SELECT * FROM t ORDER BY a) TO STDOUT (FORMAT binary)").await.unwrap();
    let rows: Vec<_> = BinaryCopyOutStream::new(stream, &types).try_collect().await.unwrap();
    assert_eq!(rows.len(), 1000);
    for (number, row) in rows.iter().enumerate() {
        let text = (number % 3 != 0).then(|| format!("row {number}"));
        assert_eq!(
            (row.get::<i64>(0), row.get::<Option<String>>(1), row.get::<f64>(2)),
            (number as i64, text, number as f64 / 2.0)
        );
    }
    let stream = client.copy_out("COPY (SELECT * FROM t WHERE a < 0) TO STDOUT BINARY").await.unwrap();
    let rows: Vec<_> = BinaryCopyOutStream::new(stream, &types).try_collect().await.unwrap();
    assert!(rows.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_copy_in_both_protocols() {
    let server = Served::start().await;
    let mut raw = server.raw().await;
    raw.tags(&query("CREATE TABLE t (a INT PRIMARY KEY, b INT)")).await;
    let data = |bytes: &[u8]| message('d', bytes);
    let (done, fail) = (message('c', b""), message('f', b"no more\0"));
    let copy = query("COPY t FROM STDIN");

    // Simple: one ready at the end, and what follows runs.
    let all = [copy.clone(), data(b"1\t1\n2\t"), message('H', b""), sync(), data(b"2\n"), done.clone()].concat();
    assert_eq!(raw.tags(&all).await, "GCZ");
    // CopyFail is a failure of the statement.
    raw.send(&[copy.clone(), data(b"7\t7\n"), fail.clone()].concat()).await;
    let replies = raw.until_ready().await;
    assert_eq!(tags(&replies), "GEZ");
    assert_eq!(
        (replies[1].sqlstate(), replies[1].field('M')),
        ("57014".into(), "COPY from stdin failed: no more".into())
    );
    // Once it has failed, what is still under way is thrown away.
    let all = [copy.clone(), data(b"x\t1\n"), data(b"9\t9\n"), data(b"8\t8\n"), done.clone()].concat();
    assert_eq!(raw.tags(&all).await, "GEZ");
    assert_eq!(raw.tags(&query("SELECT a FROM t")).await, "TDDCZ");
    // Before CopyInResponse: no COPY begins, and its data is thrown away.
    let all = [query("COPY missing FROM STDIN"), data(b"1\n"), done.clone()].concat();
    assert_eq!(raw.tags(&all).await, "EZ");
    assert_eq!(raw.tags(&query("SELECT a FROM t")).await, "TDDCZ");
    // What is no message of a COPY ends it.
    raw.send(&[copy.clone(), data(b"7\t7\n"), query("SELECT 1")].concat()).await;
    let replies = raw.until_ready().await;
    assert_eq!((tags(&replies).as_str(), replies[1].sqlstate()), ("GEZ", "08P01".to_string()));

    // Extended: Sync within the COPY says nothing, the one behind it does.
    let prepared =
        [parse("c", "COPY t FROM STDIN"), describe('S', "c"), bind("", "c"), execute("", 0), sync()].concat();
    raw.send(&prepared).await;
    let mut begun = String::new();
    while !begun.ends_with('G') {
        begun.push(raw.next().await.unwrap().tag);
    }
    assert_eq!(begun, "1tn2G");
    assert_eq!(raw.tags(&[data(b"3\t3\n"), done.clone(), sync()].concat()).await, "CZ");
    // A failure skips everything up to the next Sync: the first one was read as part of the COPY.
    let all = [bind("", "c"), execute("", 0), data(b"3\t3\n"), done.clone(), execute("", 0), sync()].concat();
    assert_eq!(raw.tags(&all).await, "2GEZ");
    let out = [parse("", "COPY t TO STDOUT"), bind("", ""), describe('P', ""), execute("", 1), sync()].concat();
    assert_eq!(raw.tags(&out).await, "12nHdddcCZ");
    assert_eq!(raw.tags(&query("COPY t TO STDOUT CSV HEADER; SELECT 1")).await, "HddddcCTDCZ");
    // Rows that fail half-way end a COPY with an error and no CopyDone.
    let replies = raw.tags(&query("COPY (SELECT 1 / (3 - a) FROM t ORDER BY a) TO STDOUT")).await;
    assert!(replies.ends_with("EZ") && !replies.contains(['c', 'f']), "{replies}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_or_cancels_leaves_nothing() {
    let server = Served::start().await;
    let client = server.client().await;
    client.batch_execute("CREATE TABLE t (a INT)").await.unwrap();
    let mut raw = server.raw().await;
    raw.send(&[query("COPY t FROM STDIN"), message('d', b"1\n2\n")].concat()).await;
    assert_eq!(raw.next().await.unwrap().tag, 'G');
    drop(raw);

    let mut raw = RawClient::connect_to(server.address).await;
    raw.send(&startup()).await;
    let key = raw.until_ready().await.into_iter().find(|reply| reply.tag == 'K').unwrap().body;
    raw.send(&[query("COPY t FROM STDIN"), message('d', b"1\n2\n")].concat()).await;
    assert_eq!(raw.next().await.unwrap().tag, 'G');
    let cancel = [&80_877_102_i32.to_be_bytes()[..], &key].concat();
    let mut other = RawClient::connect_to(server.address).await;
    other.send(&super::raw::packet(&cancel)).await;
    assert!(other.until_closed().await.is_empty());
    let replies = raw.until_ready().await;
    assert_eq!((tags(&replies).as_str(), replies[0].sqlstate()), ("EZ", "57014".to_string()));
    // The client learns of it while it sends: that goes nowhere, and the next statement runs.
    assert_eq!(raw.tags(&[message('d', b"3\n"), message('c', b""), query("SELECT a FROM t")].concat()).await, "TCZ");
    assert_eq!(count(&client, "t").await, 0);

    // The other way: rows flow until the cancel.
    let token = client.cancel_token();
    let endless = "COPY (SELECT x FROM generate_series(1, 100000000) a(x)) TO STDOUT";
    let mut rows = pin!(client.copy_out(endless).await.unwrap());
    assert!(rows.next().await.unwrap().is_ok());
    token.cancel_query(tokio_postgres::NoTls).await.unwrap();
    let ended = loop {
        match rows.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error.code().map(|code| code.code().to_string()),
            None => break None,
        }
    };
    assert_eq!(ended.as_deref(), Some("57014"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_copied_is_refused_by_name() {
    let server = Served::start().await;
    let client = server.client().await;
    client.batch_execute("CREATE TABLE t (a INT, g AS a + 1); CREATE VIEW v AS SELECT a FROM t").await.unwrap();
    let cases = [
        ("COPY t FROM '/etc/passwd'", "0A000", "COPY from a file of the server's machine is not supported"),
        ("COPY t TO PROGRAM 'cat'", "0A000", "COPY to a program of the server's machine is not supported"),
        ("COPY t (a, a) FROM STDIN", "42701", "column \"a\" specified more than once"),
        ("COPY t (x) FROM STDIN", "42703", "column \"x\" of relation \"t\" does not exist"),
        ("COPY t (g) FROM STDIN", "42P10", "column \"g\" is a generated column"),
        ("COPY t (g) TO STDOUT", "42P10", "column \"g\" is a generated column"),
        ("COPY v TO STDOUT", "42809", "cannot copy from view \"v\""),
        ("COPY v FROM STDIN", "42809", "cannot copy to view \"v\""),
        ("COPY n FROM STDIN", "42P01", "relation \"n\" does not exist"),
        ("COPY t FROM STDIN WHERE a > 1", "0A000", "COPY FROM ... WHERE is not supported"),
        ("COPY t FROM STDIN (FORMAT xml)", "22023", "COPY format \"xml\" not recognized"),
        ("COPY t FROM STDIN (FORMT csv)", "42601", "option \"formt\" not recognized"),
        ("COPY t FROM STDIN (FORMAT csv, FORMAT csv)", "42601", "conflicting or redundant options"),
        ("COPY t FROM STDIN (DELIMITER ',,')", "0A000", "COPY delimiter must be a single one-byte character"),
        ("COPY t FROM STDIN (DELIMITER 'a')", "22023", "COPY delimiter cannot be \"a\""),
        ("COPY t FROM STDIN (QUOTE '|')", "0A000", "COPY quote available only in CSV mode"),
        ("COPY t FROM STDIN (FORMAT binary, DELIMITER ',')", "42601", "cannot specify DELIMITER in BINARY mode"),
        ("COPY t FROM STDIN CSV FORCE QUOTE a", "0A000", "COPY force quote only available using COPY TO"),
        ("COPY t TO STDOUT CSV FORCE NULL a", "0A000", "COPY force null only available using COPY FROM"),
        ("COPY t TO STDOUT CSV FORCE QUOTE z", "42P10", "FORCE_QUOTE column \"z\" not referenced by COPY"),
        ("COPY t FROM STDIN (ENCODING 'LATIN1')", "0A000", "COPY in the encoding \"LATIN1\" is not supported"),
        ("COPY (DELETE FROM t) TO STDOUT", "0A000", "COPY query must have a RETURNING clause"),
        ("COPY (SELECT $1::int) TO STDOUT", "42P02", "there is no parameter $1"),
        ("COPY (SHOW TABLES) TO STDOUT", "42601", "COPY takes a query, or a change with RETURNING"),
        ("COPY (SELECT 1) FROM STDIN", "42601", "syntax error at or near \"FROM\""),
    ];
    for (sql, sqlstate, text) in cases {
        let error = client.simple_query(sql).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!((error.code().code(), error.message()), (sqlstate, text), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_see_how_far_a_copy_is() {
    let server = Served::start().await;
    let (copier, other) = (server.client().await, server.client().await);
    copier.batch_execute("CREATE TABLE t (id INT PRIMARY KEY, x TEXT)").await.unwrap();
    let progress = "SELECT p.pid = a.pid, c.relname, p.command, p.type, p.bytes_processed, p.bytes_total,
            p.tuples_processed, p.tuples_excluded, p.datname
        FROM pg_stat_progress_copy p JOIN pg_stat_activity a ON p.pid = a.pid AND a.state = 'active'
        LEFT JOIN pg_class c ON c.oid = p.relid";
    assert!(other.query(progress, &[]).await.unwrap().is_empty());

    let mut sink = pin!(copier.copy_in::<_, Bytes>("COPY t FROM STDIN").await.unwrap());
    let line = |id: i32| format!("{id}\t{}\n", "x".repeat(1_000));
    // More than one batch, so that the rows of the first are seen.
    let data: String = (0..20_000).map(line).collect();
    sink.send(Bytes::from(data.clone())).await.unwrap();
    let row = until(&other, progress, |row| row.get::<_, i64>(6) > 0).await;
    assert!(row.get::<_, bool>(0));
    let texts: Vec<&str> = [1, 2, 3, 8].iter().map(|column| row.get(*column)).collect();
    assert_eq!(texts, ["t", "COPY FROM", "PIPE", "db"]);
    let (bytes, rows) = (row.get::<_, i64>(4), row.get::<_, i64>(6));
    assert!(0 < bytes && bytes <= data.len() as i64, "{bytes} bytes");
    assert!(rows <= 20_000, "{rows} rows");
    assert_eq!((row.get::<_, i64>(5), row.get::<_, i64>(7)), (0, 0));
    until(&other, progress, |row| row.get::<_, i64>(4) == data.len() as i64).await;
    sink.finish().await.unwrap();
    assert!(other.query(progress, &[]).await.unwrap().is_empty());

    // The client takes one piece and waits: the server waits, too, and tells how far it is.
    let mut stream = pin!(copier.copy_out("COPY t TO STDOUT").await.unwrap());
    let first = stream.next().await.unwrap().unwrap();
    assert!(data.contains(std::str::from_utf8(&first).unwrap()));
    let row = until(&other, progress, |row| row.get::<_, i64>(6) > 0).await;
    assert_eq!((row.get::<_, &str>(1), row.get::<_, &str>(2)), ("t", "COPY TO"));
    assert!(row.get::<_, i64>(4) > row.get::<_, i64>(6) * 1_000);
    let rest: Vec<Bytes> = stream.try_collect().await.unwrap();
    assert_eq!(rest.iter().map(|part| part.len()).sum::<usize>() + first.len(), data.len());

    // A query has no relation.
    let mut stream = pin!(copier.copy_out("COPY (SELECT * FROM t) TO STDOUT").await.unwrap());
    stream.next().await.unwrap().unwrap();
    let row = until(&other, progress, |row| row.get::<_, i64>(6) > 0).await;
    assert_eq!((row.get::<_, Option<&str>>(1), row.get::<_, &str>(2)), (None, "COPY TO"));
    // What others do is theirs.
    other.batch_execute("CREATE ROLE stranger; SET ROLE stranger").await.unwrap();
    let row = other.query_one("SELECT datname, command FROM pg_stat_progress_copy", &[]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, Option<&str>>(1)), ("db", None));
}

/// Asks until the one row is as wanted.
async fn until(client: &Client, sql: &str, wanted: impl Fn(&tokio_postgres::Row) -> bool) -> tokio_postgres::Row {
    loop {
        let row = client.query_opt(sql, &[]).await.unwrap();
        if let Some(row) = row.filter(|row| wanted(row)) {
            return row;
        }
        tokio::task::yield_now().await;
    }
}
