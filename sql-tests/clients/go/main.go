// pgx: the extended protocol in binary with every type of ours, query modes, COPY, batches, transactions, pools, cancel,
// and what a client is told when the server shuts down.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

var failed, count int

// check runs one feature; nothing takes longer than a minute.
func check(feature string, run func(ctx context.Context) error) {
	if !strings.HasPrefix(feature, os.Getenv("CLIENT_FEATURES")) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	count++
	if err := run(ctx); err != nil {
		failed++
		fmt.Printf("not ok - pgx: %s # %s\n", feature, strings.Join(strings.Fields(err.Error()), " "))
		return
	}
	fmt.Printf("ok - pgx: %s\n", feature)
}

func equal(got, wanted any) error {
	if !reflect.DeepEqual(got, wanted) {
		return fmt.Errorf("%#v was expected, not %#v", wanted, got)
	}
	return nil
}

// connected runs a function over a connection that takes its settings from the environment.
func connected(ctx context.Context, run func(*pgx.Conn) error) error {
	connection, err := pgx.Connect(ctx, "")
	if err != nil {
		return err
	}
	defer connection.Close(context.Background())
	return run(connection)
}

func execute(ctx context.Context, connection *pgx.Conn, statements ...string) error {
	for _, sql := range statements {
		if _, err := connection.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// one reads the single value of a query.
func one[T any](ctx context.Context, connection *pgx.Conn, sql string, arguments ...any) (T, error) {
	var value T
	err := connection.QueryRow(ctx, sql, arguments...).Scan(&value)
	return value, err
}

// code is the SQLSTATE that an error has to have.
func code(err error, wanted string) error {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return fmt.Errorf("an error %s was expected, not %v", wanted, err)
	}
	return equal(server.Code, wanted)
}

// sent is a type with a value that goes there and back.
type sent struct {
	name  string
	value any
}

func values() []sent {
	number := func(digits int64, exponent int32) pgtype.Numeric {
		return pgtype.Numeric{Int: big.NewInt(digits), Exp: exponent, Valid: true}
	}
	return []sent{
		{"boolean", true},
		{"smallint", int16(-32768)},
		{"integer", int32(2147483647)},
		{"bigint", int64(-9223372036854775808)},
		{"real", float32(0.5)},
		{"double precision", 0.1},
		{"numeric(20, 4)", number(123456789, -4)},
		{"text", "grüße 東京"},
		{"varchar(20)", "v"},
		{"bytea", []byte{0, 1, 255}},
		{"date", time.Date(1969, 7, 20, 0, 0, 0, 0, time.UTC)},
		{"time", pgtype.Time{Microseconds: 86399999999, Valid: true}},
		{"timestamp", time.Date(2026, 1, 1, 12, 0, 0, 5000, time.UTC)},
		{"timestamptz", time.Date(2026, 1, 1, 12, 0, 0, 5000, time.UTC)},
		{"interval", pgtype.Interval{Months: 14, Days: 3, Microseconds: 4000005, Valid: true}},
		{"integer[]", []int32{1, -2, 3}},
		{"bigint[]", []int64{1, -2, 3}},
		{"text[]", []string{"a", "q\"{},\\", ""}},
		{"double precision[]", []float64{0.1, -2}},
		{"boolean[]", []bool{true, false}},
		{"timestamp[]", []time.Time{time.Date(2026, 1, 1, 12, 0, 0, 5000, time.UTC)}},
		{"date[]", []time.Time{time.Date(1969, 7, 20, 0, 0, 0, 0, time.UTC)}},
	}
}

// thereAndBack sends every value as a parameter, and scans what comes back into the same Go type.
func thereAndBack(ctx context.Context, connection *pgx.Conn, mode pgx.QueryExecMode) error {
	for _, sent := range values() {
		target := reflect.New(reflect.TypeOf(sent.value))
		sql := fmt.Sprintf("SELECT $1::%s", sent.name)
		if err := connection.QueryRow(ctx, sql, mode, sent.value).Scan(target.Interface()); err != nil {
			return fmt.Errorf("%s: %w", sent.name, err)
		}
		got := target.Elem().Interface()
		if at, isTime := got.(time.Time); isTime {
			got = at.UTC()
		}
		if err := equal(got, sent.value); err != nil {
			return fmt.Errorf("%s: %w", sent.name, err)
		}
		var null any
		if err := connection.QueryRow(ctx, sql, mode, nil).Scan(&null); err != nil {
			return fmt.Errorf("%s: %w", sent.name, err)
		}
		if err := equal(null, nil); err != nil {
			return fmt.Errorf("%s: %w", sent.name, err)
		}
	}
	return nil
}

func queries() {
	check("login and settings", func(ctx context.Context) error {
		return connected(ctx, func(connection *pgx.Conn) error {
			if err := equal(connection.PgConn().ParameterStatus("client_encoding"), "UTF8"); err != nil {
				return err
			}
			got, err := one[int32](ctx, connection, "SELECT 1")
			return errors.Join(err, equal(got, int32(1)))
		})
	})
	modes := []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
	}
	for _, mode := range modes {
		check("every type in binary, both ways, "+mode.String(), func(ctx context.Context) error {
			return connected(ctx, func(connection *pgx.Conn) error { return thereAndBack(ctx, connection, mode) })
		})
	}
	check("exec and simple protocol modes", func(ctx context.Context) error {
		return connected(ctx, func(connection *pgx.Conn) error {
			for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
				var number int32
				var text string
				err := connection.QueryRow(ctx, "SELECT $1::int, $2::text", mode, 5, "it's").Scan(&number, &text)
				if err := errors.Join(err, equal(number, int32(5)), equal(text, "it's")); err != nil {
					return err
				}
			}
			return nil
		})
	})
	check("rows, structs, field descriptions", func(ctx context.Context) error {
		return connected(ctx, func(connection *pgx.Conn) error {
			type pair struct {
				ID   int32
				Name *string
			}
			sql := "SELECT id, name FROM (VALUES (1, 'a'), (2, NULL)) AS v(id, name) ORDER BY id"
			rows, err := connection.Query(ctx, sql)
			if err != nil {
				return err
			}
			fields := rows.FieldDescriptions()
			if err := errors.Join(equal(fields[0].Name, "id"), equal(fields[0].DataTypeOID, uint32(23))); err != nil {
				return err
			}
			pairs, err := pgx.CollectRows(rows, pgx.RowToStructByName[pair])
			if err != nil {
				return err
			}
			name := "a"
			return equal(pairs, []pair{{1, &name}, {2, nil}})
		})
	})
	check("tables: insert and read in binary", func(ctx context.Context) error {
		return connected(ctx, func(connection *pgx.Conn) error {
			columns, marks, arguments := []string{}, []string{}, []any{int32(1)}
			for number, sent := range values() {
				columns = append(columns, fmt.Sprintf("c%d %s", number, sent.name))
				marks = append(marks, fmt.Sprintf("$%d", number+2))
				arguments = append(arguments, sent.value)
			}
			create := "CREATE TABLE x_types (id int PRIMARY KEY, " + strings.Join(columns, ", ") + ")"
			if err := execute(ctx, connection, create); err != nil {
				return err
			}
			insert := "INSERT INTO x_types VALUES ($1, " + strings.Join(marks, ", ") + ")"
			tag, err := connection.Exec(ctx, insert, arguments...)
			if err := errors.Join(err, equal(tag.String(), "INSERT 0 1")); err != nil {
				return err
			}
			targets := []any{new(int32)}
			for _, sent := range values() {
				targets = append(targets, reflect.New(reflect.TypeOf(sent.value)).Interface())
			}
			if err := connection.QueryRow(ctx, "SELECT * FROM x_types WHERE id = $1", 1).Scan(targets...); err != nil {
				return err
			}
			for number, sent := range values() {
				got := reflect.ValueOf(targets[number+1]).Elem().Interface()
				if at, isTime := got.(time.Time); isTime {
					got = at.UTC()
				}
				if err := equal(got, sent.value); err != nil {
					return fmt.Errorf("%s: %w", sent.name, err)
				}
			}
			return execute(ctx, connection, "DROP TABLE x_types")
		})
	})
	check("a cached statement over a table that was made anew", func(ctx context.Context) error {
		return connected(ctx, func(connection *pgx.Conn) error {
			if err := execute(ctx, connection, "CREATE TABLE x_again (id int PRIMARY KEY)"); err != nil {
				return err
			}
			for range 3 {
				if _, err := one[int64](ctx, connection, "SELECT count(*) FROM x_again"); err != nil {
					return err
				}
			}
			made := "CREATE TABLE x_again (id bigint PRIMARY KEY, v text)"
			if err := execute(ctx, connection, "DROP TABLE x_again", made, "INSERT INTO x_again VALUES (1)"); err != nil {
				return err
			}
			got, err := one[int64](ctx, connection, "SELECT count(*) FROM x_again")
			if err := errors.Join(err, equal(got, int64(1))); err != nil {
				return err
			}
			return execute(ctx, connection, "DROP TABLE x_again")
		})
	})
	check("batches in one pipeline", func(ctx context.Context) error {
		return connected(ctx, func(connection *pgx.Conn) error {
			if err := execute(ctx, connection, "CREATE TABLE x_batch (id int PRIMARY KEY)"); err != nil {
				return err
			}
			batch := &pgx.Batch{}
			for id := range 50 {
				batch.Queue("INSERT INTO x_batch VALUES ($1)", id)
			}
			var total int64
			batch.Queue("SELECT count(*) FROM x_batch").QueryRow(func(row pgx.Row) error { return row.Scan(&total) })
			if err := connection.SendBatch(ctx, batch).Close(); err != nil {
				return err
			}
			if err := equal(total, int64(50)); err != nil {
				return err
			}
			batch = &pgx.Batch{}
			batch.Queue("INSERT INTO x_batch VALUES (100)")
			batch.Queue("INSERT INTO x_batch VALUES (1)")
			if err := code(connection.SendBatch(ctx, batch).Close(), "23505"); err != nil {
				return err
			}
			// One implicit transaction: nothing of it stays.
			got, err := one[int64](ctx, connection, "SELECT count(*) FROM x_batch")
			if err := errors.Join(err, equal(got, int64(50))); err != nil {
				return err
			}
			return execute(ctx, connection, "DROP TABLE x_batch")
		})
	})
}

func transfers() {
	check("COPY in binary, both ways", func(ctx context.Context) error {
		return connected(ctx, func(connection *pgx.Conn) error {
			create := "CREATE TABLE x_copy (id int PRIMARY KEY, v text, at timestamptz, n numeric(10, 2), list int[])"
			if err := execute(ctx, connection, create); err != nil {
				return err
			}
			rows := [][]any{}
			for id := range 500 {
				at := time.Date(2026, 1, 1, 0, 0, id%60, 0, time.UTC)
				rows = append(rows, []any{int32(id), fmt.Sprintf("v%d", id), at, nil, []int32{int32(id), 2}})
			}
			columns := []string{"id", "v", "at", "n", "list"}
			copied, err := connection.CopyFrom(ctx, pgx.Identifier{"x_copy"}, columns, pgx.CopyFromRows(rows))
			if err := errors.Join(err, equal(copied, int64(500))); err != nil {
				return err
			}
			got, err := one[int64](ctx, connection, "SELECT sum(id)::bigint FROM x_copy WHERE n IS NULL")
			if err := errors.Join(err, equal(got, int64(124750))); err != nil {
				return err
			}
			out := &bytes.Buffer{}
			tag, err := connection.PgConn().CopyTo(ctx, out, "COPY x_copy TO STDOUT (FORMAT BINARY)")
			if err := errors.Join(err, equal(tag.String(), "COPY 500")); err != nil {
				return err
			}
			if err := execute(ctx, connection, "CREATE TABLE x_copied (id int PRIMARY KEY, v text, at timestamptz, n numeric(10, 2), list int[])"); err != nil {
				return err
			}
			tag, err = connection.PgConn().CopyFrom(ctx, out, "COPY x_copied FROM STDIN (FORMAT BINARY)")
			if err := errors.Join(err, equal(tag.String(), "COPY 500")); err != nil {
				return err
			}
			differ := "SELECT count(*) FROM x_copy AS a JOIN x_copied AS b ON a.id = b.id AND a.v = b.v AND a.at = b.at"
			got, err = one[int64](ctx, connection, differ)
			if err := errors.Join(err, equal(got, int64(500))); err != nil {
				return err
			}
			return execute(ctx, connection, "DROP TABLE x_copy", "DROP TABLE x_copied")
		})
	})
	check("COPY that fails leaves nothing", func(ctx context.Context) error {
		return connected(ctx, func(connection *pgx.Conn) error {
			if err := execute(ctx, connection, "CREATE TABLE x_bad (id int PRIMARY KEY)"); err != nil {
				return err
			}
			_, err := connection.PgConn().CopyFrom(ctx, strings.NewReader("1\n2\nthree\n"), "COPY x_bad FROM STDIN")
			if err := code(err, "22P02"); err != nil {
				return err
			}
			got, err := one[int64](ctx, connection, "SELECT count(*) FROM x_bad")
			if err := errors.Join(err, equal(got, int64(0))); err != nil {
				return err
			}
			return execute(ctx, connection, "DROP TABLE x_bad")
		})
	})
	check("transactions and savepoints", func(ctx context.Context) error {
		return connected(ctx, func(connection *pgx.Conn) error {
			if err := execute(ctx, connection, "CREATE TABLE x_tx (id int PRIMARY KEY)"); err != nil {
				return err
			}
			outer, err := connection.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
			if err != nil {
				return err
			}
			if _, err := outer.Exec(ctx, "INSERT INTO x_tx VALUES (1)"); err != nil {
				return err
			}
			inner, err := outer.Begin(ctx)
			if err != nil {
				return err
			}
			if _, err := inner.Exec(ctx, "INSERT INTO x_tx VALUES (1)"); err == nil {
				return errors.New("a key went in twice")
			}
			if err := errors.Join(inner.Rollback(ctx), outer.Commit(ctx)); err != nil {
				return err
			}
			rows, err := connection.Query(ctx, "SELECT id FROM x_tx")
			if err != nil {
				return err
			}
			ids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
			if err := errors.Join(err, equal(ids, []int32{1})); err != nil {
				return err
			}
			return execute(ctx, connection, "DROP TABLE x_tx")
		})
	})
	check("pools", func(ctx context.Context) error {
		pool, err := pgxpool.New(ctx, "pool_max_conns=4")
		if err != nil {
			return err
		}
		defer pool.Close()
		results := make(chan error)
		for number := range 40 {
			go func() {
				var got int32
				err := pool.QueryRow(ctx, "SELECT $1::int * 2", number).Scan(&got)
				results <- errors.Join(err, equal(got, int32(number*2)))
			}()
		}
		for range 40 {
			err = errors.Join(err, <-results)
		}
		return err
	})
	check("errors with their fields", func(ctx context.Context) error {
		return connected(ctx, func(connection *pgx.Conn) error {
			if err := execute(ctx, connection, "CREATE TABLE x_err (id int PRIMARY KEY)", "INSERT INTO x_err VALUES (1)"); err != nil {
				return err
			}
			_, err := connection.Exec(ctx, "INSERT INTO x_err VALUES ($1)", 1)
			var server *pgconn.PgError
			if !errors.As(err, &server) {
				return fmt.Errorf("not an error of the server: %v", err)
			}
			got := []string{server.Code, server.SchemaName, server.TableName, server.ConstraintName, server.Detail}
			wanted := []string{"23505", "public", "x_err", "x_err_pkey", "Key (id)=(1) already exists."}
			if err := equal(got, wanted); err != nil {
				return err
			}
			return execute(ctx, connection, "DROP TABLE x_err")
		})
	})
}

// The server of its own that a check shuts down; its password is that of the environment.
func ownServer(ctx context.Context) (*exec.Cmd, string, error) {
	storage := filepath.Join(os.Getenv("CLIENT_WORK"), "own")
	command := exec.CommandContext(ctx, os.Getenv("MILLSTREAM_SERVER"), "serve", "--listen", "127.0.0.1:0", "--storage", storage)
	command.Env = append(os.Environ(), "MILLSTREAM_PASSWORD="+os.Getenv("PGPASSWORD"))
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := command.Start(); err != nil {
		return nil, "", err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, "", err
	}
	found := regexp.MustCompile(`listens on 127\.0\.0\.1:(\d+),`).FindStringSubmatch(line)
	if found == nil {
		return nil, "", fmt.Errorf("the server says %q instead of where it listens", line)
	}
	return command, found[1], nil
}

func endings() {
	check("cancel by context", func(ctx context.Context) error {
		return connected(ctx, func(connection *pgx.Conn) error {
			short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
			defer stop()
			_, err := connection.Exec(short, "SELECT pg_sleep(60)")
			if !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("a deadline was expected, not %v", err)
			}
			return nil
		})
	})
	check("cancel request", func(ctx context.Context) error {
		return connected(ctx, func(connection *pgx.Conn) error {
			result := make(chan error)
			go func() {
				_, err := connection.Exec(ctx, "SELECT pg_sleep(60)")
				result <- err
			}()
			for {
				// One that comes before the query has no target.
				if err := connection.PgConn().CancelRequest(ctx); err != nil {
					return err
				}
				select {
				case err := <-result:
					if err := code(err, "57014"); err != nil {
						return err
					}
					got, err := one[int32](ctx, connection, "SELECT 1")
					return errors.Join(err, equal(got, int32(1)))
				default:
				}
			}
		})
	})
	check("notices", func(ctx context.Context) error {
		config, err := pgx.ParseConfig("")
		if err != nil {
			return err
		}
		var seen []string
		config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
			seen = append(seen, notice.Severity+" "+notice.Code+" "+notice.Message)
		}
		connection, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			return err
		}
		defer connection.Close(context.Background())
		if err := execute(ctx, connection, "DROP TABLE IF EXISTS x_nowhere"); err != nil {
			return err
		}
		return equal(seen, []string{`NOTICE 00000 table "x_nowhere" does not exist, skipping`})
	})
	check("notification of a shutdown: 57P01 to the idle and to the busy, exit with 0", func(ctx context.Context) error {
		server, port, err := ownServer(ctx)
		if err != nil {
			return err
		}
		defer server.Process.Kill()
		connect := func() (*pgx.Conn, error) { return pgx.Connect(ctx, "port="+port) }
		idle, err := connect()
		if err != nil {
			return err
		}
		busy, err := connect()
		if err != nil {
			return err
		}
		if err := execute(ctx, idle, "CREATE TABLE x_kept (id int PRIMARY KEY)", "INSERT INTO x_kept VALUES (1)"); err != nil {
			return err
		}
		result := make(chan error)
		go func() {
			_, err := busy.Exec(ctx, "SELECT pg_sleep(50)")
			result <- err
		}()
		for active := int64(0); active < 1; {
			sql := "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(50)'"
			if active, err = one[int64](ctx, idle, sql); err != nil {
				return err
			}
		}
		if err := server.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		if err := code(<-result, "57P01"); err != nil {
			return err
		}
		// What the server sent before it closed is read by the next use.
		if _, err := idle.Exec(ctx, "SELECT 1"); err != nil {
			if err := code(err, "57P01"); err != nil {
				return err
			}
		} else {
			return errors.New("the server answers after its end")
		}
		return server.Wait()
	})
}

func main() {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == "github.com/jackc/pgx/v5" {
			fmt.Printf("# pgx %s\n", strings.TrimPrefix(dependency.Version, "v"))
		}
	}
	queries()
	everyType()
	transfers()
	endings()
	fmt.Printf("1..%d\n", count)
	if failed > 0 {
		os.Exit(1)
	}
}
