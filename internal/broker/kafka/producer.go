package kafka

import (
	"math/rand/v2"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// initProducerID gives an idempotent producer its id: a random one of 63 bits, because the node does not give out those that its metadata count. Transactions are not
// offered: that answer is final, so no client tries on.
func initProducerID(req *kmsg.InitProducerIDRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	if req.TransactionalID != nil {
		resp.ErrorCode = codeInvalidRequest
		return resp
	}
	resp.ProducerID, resp.ProducerEpoch = rand.Int64(), 0
	return resp
}
