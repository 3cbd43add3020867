package kafka

import (
	"context"
	"errors"

	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// Error codes of Kafka's protocol guide, by their names there.
const (
	codeNone                     int16 = 0
	codeUnknownServerError       int16 = -1
	codeOffsetOutOfRange         int16 = 1
	codeCorruptMessage           int16 = 2
	codeUnknownTopicOrPartition  int16 = 3
	codeRequestTimedOut          int16 = 7
	codeMessageTooLarge          int16 = 10
	codeInvalidTopic             int16 = 17
	codeNotEnoughReplicas        int16 = 19
	codeNotEnoughAfterAppend     int16 = 20
	codeInvalidRequiredAcks      int16 = 21
	codeUnsupportedVersion       int16 = 35
	codeTopicAlreadyExists       int16 = 36
	codeInvalidPartitions        int16 = 37
	codeInvalidReplicationFactor int16 = 38
	codeInvalidReplicaAssignment int16 = 39
	codeInvalidConfig            int16 = 40
	codeInvalidRequest           int16 = 42
	codePolicyViolation          int16 = 44
	codeOutOfOrderSequence       int16 = 45
	codeInvalidProducerEpoch     int16 = 47
	codeStorageError             int16 = 56
	codeUnsupportedCompression   int16 = 76
	codeInvalidRecord            int16 = 87
	codeUnknownTopicID           int16 = 100
)

// errReserved means that a name is not for clients.
var errReserved = errors.New("choose another name")

// codes says which code an error of the node is, in the order in which they are asked: ErrNotLeader comes with its cause, and means that nothing was stored.
var codes = []struct {
	err  error
	code int16
}{
	{broker.ErrUnknownTopic, codeUnknownTopicOrPartition},
	{fsm.ErrUnknownTopic, codeUnknownTopicOrPartition},
	{broker.ErrNotLeader, codeNotEnoughReplicas},
	{broker.ErrTooLarge, codeMessageTooLarge},
	{fsm.ErrBatch, codeCorruptMessage},
	{fsm.ErrOutOfOrder, codeOutOfOrderSequence},
	{fsm.ErrOldEpoch, codeInvalidProducerEpoch},
	{broker.ErrFlushTimeout, codeRequestTimedOut},
	{broker.ErrStopped, codeNotEnoughAfterAppend},
	{broker.ErrOffset, codeOffsetOutOfRange},
	{commitlog.ErrDamaged, codeStorageError},
	{broker.ErrTopicExists, codeTopicAlreadyExists},
	{fsm.ErrTopicName, codeInvalidTopic},
	{errReserved, codeInvalidTopic},
	{fsm.ErrTooManyTopics, codePolicyViolation},
	{fsm.ErrTooManyPartitions, codeInvalidPartitions},
	{fsm.ErrNoPartitions, codeInvalidPartitions},
	{fsm.ErrRetention, codeInvalidConfig},
	{context.DeadlineExceeded, codeRequestTimedOut},
	{context.Canceled, codeNotEnoughAfterAppend},
}

// codeOf is the code of an error of the node. Whatever is not in the list may have been stored.
func codeOf(err error) int16 {
	if err == nil {
		return codeNone
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return codeUnknownServerError
}
