package telemetry

import (
	"net/http"
	"time"

	"github.com/waybillmq/waybill/internal/httpserver"
)

// Listen serves handler on address until Close. It fails when the address is taken or is not ours.
func Listen(address string, handler http.Handler) (*httpserver.Server, error) {
	l, err := httpserver.Listen("metrics.listen", address)
	if err != nil {
		return nil, err
	}
	return httpserver.Serve(l, httpserver.Limited(handler, 15*time.Second)), nil
}
