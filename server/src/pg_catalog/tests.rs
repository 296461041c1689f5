//! The statements of psql 15 (as `psql -E` prints them) and of drivers over a small catalog, and what they get.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use millstream_planner::catalog::{Catalog, QualifiedName, Relation, RelationKind, TableDefinition, ViewDefinition};
use millstream_planner::error::TextPosition;
use millstream_planner::settings::PlanSettings;
use millstream_planner::statement::{OnConflict, StatementText};
use millstream_planner::values::Shown;
use millstream_runtime::plan::{Changes, InputRelation, RelationId};

use super::{CatalogQuery, CatalogView, RelationSize, RoleRow, Sizes, objects};
use crate::session::settings::Settings;
use crate::wire::values::ColumnType;

fn relation(id: u32, name: &str, fields: Vec<Field>, kind: RelationKind, sql: &str) -> Relation {
    Relation {
        id: RelationId(id),
        oid: 16_384 + id,
        name: QualifiedName { schema: "public".into(), name: name.into() },
        shown: fields.iter().map(|field| Shown::of_cast(field.data_type())).collect(),
        schema: Arc::new(Schema::new(fields)),
        generated_sql: Vec::new(),
        kind,
        depends_on: Vec::new(),
        names: Default::default(),
        sql: sql.into(),
        settings: PlanSettings::default(),
        access: Default::default(),
    }
}

fn catalog() -> Catalog {
    let mut catalog = objects::empty_catalog();
    let fields = vec![
        Field::new("id", DataType::Int32, false),
        Field::new("v", DataType::Utf8, true),
        Field::new("n", DataType::Decimal128(12, 2), true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ];
    let input = InputRelation {
        id: RelationId(1),
        name: "public.t".into(),
        schema: Arc::new(Schema::new(fields.clone())),
        physical_columns: 4,
        generated: Vec::new(),
        watermark: None,
        changes: Changes::Retract,
        primary_key: vec![0],
        text_lengths: Vec::new(),
        second_digits: Vec::new(),
    };
    let defaults = vec![None, Some("'x'".into()), None, None];
    let table = TableDefinition { input, defaults, on_conflict: OnConflict::Error, append_only: false };
    catalog.put(relation(1, "t", fields, RelationKind::Table(table), "CREATE TABLE t (...)"));
    let columns = vec![Field::new("v", DataType::Utf8, true), Field::new("n", DataType::Int64, true)];
    let view = RelationKind::View { query: "SELECT v, id AS n FROM t".into() };
    catalog.put(relation(2, "vv", columns.clone(), view, "CREATE VIEW vv AS SELECT v, id AS n FROM t"));
    let definition = ViewDefinition { changes: Changes::Retract, event_time: None, key: Vec::new() };
    let sql = "CREATE MATERIALIZED VIEW mv AS SELECT v, count(*) AS n FROM t GROUP BY v";
    catalog.put(relation(3, "mv", columns, RelationKind::MaterializedView(definition), sql));
    catalog
}

fn view() -> CatalogView {
    CatalogView {
        catalog: Arc::new(catalog()),
        user: "me".into(),
        session_user: "me".into(),
        database: "db".into(),
        search_path: vec!["public".into()],
        settings: Settings::default().all(),
        process_id: 7,
        version: "PostgreSQL 15.0 (Millstream)".into(),
        roles: vec![RoleRow::only("me")],
        sizes: Sizes::new(|oid| {
            let orders = vec![(vec![0], 3 << 10), (vec![1], 1 << 10)];
            (oid == 16_385).then_some(RelationSize { rows: 20 << 10, orders })
        }),
        ..CatalogView::default()
    }
}

fn text(sql: &str) -> StatementText {
    StatementText { sql: sql.into(), start: TextPosition(1) }
}

/// Column names, then one line per row, with `|` between values and NULL as nothing.
async fn answer_with(sql: &str, parameters: Vec<ScalarValue>) -> Vec<String> {
    let mut query = CatalogQuery::recognize(&text(sql), &[]).unwrap_or_else(|| panic!("not a catalog query: {sql}"));
    let plan = query.plan(view()).unwrap_or_else(|error| panic!("{}\n{sql}", error.message));
    let answer = query.run(view(), &parameters, &[], Arc::default());
    let batch = answer.unwrap_or_else(|error| panic!("{}\n{sql}", error.message)).rows;
    let names: Vec<&str> = plan.columns.fields().iter().map(|field| field.name().as_str()).collect();
    let mut lines = vec![names.join("|")];
    assert_eq!(batch.schema(), plan.columns, "{sql}");
    lines.extend((0..batch.num_rows()).map(|row| line(&batch, row)));
    lines
}

/// The columns of an answer as they are shown: what is shown by name has it beside the number.
pub(crate) fn shown_columns(batch: &RecordBatch) -> Vec<ArrayRef> {
    let columns = batch.columns().iter().zip(batch.schema_ref().fields());
    let shown = columns.map(|(column, field)| {
        let is_registry = ColumnType::of_field(field).is_ok_and(|known| known.kind().is_registry());
        Arc::clone(if is_registry { column.as_struct().column(1) } else { column })
    });
    shown.collect()
}

fn line(batch: &RecordBatch, row: usize) -> String {
    let options = FormatOptions::default();
    let values = shown_columns(batch)
        .into_iter()
        .map(|column| ArrayFormatter::try_new(&column, &options).unwrap().value(row).to_string());
    values.collect::<Vec<_>>().join("|")
}

async fn answer(sql: &str) -> Vec<String> {
    answer_with(sql, Vec::new()).await
}

const LIST_HEAD: &str = r#"SELECT n.nspname as "Schema",
  c.relname as "Name",
  CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'i' THEN 'index' WHEN 'S' THEN 'sequence' WHEN 't' THEN 'TOAST table' WHEN 'f' THEN 'foreign table' WHEN 'p' THEN 'partitioned table' WHEN 'I' THEN 'partitioned index' END as "Type",
  pg_catalog.pg_get_userbyid(c.relowner) as "Owner"
FROM pg_catalog.pg_class c
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
"#;

const LIST_TAIL: &str = "
      AND n.nspname <> 'pg_catalog'
      AND n.nspname !~ '^pg_toast'
      AND n.nspname <> 'information_schema'
  AND pg_catalog.pg_table_is_visible(c.oid)
ORDER BY 1,2;";

#[tokio::test]
async fn lists_of_relations() {
    let table = "public|t|table|me";
    let view = "public|vv|view|me";
    let materialized = "public|mv|materialized view|me";
    for (kinds, expected) in [
        ("'r','p','v','m','S','f',''", vec![materialized, table, view]),
        ("'r','p',''", vec![table]),
        ("'v',''", vec![view]),
        ("'m',''", vec![materialized]),
        ("'S',''", vec![]),
    ] {
        let lines = answer(&format!("{LIST_HEAD}WHERE c.relkind IN ({kinds}){LIST_TAIL}")).await;
        assert_eq!(lines[0], "Schema|Name|Type|Owner");
        assert_eq!(lines[1..], expected);
    }
    // \dt public.*
    let pattern = "WHERE c.relkind IN ('r','p','t','s','')
  AND n.nspname OPERATOR(pg_catalog.~) '^(public)$' COLLATE pg_catalog.default
ORDER BY 1,2;";
    assert_eq!(answer(&format!("{LIST_HEAD}{pattern}")).await[1..], [table]);
    // \di
    let indexes = LIST_HEAD.replace("as \"Owner\"", "as \"Owner\",\n  c2.relname as \"Table\"")
        + "     LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
     LEFT JOIN pg_catalog.pg_class c2 ON i.indrelid = c2.oid
WHERE c.relkind IN ('i','I','')"
        + LIST_TAIL;
    assert_eq!(answer(&indexes).await[1..], ["public|t_pkey|index|me|t"]);
    // \dt+
    let sizes = LIST_HEAD.replace(
        "as \"Owner\"",
        "as \"Owner\",
  CASE c.relpersistence WHEN 'p' THEN 'permanent' WHEN 't' THEN 'temporary' WHEN 'u' THEN 'unlogged' END as \"Persistence\",
  am.amname as \"Access method\",
  pg_catalog.pg_size_pretty(pg_catalog.pg_table_size(c.oid)) as \"Size\",
  pg_catalog.obj_description(c.oid, 'pg_class') as \"Description\"",
    ) + "WHERE c.relkind IN ('r','p','')"
        + LIST_TAIL;
    assert_eq!(answer(&sizes).await[1..], ["public|t|table|me|permanent|heap|20 kB|"]);
    let sums = "SELECT pg_relation_size('t'), pg_relation_size('t', 'vm'), pg_table_size('t'), pg_indexes_size('t'), \
                pg_total_relation_size('t'), pg_relation_size('t_pkey'), pg_total_relation_size('mv'), \
                pg_database_size('db'), pg_tablespace_size('pg_global')";
    assert_eq!(answer(sums).await[1], "20480|0|20480|4096|24576|3072|0|24576|0");
    // \dS also shows what is the server's own.
    let system = format!(
        "{LIST_HEAD}WHERE c.relkind IN ('r','p','t','v','m','S','s','f','')\n  AND pg_catalog.pg_table_is_visible(c.oid)\nORDER BY 1,2;"
    );
    assert!(answer(&system).await.contains(&"pg_catalog|pg_class|table|me".to_owned()));
}

#[tokio::test]
async fn schemas_databases_and_roles() {
    let lines = answer(
        r#"SELECT n.nspname AS "Name",
  pg_catalog.pg_get_userbyid(n.nspowner) AS "Owner"
FROM pg_catalog.pg_namespace n
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1;"#,
    );
    assert_eq!(lines.await, ["Name|Owner", "public|me"]);
    let lines = answer(
        r#"SELECT n.nspname AS "Name",
  pg_catalog.pg_get_userbyid(n.nspowner) AS "Owner",
  pg_catalog.array_to_string(n.nspacl, E'\n') AS "Access privileges",
  pg_catalog.obj_description(n.oid, 'pg_namespace') AS "Description"
FROM pg_catalog.pg_namespace n
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1;"#,
    );
    assert_eq!(lines.await[1..], ["public|me|millstream=UC/millstream\n=U/millstream|"]);
    let lines = answer(
        r#"SELECT d.datname as "Name",
       pg_catalog.pg_get_userbyid(d.datdba) as "Owner",
       pg_catalog.pg_encoding_to_char(d.encoding) as "Encoding",
       d.datcollate as "Collate",
       d.datctype as "Ctype",
       d.daticulocale as "ICU Locale",
       CASE d.datlocprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' END AS "Locale Provider",
       pg_catalog.array_to_string(d.datacl, E'\n') AS "Access privileges"
FROM pg_catalog.pg_database d
ORDER BY 1;"#,
    );
    assert_eq!(lines.await[1..], ["db|me|UTF8|C.UTF-8|C.UTF-8||libc|"]);
    let lines = answer(
        r#"SELECT d.datname as "Name",
       CASE WHEN pg_catalog.has_database_privilege(d.datname, 'CONNECT')
            THEN pg_catalog.pg_size_pretty(pg_catalog.pg_database_size(d.datname))
            ELSE 'No Access'
       END as "Size",
       t.spcname as "Tablespace",
       pg_catalog.shobj_description(d.oid, 'pg_database') as "Description"
FROM pg_catalog.pg_database d
  JOIN pg_catalog.pg_tablespace t on d.dattablespace = t.oid
ORDER BY 1;"#,
    );
    assert_eq!(lines.await[1..], ["db|24 kB|pg_default|"]);
    let lines = answer(
        "SELECT r.rolname, r.rolsuper, r.rolinherit,
  r.rolcreaterole, r.rolcreatedb, r.rolcanlogin,
  r.rolconnlimit, r.rolvaliduntil,
  ARRAY(SELECT b.rolname
        FROM pg_catalog.pg_auth_members m
        JOIN pg_catalog.pg_roles b ON (m.roleid = b.oid)
        WHERE m.member = r.oid) as memberof
, r.rolreplication
, r.rolbypassrls
FROM pg_catalog.pg_roles r
WHERE r.rolname !~ '^pg_'
ORDER BY 1;",
    );
    assert_eq!(lines.await[1..], ["me|true|true|true|true|true|-1||[]|false|true"]);
}

fn by_name(pattern: &str) -> String {
    format!(
        "SELECT c.oid,
  n.nspname,
  c.relname
FROM pg_catalog.pg_class c
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname OPERATOR(pg_catalog.~) '^({pattern})$' COLLATE pg_catalog.default
  AND pg_catalog.pg_table_is_visible(c.oid)
ORDER BY 2, 3;"
    )
}

#[tokio::test]
async fn a_relation_is_found_by_name() {
    assert_eq!(answer(&by_name("t")).await, ["oid|nspname|relname", "16385|public|t"]);
    assert_eq!(answer(&by_name("mv")).await[1..], ["16387|public|mv"]);
    assert_eq!(answer(&by_name("t_pkey")).await[1..], ["1073758209|public|t_pkey"]);
    assert_eq!(answer(&by_name("pg_class")).await[1..], ["1259|pg_catalog|pg_class"]);
    assert_eq!(answer(&by_name("nothing")).await.len(), 1);
}

#[tokio::test]
async fn the_parts_of_a_description() {
    let lines = answer(
        "SELECT c.relchecks, c.relkind, c.relhasindex, c.relhasrules, c.relhastriggers, c.relrowsecurity, c.relforcerowsecurity, false AS relhasoids, c.relispartition, '', c.reltablespace, CASE WHEN c.reloftype = 0 THEN '' ELSE c.reloftype::pg_catalog.regtype::pg_catalog.text END, c.relpersistence, c.relreplident, am.amname
FROM pg_catalog.pg_class c
 LEFT JOIN pg_catalog.pg_class tc ON (c.reltoastrelid = tc.oid)
LEFT JOIN pg_catalog.pg_am am ON (c.relam = am.oid)
WHERE c.oid = '16385';",
    )
    .await;
    assert_eq!(
        lines[0],
        "relchecks|relkind|relhasindex|relhasrules|relhastriggers|relrowsecurity|relforcerowsecurity|relhasoids|relispartition|?column?|reltablespace|reloftype|relpersistence|relreplident|amname"
    );
    assert_eq!(lines[1..], ["0|r|true|false|false|false|false|false|false||0||p|d|heap"]);
    // As \d+ asks.
    let lines = answer(
        "SELECT c.relchecks, c.relkind, c.relhasindex, c.relhasrules, c.relhastriggers, c.relrowsecurity, c.relforcerowsecurity, false AS relhasoids, c.relispartition, pg_catalog.array_to_string(c.reloptions || array(select 'toast.' || x from pg_catalog.unnest(tc.reloptions) x), ', ')
, c.reltablespace, CASE WHEN c.reloftype = 0 THEN '' ELSE c.reloftype::pg_catalog.regtype::pg_catalog.text END, c.relpersistence, c.relreplident, am.amname
FROM pg_catalog.pg_class c
 LEFT JOIN pg_catalog.pg_class tc ON (c.reltoastrelid = tc.oid)
LEFT JOIN pg_catalog.pg_am am ON (c.relam = am.oid)
WHERE c.oid = '16387';",
    )
    .await;
    assert_eq!(lines[1..], ["0|m|false|true|false|false|false|false|false||0||p|d|heap"]);
    let columns = "SELECT a.attname,
  pg_catalog.format_type(a.atttypid, a.atttypmod),
  (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true)
   FROM pg_catalog.pg_attrdef d
   WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef),
  a.attnotnull,
  (SELECT c.collname FROM pg_catalog.pg_collation c, pg_catalog.pg_type t
   WHERE c.oid = a.attcollation AND t.oid = a.atttypid AND a.attcollation <> t.typcollation) AS attcollation,
  a.attidentity,
  a.attgenerated
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = '16385' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;";
    assert_eq!(
        answer(columns).await,
        [
            "attname|format_type|pg_get_expr|attnotnull|attcollation|attidentity|attgenerated",
            "id|integer||true|||",
            "v|text|'x'::text|false|||",
            "n|numeric(12,2)||false|||",
            "ts|timestamp with time zone||false|||",
        ]
    );
    let indexes = "SELECT c2.relname, i.indisprimary, i.indisunique, i.indisclustered, i.indisvalid, pg_catalog.pg_get_indexdef(i.indexrelid, 0, true),
  pg_catalog.pg_get_constraintdef(con.oid, true), contype, condeferrable, condeferred, i.indisreplident, c2.reltablespace
FROM pg_catalog.pg_class c, pg_catalog.pg_class c2, pg_catalog.pg_index i
  LEFT JOIN pg_catalog.pg_constraint con ON (conrelid = i.indrelid AND conindid = i.indexrelid AND contype IN ('p','u','x'))
WHERE c.oid = '16385' AND c.oid = i.indrelid AND i.indexrelid = c2.oid
ORDER BY i.indisprimary DESC, c2.relname;";
    assert_eq!(
        answer(indexes).await[1..],
        [
            "t_pkey|true|true|false|true|CREATE UNIQUE INDEX t_pkey ON t USING btree (id)|PRIMARY KEY (id)|p|false|false|false|0"
        ]
    );
    assert_eq!(
        answer("SELECT pg_catalog.pg_get_viewdef('16387'::pg_catalog.oid, true);").await,
        ["pg_get_viewdef", " SELECT v, count(*) AS n FROM t GROUP BY v;"]
    );
}

#[tokio::test]
async fn what_is_never_there_is_an_empty_answer() {
    for sql in [
        "SELECT pol.polname, pol.polpermissive,
  CASE WHEN pol.polroles = '{0}' THEN NULL ELSE pg_catalog.array_to_string(array(select rolname from pg_catalog.pg_roles where oid = any (pol.polroles) order by 1),',') END,
  pg_catalog.pg_get_expr(pol.polqual, pol.polrelid),
  pg_catalog.pg_get_expr(pol.polwithcheck, pol.polrelid),
  CASE pol.polcmd
    WHEN 'r' THEN 'SELECT'
    WHEN 'a' THEN 'INSERT'
    WHEN 'w' THEN 'UPDATE'
    WHEN 'd' THEN 'DELETE'
    END AS cmd
FROM pg_catalog.pg_policy pol
WHERE pol.polrelid = '16385' ORDER BY 1;",
        "SELECT oid, stxrelid::pg_catalog.regclass, stxnamespace::pg_catalog.regnamespace::pg_catalog.text AS nsp, stxname,
pg_catalog.pg_get_statisticsobjdef_columns(oid) AS columns,
  'd' = any(stxkind) AS ndist_enabled,
  'f' = any(stxkind) AS deps_enabled,
  'm' = any(stxkind) AS mcv_enabled,
stxstattarget
FROM pg_catalog.pg_statistic_ext
WHERE stxrelid = '16385'
ORDER BY nsp, stxname;",
        "SELECT pubname
     , NULL
     , NULL
FROM pg_catalog.pg_publication p
     JOIN pg_catalog.pg_publication_namespace pn ON p.oid = pn.pnpubid
     JOIN pg_catalog.pg_class pc ON pc.relnamespace = pn.pnnspid
WHERE pc.oid ='16385' and pg_catalog.pg_relation_is_publishable('16385')
UNION
SELECT pubname
     , pg_get_expr(pr.prqual, c.oid)
     , (CASE WHEN pr.prattrs IS NOT NULL THEN
         (SELECT string_agg(attname, ', ')
           FROM pg_catalog.generate_series(0, pg_catalog.array_upper(pr.prattrs::pg_catalog.int2[], 1)) s,
                pg_catalog.pg_attribute
          WHERE attrelid = pr.prrelid AND attnum = prattrs[s])
        ELSE NULL END) FROM pg_catalog.pg_publication p
     JOIN pg_catalog.pg_publication_rel pr ON p.oid = pr.prpubid
     JOIN pg_catalog.pg_class c ON c.oid = pr.prrelid
WHERE pr.prrelid = '16385'
UNION
SELECT pubname
     , NULL
     , NULL
FROM pg_catalog.pg_publication p
WHERE p.puballtables AND pg_catalog.pg_relation_is_publishable('16385')
ORDER BY 1;",
        "SELECT c.oid::pg_catalog.regclass
FROM pg_catalog.pg_class c, pg_catalog.pg_inherits i
WHERE c.oid = i.inhparent AND i.inhrelid = '16385'
  AND c.relkind != 'p' AND c.relkind != 'I'
ORDER BY inhseqno;",
        "SELECT c.oid::pg_catalog.regclass, c.relkind, inhdetachpending, pg_catalog.pg_get_expr(c.relpartbound, c.oid)
FROM pg_catalog.pg_class c, pg_catalog.pg_inherits i
WHERE c.oid = i.inhrelid AND i.inhparent = '16385'
ORDER BY pg_catalog.pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT', c.oid::pg_catalog.regclass::pg_catalog.text;",
        "SELECT r.rulename, trim(trailing ';' from pg_catalog.pg_get_ruledef(r.oid, true))
FROM pg_catalog.pg_rewrite r
WHERE r.ev_class = '16386' AND r.rulename != '_RETURN' ORDER BY 1;",
        "SELECT e.extname AS \"Name\", e.extversion AS \"Version\", n.nspname AS \"Schema\", c.description AS \"Description\"
FROM pg_catalog.pg_extension e LEFT JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace LEFT JOIN pg_catalog.pg_description c ON c.objoid = e.oid AND c.classoid = 'pg_catalog.pg_extension'::pg_catalog.regclass
ORDER BY 1;",
        "SELECT n.nspname as \"Schema\",
  p.proname as \"Name\",
  pg_catalog.pg_get_function_result(p.oid) as \"Result data type\",
  pg_catalog.pg_get_function_arguments(p.oid) as \"Argument data types\",
 CASE p.prokind
  WHEN 'a' THEN 'agg'
  WHEN 'w' THEN 'window'
  WHEN 'p' THEN 'proc'
  ELSE 'func'
 END as \"Type\"
FROM pg_catalog.pg_proc p
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE pg_catalog.pg_function_is_visible(p.oid)
      AND n.nspname <> 'pg_catalog'
      AND n.nspname <> 'information_schema'
ORDER BY 1, 2, 4;",
        "SELECT n.nspname as \"Schema\",
  pg_catalog.format_type(t.oid, NULL) AS \"Name\",
  pg_catalog.obj_description(t.oid, 'pg_type') as \"Description\"
FROM pg_catalog.pg_type t
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE (t.typrelid = 0 OR (SELECT c.relkind = 'c' FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid))
  AND NOT EXISTS(SELECT 1 FROM pg_catalog.pg_type el WHERE el.oid = t.typelem AND el.typarray = t.oid)
      AND n.nspname <> 'pg_catalog'
      AND n.nspname <> 'information_schema'
  AND pg_catalog.pg_type_is_visible(t.oid)
ORDER BY 1, 2;",
    ] {
        assert_eq!(answer(sql).await.len(), 1, "{sql}");
    }
}

#[tokio::test]
async fn statements_of_drivers() {
    for (sql, expected) in [
        ("SELECT version()", vec!["version", "PostgreSQL 15.0 (Millstream)"]),
        ("select pg_catalog.version()", vec!["version", "PostgreSQL 15.0 (Millstream)"]),
        ("select current_schema()", vec!["current_schema", "public"]),
        ("SELECT current_database(), current_user", vec!["current_database|current_user", "db|me"]),
        ("SELECT pg_backend_pid()", vec!["pg_backend_pid", "7"]),
        ("SELECT pg_is_in_recovery()", vec!["pg_is_in_recovery", "false"]),
        ("SELECT setting FROM pg_settings WHERE setting = current_setting('timezone')", vec!["setting", "UTC"]),
        ("SELECT name, setting FROM pg_settings WHERE name = 'TimeZone'", vec!["name|setting", "TimeZone|UTC"]),
        ("SELECT 't'::regclass::oid", vec!["oid", "16385"]),
        ("SELECT oid::regclass FROM pg_class WHERE relname = 't'", vec!["oid", "t"]),
        (
            "SELECT attname, attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum = 1",
            vec!["attname|attname", "id|id"],
        ),
        ("SELECT nspname FROM pg_namespace WHERE oid = 2200", vec!["nspname", "public"]),
        (
            "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'public' ORDER BY table_name",
            vec!["table_name|table_type", "mv|MATERIALIZED VIEW", "t|BASE TABLE", "vv|VIEW"],
        ),
        (
            "SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns WHERE table_name = 't' ORDER BY ordinal_position",
            vec![
                "column_name|data_type|is_nullable|column_default",
                "id|integer|NO|",
                "v|text|YES|'x'::text",
                "n|numeric|YES|",
                "ts|timestamp with time zone|YES|",
            ],
        ),
        (
            "SELECT kc.column_name FROM information_schema.table_constraints tc JOIN information_schema.key_column_usage kc USING (constraint_name) WHERE tc.constraint_type = 'PRIMARY KEY'",
            vec!["column_name", "id"],
        ),
        (
            "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) WHERE i.indrelid = 't'::regclass AND i.indisprimary",
            vec!["attname", "id"],
        ),
        ("SELECT count(*) FROM pg_policy", vec!["count", "0"]),
        ("WITH c AS (SELECT relname FROM pg_class WHERE relkind = 'm') SELECT * FROM c", vec!["relname", "mv"]),
        ("SELECT schemaname, matviewname FROM pg_matviews", vec!["schemaname|matviewname", "public|mv"]),
        ("SELECT typname FROM pg_type WHERE oid = 23", vec!["typname", "int4"]),
        ("SELECT 1 AS a, pg_backend_pid() AS a", vec!["a|a", "1|7"]),
    ] {
        assert_eq!(answer(sql).await, expected, "{sql}");
    }
    let lines = answer_with("SELECT typname FROM pg_type WHERE oid = $1", vec![ScalarValue::Int64(Some(25))]).await;
    assert_eq!(lines, ["typname", "text"]);
}

#[tokio::test]
async fn tab_completion() {
    for (sql, expected) in [
        (
            "SELECT c.relname, NULL::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'S', 'v', 'm', 'f', 'p') AND (c.relname) LIKE '%' AND pg_catalog.pg_table_is_visible(c.oid) AND c.relnamespace <> (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'pg_catalog')
UNION ALL
SELECT NULL::pg_catalog.text, n.nspname FROM pg_catalog.pg_namespace n WHERE n.nspname LIKE '%' AND n.nspname NOT LIKE E'pg\\\\_%'
LIMIT 1000",
            vec!["relname|text", "mv|", "t|", "vv|", "|information_schema", "|public"],
        ),
        (
            "SELECT c.relname, n.nspname FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'S', 'v', 'm', 'f', 'p') AND (c.relname) LIKE 'm%' AND n.nspname = 'public'
LIMIT 1000",
            vec!["relname|nspname", "mv|public"],
        ),
        (
            "SELECT a.attname, NULL::pg_catalog.text FROM pg_catalog.pg_attribute a, pg_catalog.pg_class c WHERE c.oid = a.attrelid and a.attnum > 0 and not a.attisdropped AND (a.attname) LIKE '%' AND c.relname = 'vv' AND pg_catalog.pg_table_is_visible(c.oid)
LIMIT 1000",
            vec!["attname|text", "n|", "v|"],
        ),
        (
            "SELECT pg_catalog.lower(name) FROM pg_catalog.pg_settings  WHERE context IN ('user', 'superuser')    AND pg_catalog.lower(name) LIKE pg_catalog.lower('time%')
LIMIT 1000",
            vec!["lower", "timezone"],
        ),
    ] {
        let mut lines = answer(sql).await;
        let head = lines.remove(0);
        lines.sort_by_key(|line| (line.starts_with('|'), line.clone()));
        lines.insert(0, head);
        assert_eq!(lines, expected, "{sql}");
    }
}

#[tokio::test]
async fn drivers_look_relations_up() {
    // pgjdbc, getTables.
    let tables = "SELECT current_database() AS \"TABLE_CAT\", n.nspname AS \"TABLE_SCHEM\", c.relname AS \"TABLE_NAME\",
 CASE n.nspname ~ '^pg_' OR n.nspname = 'information_schema'
 WHEN true THEN CASE WHEN n.nspname = 'pg_catalog' OR n.nspname = 'information_schema'
  THEN CASE c.relkind WHEN 'r' THEN 'SYSTEM TABLE' WHEN 'v' THEN 'SYSTEM VIEW' ELSE NULL END ELSE NULL END
 WHEN false THEN CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE NULL END
 ELSE NULL END AS \"TABLE_TYPE\", d.description AS \"REMARKS\", '' as \"TYPE_CAT\", '' as \"TYPE_SCHEM\"
 FROM pg_catalog.pg_namespace n, pg_catalog.pg_class c
 LEFT JOIN pg_catalog.pg_description d ON (c.oid = d.objoid AND d.objsubid = 0 and d.classoid = 'pg_class'::regclass)
 WHERE c.relnamespace = n.oid AND n.nspname LIKE 'public'
 AND (false OR ( c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ) OR (c.relkind = 'm'))
 ORDER BY \"TABLE_TYPE\",\"TABLE_SCHEM\",\"TABLE_NAME\"";
    let lines = answer(tables).await;
    assert_eq!(lines[0], "TABLE_CAT|TABLE_SCHEM|TABLE_NAME|TABLE_TYPE|REMARKS|TYPE_CAT|TYPE_SCHEM");
    assert_eq!(lines[1..], ["db|public|mv|MATERIALIZED VIEW|||", "db|public|t|TABLE|||"]);
    // pgjdbc, getColumns.
    let columns = "SELECT * FROM (SELECT current_database() AS current_database, n.nspname,c.relname,a.attname,a.atttypid,a.attnotnull OR (t.typtype = 'd' AND t.typnotnull) AS attnotnull,a.atttypmod,a.attlen,t.typtypmod,row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS attnum, nullif(a.attidentity, '') as attidentity,nullif(a.attgenerated, '') as attgenerated,pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS adsrc,dsc.description,t.typbasetype,t.typtype
 FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON (c.relnamespace = n.oid) JOIN pg_catalog.pg_attribute a ON (a.attrelid=c.oid) JOIN pg_catalog.pg_type t ON (a.atttypid = t.oid) LEFT JOIN pg_catalog.pg_attrdef def ON (a.attrelid=def.adrelid AND a.attnum = def.adnum) LEFT JOIN pg_catalog.pg_description dsc ON (c.oid=dsc.objoid AND a.attnum = dsc.objsubid) LEFT JOIN pg_catalog.pg_class dc ON (dc.oid=dsc.classoid AND dc.relname='pg_class') LEFT JOIN pg_catalog.pg_namespace dn ON (dc.relnamespace=dn.oid AND dn.nspname='pg_catalog')
 WHERE c.relkind in ('r','p','v','f','m') and a.attnum > 0 AND NOT a.attisdropped AND n.nspname LIKE 'public' AND c.relname LIKE 't') c WHERE true ORDER BY nspname,c.relname,attnum";
    let lines = answer(columns).await;
    assert_eq!(lines[1], "db|public|t|id|23|true|-1|4|-1|1|||||0|b");
    assert_eq!(lines.len(), 5);
    // SQLAlchemy, has_table.
    let exists = "SELECT pg_catalog.pg_class.relname
FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace
WHERE pg_catalog.pg_class.relname = $1 AND pg_catalog.pg_class.relkind = ANY (ARRAY['r', 'p', 'f', 'v', 'm']) AND pg_catalog.pg_table_is_visible(pg_catalog.pg_class.oid) AND pg_catalog.pg_namespace.nspname != 'pg_catalog'";
    assert_eq!(answer_with(exists, vec![ScalarValue::Utf8(Some("t".into()))]).await, ["relname", "t"]);
    // psycopg, TypeInfo.fetch.
    let info =
        "SELECT typname AS name, oid, typarray AS array_oid, oid::regtype::text AS regtype, typdelim AS delimiter
FROM pg_type t WHERE t.oid = to_regtype($1) ORDER BY t.oid";
    let lines = answer_with(info, vec![ScalarValue::Utf8(Some("uuid".into()))]).await;
    assert_eq!(lines[1..], ["uuid|2950|2951|uuid|,"]);
    // Metabase and others.
    let foreign = "SELECT tc.table_name, kcu.column_name FROM information_schema.table_constraints AS tc
JOIN information_schema.key_column_usage AS kcu ON tc.constraint_name = kcu.constraint_name AND tc.table_schema = kcu.table_schema
WHERE tc.constraint_type = 'FOREIGN KEY' AND tc.table_schema NOT IN ('information_schema', 'pg_catalog')";
    assert_eq!(answer(foreign).await.len(), 1);
}

#[tokio::test]
async fn tokio_postgres_looks_types_up() {
    let sql = "SELECT t.typname, t.typtype, t.typelem, r.rngsubtype, t.typbasetype, n.nspname, t.typrelid
FROM pg_catalog.pg_type t
LEFT OUTER JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
INNER JOIN pg_catalog.pg_namespace n ON t.typnamespace = n.oid
WHERE t.oid = $1";
    let lines = answer_with(sql, vec![ScalarValue::Int64(Some(2950))]).await;
    assert_eq!(lines[1..], ["uuid|b|0||0|pg_catalog|0"]);
}

#[test]
fn other_statements_are_left_alone() {
    for sql in [
        "SELECT * FROM t",
        "SELECT 1",
        "SELECT now()",
        "INSERT INTO t SELECT oid FROM pg_class",
        "SELECT * FROM other.pg_class",
        "SELECT version(); SELECT 1",
        "nonsense",
    ] {
        assert!(CatalogQuery::recognize(&text(sql), &[]).is_none(), "{sql}");
    }
}
