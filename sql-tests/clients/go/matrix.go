// Every type of types.json through pgx: as the client's own values in both formats, and as the bytes of each.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

type matrixType struct {
	Name     string     `json:"type"`
	OID      uint32     `json:"oid"`
	ArrayOID uint32     `json:"array_oid"`
	Values   [][]string `json:"values"`
	number   int
}

// matrix reads types.json. With MATRIX_TEXTS=postgres the texts are those of a real Postgres, where they differ: by
// that this program is held against one.
func matrix() ([]matrixType, error) {
	content, err := os.ReadFile(filepath.Join(os.Getenv("CLIENT_SOURCES"), "types.json"))
	if err != nil {
		return nil, err
	}
	var file struct{ Types []matrixType }
	if err := json.Unmarshal(content, &file); err != nil {
		return nil, err
	}
	for number := range file.Types {
		kind := &file.Types[number]
		kind.number = number
		for at, value := range kind.Values {
			if len(value) > 2 && os.Getenv("MATRIX_TEXTS") == "postgres" {
				kind.Values[at][1] = value[2]
			}
		}
	}
	return file.Types, nil
}

func literal(kind matrixType, written string) string {
	return "'" + strings.ReplaceAll(written, "'", "''") + "'::" + kind.Name
}

// target is a place for a value of a type: pgx's own types hold all that Postgres' do.
func target(oid uint32) any {
	switch oid {
	case pgtype.BoolOID:
		return &pgtype.Bool{}
	case pgtype.Int2OID:
		return &pgtype.Int2{}
	case pgtype.Int4OID:
		return &pgtype.Int4{}
	case pgtype.Int8OID:
		return &pgtype.Int8{}
	case pgtype.Float4OID:
		return &pgtype.Float4{}
	case pgtype.Float8OID:
		return &pgtype.Float8{}
	case pgtype.NumericOID:
		return &pgtype.Numeric{}
	case pgtype.DateOID:
		return &pgtype.Date{}
	case pgtype.TimeOID:
		return &pgtype.Time{}
	case pgtype.TimestampOID:
		return &pgtype.Timestamp{}
	case pgtype.TimestamptzOID:
		return &pgtype.Timestamptz{}
	case pgtype.IntervalOID:
		return &pgtype.Interval{}
	case pgtype.UUIDOID:
		return &pgtype.UUID{}
	case pgtype.ByteaOID:
		return &[]byte{}
	default:
		return &pgtype.Text{}
	}
}

// exact makes values comparable: times by their instant, numerics by their digits, floats as they are printed.
func exact(value any) string {
	switch value := value.(type) {
	case *pgtype.Numeric:
		// How many zeros a zero has is lost in one of the two formats.
		digits, _ := value.Value()
		text := fmt.Sprint(digits)
		if strings.Contains(text, ".") {
			text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
		}
		return text
	case *pgtype.Date:
		return fmt.Sprint(value.Time.UTC(), value.InfinityModifier, value.Valid)
	case *pgtype.Timestamp:
		return fmt.Sprint(value.Time.UTC(), value.InfinityModifier, value.Valid)
	case *pgtype.Timestamptz:
		return fmt.Sprint(value.Time.UTC(), value.InfinityModifier, value.Valid)
	default:
		return fmt.Sprintf("%v", reflect.ValueOf(value).Elem().Interface())
	}
}

// raw is the one value of a query as it came, in a format.
func raw(ctx context.Context, connection *pgx.Conn, format int16, sql string, parameters ...parameter) ([]byte, uint32, error) {
	values, oids, formats := [][]byte{}, []uint32{}, []int16{}
	for _, sent := range parameters {
		values, oids, formats = append(values, sent.value), append(oids, sent.oid), append(formats, sent.format)
	}
	result := connection.PgConn().ExecParams(ctx, sql, values, oids, formats, []int16{format}).Read()
	if result.Err != nil {
		return nil, 0, fmt.Errorf("%s: %w", sql, result.Err)
	}
	if len(result.Rows) != 1 {
		return nil, 0, fmt.Errorf("%s: %d rows", sql, len(result.Rows))
	}
	return result.Rows[0][0], result.FieldDescriptions[0].DataTypeOID, nil
}

type parameter struct {
	oid    uint32
	format int16
	value  []byte
}

const textFormat, binaryFormat = pgx.TextFormatCode, pgx.BinaryFormatCode

// bothWays sends the bytes of either format and reads those of either.
func bothWays(ctx context.Context, connection *pgx.Conn, name string, oid uint32, text, binary []byte) error {
	for _, sent := range []parameter{{oid, textFormat, text}, {oid, binaryFormat, binary}, {0, binaryFormat, binary}} {
		for format, wanted := range map[int16][]byte{textFormat: text, binaryFormat: binary} {
			got, _, err := raw(ctx, connection, format, "SELECT $1::"+name, sent)
			if err := errors.Join(err, equal(string(got), string(wanted))); err != nil {
				return fmt.Errorf("format %d as format %d: %w", sent.format, format, err)
			}
		}
	}
	return nil
}

// value checks one: its bytes, what pgx makes of them, and both again as parameters; gives its binary bytes.
func (kind matrixType) value(ctx context.Context, connection *pgx.Conn, written, text string) ([]byte, error) {
	gotText, oid, err := raw(ctx, connection, textFormat, "SELECT "+literal(kind, written))
	if err := errors.Join(err, equal(string(gotText), text), equal(oid, kind.OID)); err != nil {
		return nil, err
	}
	binary, _, err := raw(ctx, connection, binaryFormat, "SELECT "+literal(kind, written))
	if err != nil {
		return nil, err
	}
	if err := bothWays(ctx, connection, kind.Name, kind.OID, []byte(text), binary); err != nil {
		return nil, err
	}
	if kind.ArrayOID == 0 {
		return binary, nil
	}
	types, wanted, got := connection.TypeMap(), target(kind.OID), target(kind.OID)
	// pgx has no numbers for the years before Christ in text.
	if !strings.HasSuffix(text, " BC") {
		if err := types.Scan(kind.OID, textFormat, []byte(text), wanted); err != nil {
			return nil, err
		}
		if err := types.Scan(kind.OID, binaryFormat, binary, got); err != nil {
			return nil, err
		}
		if err := equal(exact(got), exact(wanted)); err != nil {
			return nil, err
		}
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeDescribeExec} {
			back := target(kind.OID)
			sql := "SELECT $1::" + kind.Name
			if err := connection.QueryRow(ctx, sql, mode, reflect.ValueOf(wanted).Elem().Interface()).Scan(back); err != nil {
				return nil, err
			}
			if err := equal(exact(back), exact(wanted)); err != nil {
				return nil, err
			}
		}
	}
	for _, array := range []struct{ written, name string }{
		{"ARRAY[%[1]s, NULL, %[1]s]", kind.Name + "[]"},
		{"ARRAY[ARRAY[%[1]s, NULL], ARRAY[NULL, %[1]s]]", kind.Name + "[][]"},
	} {
		sql := "SELECT " + fmt.Sprintf(array.written, literal(kind, written)) + "::" + array.name
		text, oid, err := raw(ctx, connection, textFormat, sql)
		if err := errors.Join(err, equal(oid, kind.ArrayOID)); err != nil {
			return nil, err
		}
		bytes, _, err := raw(ctx, connection, binaryFormat, sql)
		if err != nil {
			return nil, err
		}
		if err := bothWays(ctx, connection, array.name, kind.ArrayOID, text, bytes); err != nil {
			return nil, err
		}
	}
	return binary, nil
}

// table puts each value and a NULL in and reads them in both formats.
func (kind matrixType) table(ctx context.Context, connection *pgx.Conn, values [][]byte) error {
	name := fmt.Sprintf("x_matrix_%d", kind.number)
	if err := execute(ctx, connection, "DROP TABLE IF EXISTS "+name,
		fmt.Sprintf("CREATE TABLE %s (id int PRIMARY KEY, v %s)", name, kind.Name)); err != nil {
		return err
	}
	for id, value := range append(values, nil) {
		insert := fmt.Sprintf("INSERT INTO %s VALUES (%d, $1) RETURNING v", name, id)
		returned, _, err := raw(ctx, connection, binaryFormat, insert, parameter{kind.OID, binaryFormat, value})
		if err := errors.Join(err, equal(returned, value)); err != nil {
			return err
		}
		for format := range int16(2) {
			got, oid, err := raw(ctx, connection, format, fmt.Sprintf("SELECT v FROM %s WHERE id = %d", name, id))
			wanted := value
			if value != nil && format == textFormat {
				wanted = []byte(kind.Values[id][1])
			}
			if err := errors.Join(err, equal(got, wanted), equal(oid, kind.OID)); err != nil {
				return err
			}
		}
	}
	return execute(ctx, connection, "DROP TABLE "+name)
}

func (kind matrixType) run(ctx context.Context, connection *pgx.Conn) error {
	if err := execute(ctx, connection, "SET TimeZone = 'UTC'"); err != nil {
		return err
	}
	values := [][]byte{}
	for _, value := range kind.Values {
		binary, err := kind.value(ctx, connection, value[0], value[1])
		if err != nil {
			return fmt.Errorf("%s: %w", value[0], err)
		}
		values = append(values, binary)
	}
	for format := range int16(2) {
		got, _, err := raw(ctx, connection, format, "SELECT $1::"+kind.Name, parameter{kind.OID, format, nil})
		if err := errors.Join(err, equal(got, []byte(nil))); err != nil {
			return err
		}
	}
	return kind.table(ctx, connection, values)
}

// composites reads rows of a table as values of its type, which pgx looks up by name.
func composites(ctx context.Context, connection *pgx.Conn) error {
	create := "CREATE TABLE x_row (id int PRIMARY KEY, t text, at timestamptz, list int[], n numeric(12,3), u uuid)"
	insert := `INSERT INTO x_row VALUES (1, 'a "b", (c)\', '2026-01-01 12:00+00', '{1,NULL}', 1.5,
	           'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), (2, NULL, NULL, NULL, NULL, NULL)`
	if err := execute(ctx, connection, "DROP TABLE IF EXISTS x_row", create, insert); err != nil {
		return err
	}
	loaded, err := connection.LoadType(ctx, "x_row")
	if err != nil {
		return err
	}
	connection.TypeMap().RegisterType(loaded)
	type row struct {
		ID   int32
		T    *string
		At   *time.Time
		List []*int32
		N    pgtype.Numeric
		U    *string
	}
	for _, format := range []int16{textFormat, binaryFormat} {
		rows, err := connection.Query(ctx, "SELECT r FROM x_row AS r ORDER BY id", pgx.QueryResultFormats{format})
		if err != nil {
			return err
		}
		read, err := pgx.CollectRows(rows, pgx.RowTo[row])
		if err != nil {
			return err
		}
		full, empty := read[0], read[1]
		digits, _ := full.N.Value()
		if err := errors.Join(
			equal([]any{full.ID, *full.T, full.At.UTC(), *full.List[0], full.List[1], digits, *full.U},
				[]any{int32(1), `a "b", (c)\`, time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC), int32(1), (*int32)(nil),
					"1.500", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}),
			equal(empty, row{ID: 2})); err != nil {
			return err
		}
	}
	return execute(ctx, connection, "DROP TABLE x_row")
}

func everyType() {
	kinds, err := matrix()
	if err != nil {
		check("types", func(context.Context) error { return err })
	}
	for _, kind := range kinds {
		check("types: "+kind.Name, func(ctx context.Context) error {
			return connected(ctx, func(connection *pgx.Conn) error { return kind.run(ctx, connection) })
		})
	}
	check("types: composite values", func(ctx context.Context) error {
		return connected(ctx, func(connection *pgx.Conn) error { return composites(ctx, connection) })
	})
}
