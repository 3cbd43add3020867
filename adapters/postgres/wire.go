package postgres

import (
	"encoding/binary"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/waybillmq/waybill/relay"
)

// binaryFormat asks for, or announces, the binary form of every value.
var binaryFormat = []int16{1}

func bigint(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func integer(n int32) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// bigints is a one-dimensional bigint[] (array_send of the server: dimensions, nulls, element type, length, lower bound, elements).
func bigints(ns []int64) []byte {
	b := make([]byte, 0, 20+12*len(ns))
	if len(ns) == 0 {
		return binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 0, 0, 0, 0, 0), pgtype.Int8OID)
	}
	b = append(b, 0, 0, 0, 1, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, pgtype.Int8OID)
	b = binary.BigEndian.AppendUint32(b, uint32(len(ns)))
	b = append(b, 0, 0, 0, 1)
	for _, n := range ns {
		b = binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(n))
	}
	return b
}

// idArray reads a bigint[] without nulls.
func idArray(b []byte) ([]relay.ID, error) {
	if len(b) < 12 || binary.BigEndian.Uint32(b[8:]) != pgtype.Int8OID {
		return nil, fmt.Errorf("%w: ids came in another shape", errLocal)
	}
	if binary.BigEndian.Uint32(b) == 0 {
		return nil, nil
	}
	if len(b) < 20 || (len(b)-20)%12 != 0 || int(binary.BigEndian.Uint32(b[12:])) != (len(b)-20)/12 {
		return nil, fmt.Errorf("%w: ids came in another shape", errLocal)
	}
	ids := make([]relay.ID, (len(b)-20)/12)
	for i := range ids {
		ids[i] = relay.ID(binary.BigEndian.Uint64(b[24+12*i:]))
	}
	return ids, nil
}

// incoming reads the results of a pipeline in the order in which they were asked for.
type incoming struct {
	p *pgconn.Pipeline
	r *pgconn.ResultReader
}

func (in *incoming) result() (*pgconn.ResultReader, error) {
	got, err := in.p.GetResults()
	if err != nil {
		return nil, err
	}
	r, ok := got.(*pgconn.ResultReader)
	if !ok {
		return nil, fmt.Errorf("%w: %T came where rows were asked for", errLocal, got)
	}
	return r, nil
}

// row returns the only row of the next result; end must be called before the next one is asked for.
func (in *incoming) row() ([][]byte, error) {
	r, err := in.result()
	if err != nil {
		return nil, err
	}
	if in.r = r; r.NextRow() {
		return r.Values(), nil
	}
	if _, err := r.Close(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%w: no row came where one was asked for", errLocal)
}

func (in *incoming) end() error {
	_, err := in.r.Close()
	return err
}

// number returns the only value of the next result, a bigint.
func (in *incoming) number() (int64, error) {
	row, err := in.row()
	if err != nil {
		return 0, err
	}
	if len(row) != 1 || len(row[0]) != 8 {
		return 0, fmt.Errorf("%w: a number came in another shape", errLocal)
	}
	n := int64(binary.BigEndian.Uint64(row[0]))
	return n, in.end()
}

func (in *incoming) sync() error {
	got, err := in.p.GetResults()
	if err != nil {
		return err
	}
	if _, ok := got.(*pgconn.PipelineSync); !ok {
		return fmt.Errorf("%w: %T came where the end of a transaction was due", errLocal, got)
	}
	return nil
}
