package kafka

import (
	"github.com/segmentio/kafka-go/compress"

	"github.com/waybillmq/waybill/adapters/internal/record"
)

// Compression names the codec of a batch's records. A batch that would not become smaller is sent as it is.
type Compression string

// The codecs.
const (
	CompressionNone   Compression = "none"
	CompressionGzip   Compression = "gzip"
	CompressionSnappy Compression = "snappy"
	CompressionLZ4    Compression = "lz4"
	CompressionZstd   Compression = "zstd" // Kafka 2.1 and newer
)

func (c Compression) known() bool { return c == CompressionNone || packers[c] != nil }

// packer compresses; nil = there is nothing to do.
func (c Compression) packer() *packer { return packers[c] }

// packer is a codec of the library. It may be used by many goroutines.
type packer struct {
	codec int // as a batch's attributes say it
	lib   compress.Codec
}

var packers = map[Compression]*packer{
	CompressionGzip:   {record.CodecGzip, &compress.GzipCodec},
	CompressionSnappy: {record.CodecSnappy, &compress.SnappyCodec},
	CompressionLZ4:    {record.CodecLZ4, &compress.Lz4Codec},
	CompressionZstd:   {record.CodecZstd, &compress.ZstdCodec},
}

// pack appends what becomes of records.
func (p *packer) pack(dst, records []byte) ([]byte, error) {
	out := sink{dst}
	w := p.lib.NewWriter(&out)
	_, err := w.Write(records)
	if end := w.Close(); err == nil {
		err = end
	}
	return out.b, err
}

// sink is a writer onto the end of a slice.
type sink struct{ b []byte }

func (s *sink) Write(b []byte) (int, error) {
	s.b = append(s.b, b...)
	return len(b), nil
}
