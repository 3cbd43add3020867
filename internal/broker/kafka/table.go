package kafka

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	keyProduce     = 0
	keyApiVersions = 18
)

// api is a kind of request that is offered.
type api struct {
	name     string
	key      int16
	min, max int16
}

// table is all that is offered. Where versions end below Kafka's: Produce and Fetch, before topics are named by their ids alone; ListOffsets, before tiers.
var table = []api{
	{"Produce", keyProduce, 0, 9},
	{"Fetch", 1, 4, 12},
	{"ListOffsets", 2, 1, 7},
	{"Metadata", 3, 0, 12},
	{"OffsetCommit", 8, 2, 8},
	{"OffsetFetch", 9, 1, 8},
	{"FindCoordinator", 10, 0, 4},
	{"JoinGroup", 11, 0, 9},
	{"Heartbeat", 12, 0, 4},
	{"LeaveGroup", 13, 0, 5},
	{"SyncGroup", 14, 0, 5},
	{"DescribeGroups", 15, 0, 5},
	{"ListGroups", 16, 0, 4},
	{"ApiVersions", keyApiVersions, 0, 4},
	{"CreateTopics", 19, 2, 7},
	{"DeleteTopics", 20, 1, 6},
	{"InitProducerId", 22, 0, 4},
	{"DescribeConfigs", 32, 1, 4},
	{"DeleteGroups", 42, 0, 2},
	{"OffsetDelete", 47, 0, 0},
	{"DescribeCluster", 60, 0, 1},
}

// answer hands a request of the table to its handler. No answer and no error: there is to be none. An error ends the connection.
func (c *conn) answer(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	switch req := req.(type) {
	case *kmsg.ProduceRequest:
		return c.produce(ctx, req)
	case *kmsg.FetchRequest:
		return c.fetch(ctx, req)
	case *kmsg.ListOffsetsRequest:
		return c.listOffsets(ctx, req)
	case *kmsg.MetadataRequest:
		return c.metadata(ctx, req)
	case *kmsg.OffsetCommitRequest:
		return c.offsetCommit(ctx, req)
	case *kmsg.OffsetFetchRequest:
		return c.offsetFetch(ctx, req)
	case *kmsg.FindCoordinatorRequest:
		return c.findCoordinator(ctx, req)
	case *kmsg.JoinGroupRequest:
		return c.joinGroup(ctx, req)
	case *kmsg.HeartbeatRequest:
		return c.heartbeat(ctx, req), nil
	case *kmsg.LeaveGroupRequest:
		return c.leaveGroup(ctx, req)
	case *kmsg.SyncGroupRequest:
		return c.syncGroup(ctx, req)
	case *kmsg.DescribeGroupsRequest:
		return c.describeGroups(ctx, req)
	case *kmsg.ListGroupsRequest:
		return c.listGroups(ctx, req)
	case *kmsg.DeleteGroupsRequest:
		return c.deleteGroups(ctx, req)
	case *kmsg.OffsetDeleteRequest:
		return c.offsetDelete(ctx, req)
	case *kmsg.ApiVersionsRequest:
		return versions(req.Version, codeNone), nil
	case *kmsg.CreateTopicsRequest:
		return c.createTopics(ctx, req)
	case *kmsg.DeleteTopicsRequest:
		return c.deleteTopics(ctx, req)
	case *kmsg.InitProducerIDRequest:
		return initProducerID(req), nil
	case *kmsg.DescribeConfigsRequest:
		return c.describeConfigs(ctx, req)
	case *kmsg.DescribeClusterRequest:
		return c.describeCluster(req), nil
	}
	return nil, fmt.Errorf("%T has no handler", req)
}

// find returns nil for what is not offered.
func find(key int16) *api {
	if i := slices.IndexFunc(table, func(a api) bool { return a.key == key }); i >= 0 {
		return &table[i]
	}
	return nil
}

func (a *api) flexible(version int16) bool {
	req := kmsg.RequestForKey(a.key)
	req.SetVersion(version)
	return req.IsFlexible()
}

const (
	structured   = 1 << 20 // most bytes of a request that carries no records
	decodeWeight = 128     // what a byte of it may be decoded to, at most
	mostItems    = 11_000  // most topics, partitions and tags of a Produce or Fetch: a cluster has no more
)

// handle finds out what is asked, and answers it.
func (c *conn) handle(ctx context.Context, h header, body []byte) (kmsg.Response, error) {
	a := find(h.key)
	switch {
	case a == nil:
		return nil, fmt.Errorf("API key %d, which is not offered", h.key)
	case h.key == keyApiVersions && h.version > a.max: // the only one that clients ask for without knowing
		return versions(0, codeUnsupportedVersion), nil
	case h.version < a.min || h.version > a.max:
		return nil, fmt.Errorf("%s in version %d: %d to %d are offered", a.name, h.version, a.min, a.max)
	}
	weight := int64(len(body))
	if h.key == keyProduce {
		if items, whole := produceItems(body, h.version); !whole || items > mostItems {
			return nil, fmt.Errorf("%s: %w, or of more than %d topics and partitions", a.name, errMalformed, mostItems)
		}
	} else {
		if weight > structured {
			return nil, fmt.Errorf("%s of %d bytes: %d are taken", a.name, weight, structured)
		}
		weight *= decodeWeight
	}
	c.weight = min(weight, decodingMemory, patienceMemory)
	req, err := c.decode(ctx, h, body, min(weight, decodingMemory))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.name, err)
	}
	return c.answer(ctx, req)
}

func (c *conn) decode(ctx context.Context, h header, body []byte, weight int64) (kmsg.Request, error) {
	if err := c.decoding.Acquire(ctx, weight); err != nil {
		return nil, errClosed
	}
	defer c.decoding.Release(weight)
	req := kmsg.RequestForKey(h.key)
	req.SetVersion(h.version)
	if err := req.ReadFrom(body); err != nil {
		return nil, errMalformed
	}
	return req, nil
}

func versions(version, code int16) kmsg.Response {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version, resp.ErrorCode = version, code
	for _, a := range table {
		resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: a.key, MinVersion: a.min, MaxVersion: a.max})
	}
	return resp
}
