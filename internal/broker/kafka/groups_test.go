package kafka

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func produceSome(t *testing.T, ctx context.Context, p *port, topic string, values ...string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(p.address), kgo.DefaultProduceTopic(topic))
	must(t, err)
	defer client.Close()
	for _, v := range values {
		must(t, client.ProduceSync(ctx, kgo.StringRecord(v)).FirstErr())
	}
}

// franz-go consumes in a group, commits, and goes on where it was when the node was started again.
func TestFranzGoGroupResumes(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	consume := func(p *port, n int) (values []string) {
		client, err := kgo.NewClient(kgo.SeedBrokers(p.address), kgo.ConsumerGroup("shop"), kgo.ConsumeTopics("orders"), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		must(t, err)
		defer client.Close()
		for len(values) < n {
			fetches := client.PollFetches(ctx)
			must(t, fetches.Err())
			fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
		}
		must(t, client.CommitUncommittedOffsets(ctx))
		return values
	}
	p := start(t, dir, nil)
	create(t, p, "orders", 1)
	produceSome(t, ctx, p, "orders", "a", "b", "c")
	if got := consume(p, 3); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("%v", got)
	}
	p.stop()
	p = start(t, dir, nil)
	produceSome(t, ctx, p, "orders", "d", "e")
	if got := consume(p, 2); !slices.Equal(got, []string{"d", "e"}) {
		t.Errorf("after the restart: %v", got)
	}
}

// Two members share the partitions, and when one leaves the other has all.
func TestFranzGoGroupRebalances(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	create(t, p, "orders", 4)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	changed := make(chan struct{}, 100)
	owned := [2]map[int32]bool{{}, {}}
	member := func(i int) *kgo.Client {
		note := func(has bool) func(context.Context, *kgo.Client, map[string][]int32) {
			return func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
				mu.Lock()
				for _, part := range parts["orders"] {
					if has {
						owned[i][part] = true
					} else {
						delete(owned[i], part)
					}
				}
				mu.Unlock()
				changed <- struct{}{}
			}
		}
		client, err := kgo.NewClient(kgo.SeedBrokers(p.address), kgo.ConsumerGroup("shop"), kgo.ConsumeTopics("orders"), kgo.Balancers(kgo.RangeBalancer()),
			kgo.HeartbeatInterval(100*time.Millisecond), kgo.OnPartitionsAssigned(note(true)), kgo.OnPartitionsRevoked(note(false)), kgo.OnPartitionsLost(note(false)))
		must(t, err)
		return client
	}
	until := func(what string, counts ...int) {
		t.Helper()
		for {
			mu.Lock()
			a, b := slices.Collect(maps.Keys(owned[0])), slices.Collect(maps.Keys(owned[1]))
			mu.Unlock()
			if len(a) == counts[0] && len(b) == counts[1] && len(a)+len(b) == 4 {
				for _, x := range a {
					if slices.Contains(b, x) {
						t.Errorf("%s: both own %d", what, x)
					}
				}
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				t.Fatalf("%s: %v and %v", what, a, b)
			}
		}
	}
	first := member(0)
	defer first.Close()
	until("one member", 4, 0)
	second := member(1)
	until("two members", 2, 2)
	r := p.dial(t)
	described := ask[*kmsg.DescribeGroupsResponse](r, &kmsg.DescribeGroupsRequest{Version: 5, Groups: []string{"shop", "none"}}).Groups
	if g := described[0]; g.State != "Stable" || len(g.Members) != 2 || g.Protocol != "range" || g.Members[0].ClientHost != "/127.0.0.1" || described[1].State != "Dead" {
		t.Errorf("%+v", described)
	}
	second.Close()
	until("one has left", 4, 0)
	list := ask[*kmsg.ListGroupsResponse](r, &kmsg.ListGroupsRequest{Version: 4, StatesFilter: []string{"stable"}}).Groups
	if len(list) != 1 || list[0].Group != "shop" || list[0].GroupState != "Stable" || list[0].ProtocolType != "consumer" {
		t.Errorf("%+v", list)
	}
}

// kafka-go's reader, whose requests are of the oldest versions, consumes in a group, commits and goes on.
func TestKafkaGoGroup(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil)
	create(t, p, "orders", 2)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	read := func(p *port, n int) (values []string) {
		dialer := &kafkago.Dialer{Timeout: 5 * time.Second}
		r := kafkago.NewReader(kafkago.ReaderConfig{Brokers: []string{p.address}, GroupID: "shop", Topic: "orders", MaxWait: 100 * time.Millisecond, Dialer: dialer,
			StartOffset: kafkago.FirstOffset})
		for range n {
			m, err := r.ReadMessage(ctx) // commits
			must(t, err)
			values = append(values, string(m.Value))
		}
		must(t, r.Close())
		slices.Sort(values)
		return values
	}
	var all []string
	for i := range 10 {
		all = append(all, fmt.Sprint(i))
	}
	produceSome(t, ctx, p, "orders", all...)
	if got := read(p, 10); !slices.Equal(got, all) {
		t.Errorf("%v", got)
	}
	p.stop()
	p = start(t, dir, nil)
	produceSome(t, ctx, p, "orders", "x")
	if got := read(p, 1); !slices.Equal(got, []string{"x"}) {
		t.Errorf("%v", got)
	}
}

func commitOf(id string, topic string, partition int32, offset int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation = 8, id, -1
	x := kmsg.NewOffsetCommitRequestTopic()
	x.Topic = topic
	y := kmsg.NewOffsetCommitRequestTopicPartition()
	y.Partition, y.Offset, y.Metadata = partition, offset, kmsg.StringPtr("note")
	x.Partitions = append(x.Partitions, y)
	req.Topics = append(req.Topics, x)
	return req
}

// loaded waits until the groups are read: before that they are answered for with code 14.
func (r *raw) loaded() {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ask[*kmsg.ListGroupsResponse](r, &kmsg.ListGroupsRequest{}).ErrorCode == codeLoading; {
		if time.Now().After(deadline) {
			r.t.Fatal("the groups are never read")
		}
	}
}

func TestGroupRequests(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	create(t, p, "orders", 2)
	r := p.dial(t)
	r.loaded()
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.Version, find.CoordinatorKeys = 4, []string{"shop", "other"}
	if got := ask[*kmsg.FindCoordinatorResponse](r, find).Coordinators; len(got) != 2 || got[1].Key != "other" || got[1].NodeID != nodeID || got[1].ErrorCode != 0 {
		t.Errorf("%+v", got)
	}
	find.CoordinatorType = 1
	if got := ask[*kmsg.FindCoordinatorResponse](r, find).Coordinators; got[0].ErrorCode != codeInvalidRequest {
		t.Errorf("of transactions: %+v", got)
	}
	for partition, code := range []int16{0, 0, codeUnknownTopicOrPartition} {
		if got := ask[*kmsg.OffsetCommitResponse](r, commitOf("shop", "orders", int32(partition), int64(partition+5))).Topics[0].Partitions[0]; got.ErrorCode != code {
			t.Errorf("%+v, want %d", got, code)
		}
	}
	fetch := kmsg.NewPtrOffsetFetchRequest()
	fetch.Version, fetch.Group = 7, "shop"
	all := ask[*kmsg.OffsetFetchResponse](r, fetch).Topics
	if len(all) != 1 || len(all[0].Partitions) != 2 || all[0].Partitions[1].Offset != 6 || *all[0].Partitions[1].Metadata != "note" {
		t.Errorf("%+v", all)
	}
	fetch.Version = 8
	fetch.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "shop", Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "orders", Partitions: []int32{0, 9}}}}, {Group: "none"}}
	some := ask[*kmsg.OffsetFetchResponse](r, fetch).Groups
	if parts := some[0].Topics[0].Partitions; parts[0].Offset != 5 || parts[1].Offset != -1 || parts[1].ErrorCode != 0 || len(some[1].Topics) != 0 {
		t.Errorf("%+v", some)
	}
	drop := kmsg.NewPtrOffsetDeleteRequest()
	drop.Group, drop.Topics = "shop", []kmsg.OffsetDeleteRequestTopic{{Topic: "orders", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 1}}}}
	if got := ask[*kmsg.OffsetDeleteResponse](r, drop); got.ErrorCode != 0 || got.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Errorf("%+v", got)
	}
	if drop.Group = "none"; ask[*kmsg.OffsetDeleteResponse](r, drop).ErrorCode != 69 {
		t.Error("offsets of no group were deleted")
	}
	if got := ask[*kmsg.HeartbeatResponse](r, &kmsg.HeartbeatRequest{Version: 4, Group: "shop", MemberID: "x"}); got.ErrorCode != 25 {
		t.Errorf("%+v", got)
	}
	if got := ask[*kmsg.LeaveGroupResponse](r, &kmsg.LeaveGroupRequest{Version: 2, Group: "shop", MemberID: "x"}); got.ErrorCode != 25 {
		t.Errorf("%+v", got)
	}
	if got := ask[*kmsg.LeaveGroupResponse](r, &kmsg.LeaveGroupRequest{Version: 5, Group: "shop", Members: []kmsg.LeaveGroupRequestMember{{MemberID: "x"}}}); got.ErrorCode != 0 || got.Members[0].ErrorCode != 25 {
		t.Errorf("%+v", got)
	}
	if got := ask[*kmsg.DeleteGroupsResponse](r, &kmsg.DeleteGroupsRequest{Version: 2, Groups: []string{"shop", "none"}}).Groups; got[0].ErrorCode != 0 || got[1].ErrorCode != 69 {
		t.Errorf("%+v", got)
	}
	ask[*kmsg.OffsetCommitResponse](r, commitOf("shop", "orders", 0, 5))
	remove := kmsg.NewPtrDeleteTopicsRequest()
	remove.Version, remove.TopicNames = 1, []string{"orders", journalTopic}
	if got := ask[*kmsg.DeleteTopicsResponse](r, remove).Topics; got[0].ErrorCode != 0 || got[1].ErrorCode != codeUnknownTopicOrPartition {
		t.Errorf("%+v", got)
	}
	fetch.Version = 7
	if all := ask[*kmsg.OffsetFetchResponse](r, fetch).Topics; len(all) != 0 {
		t.Errorf("offsets outlive their topic: %+v", all)
	}
}

// A node that has died when a topic was deleted, and its offsets were not, makes a new topic of that name without them. One that exists keeps its own.
func TestTopicIsMadeAnew(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	create(t, p, "orders", 1)
	r := p.dial(t)
	r.loaded()
	ask[*kmsg.OffsetCommitResponse](r, commitOf("shop", "orders", 0, 5))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	must(t, p.DeleteTopic(ctx, "orders")) // beside the port, which hears nothing of it
	fetch := kmsg.NewPtrOffsetFetchRequest()
	fetch.Version, fetch.Group = 7, "shop"
	again := kmsg.NewPtrCreateTopicsRequest()
	again.Version = 7
	x := kmsg.NewCreateTopicsRequestTopic()
	x.Topic, x.NumPartitions, x.ReplicationFactor = "orders", 1, 1
	again.Topics = append(again.Topics, x)
	if got := ask[*kmsg.CreateTopicsResponse](r, again).Topics[0]; got.ErrorCode != codeNone {
		t.Fatalf("%+v", got)
	}
	if all := ask[*kmsg.OffsetFetchResponse](r, fetch).Topics; len(all) != 0 {
		t.Errorf("the new topic begins at %+v", all)
	}
	ask[*kmsg.OffsetCommitResponse](r, commitOf("shop", "orders", 0, 3))
	if got := ask[*kmsg.CreateTopicsResponse](r, again).Topics[0]; got.ErrorCode != codeTopicAlreadyExists {
		t.Errorf("%+v", got)
	}
	if all := ask[*kmsg.OffsetFetchResponse](r, fetch).Topics; len(all) != 1 || all[0].Partitions[0].Offset != 3 {
		t.Errorf("a topic that exists was made again: %+v", all)
	}
}

// For clients the groups' own topic does not exist.
func TestOwnTopicIsHidden(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	r := p.dial(t)
	r.loaded()
	if _, ok := p.Topic(journalTopic); !ok {
		t.Fatal("there is no such topic")
	}
	if got := ask[*kmsg.MetadataResponse](r, kmsg.NewPtrMetadataRequest()).Topics; len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if got := ask[*kmsg.ProduceResponse](r, produceOf(9, -1, journalTopic, batch("v"))).Topics[0].Partitions[0]; got.ErrorCode != codeUnknownTopicOrPartition {
		t.Errorf("%+v", got)
	}
	if got := ask[*kmsg.FetchResponse](r, fetchOf(journalTopic, 0)).Topics[0].Partitions[0]; got.ErrorCode != codeUnknownTopicOrPartition {
		t.Errorf("%+v", got)
	}
	if got := ask[*kmsg.ListOffsetsResponse](r, offsetsOf(journalTopic, timeLatest)).Topics[0].Partitions[0]; got.ErrorCode != codeUnknownTopicOrPartition {
		t.Errorf("%+v", got)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	x := kmsg.NewCreateTopicsRequestTopic()
	x.Topic, x.NumPartitions, x.ReplicationFactor = hiddenPrefix+"mine", 1, 1
	req.Topics = append(req.Topics, x)
	if got := ask[*kmsg.CreateTopicsResponse](r, req).Topics[0]; got.ErrorCode != codeInvalidTopic {
		t.Errorf("%+v", got)
	}
}
