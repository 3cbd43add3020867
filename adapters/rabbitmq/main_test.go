package rabbitmq

import (
	"testing"

	"github.com/waybillmq/waybill/internal/testservices"
)

func TestMain(m *testing.M) { testservices.Main(m) }
