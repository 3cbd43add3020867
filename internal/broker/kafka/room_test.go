package kafka

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Who names the same thing again and again is answered once.
func TestNamesAreAnsweredOnce(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	create(t, p, "orders", 2)
	r := p.dial(t)
	r.loaded()
	ask[*kmsg.OffsetCommitResponse](r, commitOf("shop", "orders", 1, 5))

	metadata := kmsg.NewPtrMetadataRequest()
	metadata.Version = 12
	for _, name := range []string{"orders", "typo", "orders", "typo", "orders"} {
		metadata.Topics = append(metadata.Topics, kmsg.MetadataRequestTopic{Topic: &name})
	}
	for _, id := range [][16]byte{topicID(p.Cluster(), "orders"), {9}, {9}, topicID(p.Cluster(), "orders")} {
		metadata.Topics = append(metadata.Topics, kmsg.MetadataRequestTopic{TopicID: id})
	}
	if got := ask[*kmsg.MetadataResponse](r, metadata).Topics; len(got) != 3 || *got[0].Topic != "orders" || *got[1].Topic != "typo" || got[2].ErrorCode != codeUnknownTopicID {
		t.Errorf("%+v", got)
	}

	list := offsetsOf("orders", timeLatest)
	for _, partition := range []int32{0, 1, 0, 1, 7} {
		part := list.Topics[0].Partitions[0]
		part.Partition = partition
		list.Topics[0].Partitions = append(list.Topics[0].Partitions, part)
	}
	list.Topics = append(list.Topics, list.Topics[0], kmsg.ListOffsetsRequestTopic{Topic: "orders"})
	if got := ask[*kmsg.ListOffsetsResponse](r, list).Topics; len(got) != 1 || len(got[0].Partitions) != 3 || got[0].Partitions[2].Partition != 7 {
		t.Errorf("%+v", got)
	}

	fetch := kmsg.NewPtrOffsetFetchRequest()
	orders := kmsg.OffsetFetchRequestGroupTopic{Topic: "orders", Partitions: []int32{1, 0, 1, 1}}
	more := kmsg.OffsetFetchRequestGroupTopic{Topic: "orders", Partitions: []int32{1, 8}}
	shop := kmsg.OffsetFetchRequestGroup{Group: "shop", Topics: []kmsg.OffsetFetchRequestGroupTopic{orders, orders, more}}
	fetch.Version, fetch.Groups = 8, []kmsg.OffsetFetchRequestGroup{shop, {Group: "none"}, shop, {Group: "none"}}
	got := ask[*kmsg.OffsetFetchResponse](r, fetch).Groups
	if len(got) != 2 || len(got[0].Topics) != 2 || len(got[0].Topics[0].Partitions) != 2 || got[0].Topics[0].Partitions[0].Offset != 5 || len(got[0].Topics[1].Partitions) != 1 {
		t.Errorf("%+v", got)
	}
	fetch.Version, fetch.Group = 7, "shop"
	for range 3 {
		fetch.Topics = append(fetch.Topics, kmsg.OffsetFetchRequestTopic{Topic: "orders", Partitions: []int32{1, 1}})
	}
	if got := ask[*kmsg.OffsetFetchResponse](r, fetch).Topics; len(got) != 1 || len(got[0].Partitions) != 1 || got[0].Partitions[0].Offset != 5 {
		t.Errorf("%+v", got)
	}

	describe := kmsg.NewPtrDescribeConfigsRequest()
	describe.Version = 4
	for range 3 {
		describe.Resources = append(describe.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "orders"})
	}
	if got := ask[*kmsg.DescribeConfigsResponse](r, describe).Resources; len(got) != 1 || len(got[0].Configs) != 4 {
		t.Errorf("%+v", got)
	}
	twice := []string{"shop", "none", "shop", "none"}
	if got := ask[*kmsg.FindCoordinatorResponse](r, &kmsg.FindCoordinatorRequest{Version: 4, CoordinatorKeys: twice}).Coordinators; len(got) != 2 {
		t.Errorf("%+v", got)
	}
	twice = []string{"shop", "none", "shop", "none"}
	if got := ask[*kmsg.DescribeGroupsResponse](r, &kmsg.DescribeGroupsRequest{Version: 5, Groups: twice}).Groups; len(got) != 2 || got[0].State != "Empty" || got[1].State != "Dead" {
		t.Errorf("%+v", got)
	}
	twice = []string{"shop", "none", "shop", "none"}
	if got := ask[*kmsg.DeleteGroupsResponse](r, &kmsg.DeleteGroupsRequest{Version: 2, Groups: twice}).Groups; len(got) != 2 || got[0].ErrorCode != 0 || got[1].ErrorCode != 69 {
		t.Errorf("%+v", got)
	}
}

// full takes all room for answers, as soon as nobody has any, and returns what gives it back.
func (p *port) full(t *testing.T) (giveBack func()) {
	t.Helper()
	eventually(t, "room is not given back", func() bool { return p.server.responses.TryAcquire(p.server.budget) })
	return func() { p.server.responses.Release(p.server.budget) }
}

// A large answer waits for the room that records of answers have, and gives it back; a small one needs none.
func TestLargeAnswersTakeRoom(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	const many = 1000
	create(t, p, "orders", many)
	create(t, p, "bills", 1)
	r := p.dial(t)
	r.loaded()
	commit, each := commitOf("shop", "orders", 0, 5), offsetsOf("orders", timeLatest)
	for i := int32(1); i < many; i++ {
		part, one := commit.Topics[0].Partitions[0], each.Topics[0].Partitions[0]
		part.Partition, one.Partition = i, i
		commit.Topics[0].Partitions = append(commit.Topics[0].Partitions, part)
		each.Topics[0].Partitions = append(each.Topics[0].Partitions, one)
	}
	ask[*kmsg.OffsetCommitResponse](r, commit)
	join := kmsg.NewPtrJoinGroupRequest()
	join.Version, join.Group, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis, join.ProtocolType = 3, "large", 60_000, 60_000, "consumer"
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: make([]byte, 200<<10)}}
	member := ask[*kmsg.JoinGroupResponse](r, join)
	if member.ErrorCode != 0 || len(member.Members) != 1 {
		t.Fatalf("code %d", member.ErrorCode)
	}
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.Group, sync.MemberID, sync.Generation = 3, "large", member.MemberID, member.Generation
	sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: member.MemberID, MemberAssignment: make([]byte, 100<<10)}}
	again := *join
	again.MemberID = member.MemberID
	all := kmsg.NewPtrOffsetFetchRequest()
	all.Version, all.Group = 7, "shop"
	unknown := kmsg.NewPtrMetadataRequest()
	unknown.Version = 1
	for i := range many {
		name := string(rune('a'+i%26)) + string(rune('a'+i/26))
		unknown.Topics = append(unknown.Topics, kmsg.MetadataRequestTopic{Topic: &name})
	}
	for _, c := range []struct {
		what string
		req  kmsg.Request
	}{
		{"all topics", kmsg.NewPtrMetadataRequest()}, {"unknown topics", unknown}, {"offsets of a group", all}, {"offsets of partitions", each}, {"a large commit", commit},
		{"a large assignment", sync}, {"a large member", &kmsg.DescribeGroupsRequest{Version: 5, Groups: []string{"large"}}}, {"a leader", &again},
	} {
		giveBack := p.full(t)
		r.send(c.req)
		eventually(t, c.what+": nobody waits for room", func() bool { return !p.server.responses.TryAcquire(0) })
		p.healthy(t)
		giveBack()
		r.receive(c.req, r.n)
	}
	defer p.full(t)()
	bills := kmsg.NewPtrMetadataRequest()
	bills.Version, bills.Topics = 1, []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("bills")}}
	if got := ask[*kmsg.MetadataResponse](r, bills).Topics; len(got) != 1 || got[0].ErrorCode != 0 {
		t.Errorf("%+v", got)
	}
}

// Who asks for much with a large request waits for room only while few do; who asks with a small one waits on.
func TestPatienceIsBounded(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	create(t, p, "orders", 1000)
	giveBack := p.full(t)
	large := kmsg.NewPtrMetadataRequest()
	large.Version = 1
	for i := range 100_000 {
		name := fmt.Sprint(i)
		large.Topics = append(large.Topics, kmsg.MetadataRequestTopic{Topic: &name})
	}
	first, small := p.dial(t), p.dial(t)
	first.send(large)
	eventually(t, "nobody waits for room", func() bool { return !p.server.responses.TryAcquire(0) })
	small.send(kmsg.NewPtrMetadataRequest())
	second := p.dial(t)
	second.send(large)
	second.ended()
	if why := p.why(); len(why) != 1 || !errors.Is(why[0], errCrowded) {
		t.Errorf("%v", why)
	}
	giveBack()
	if got := first.receive(large, 1).(*kmsg.MetadataResponse).Topics; len(got) != 100_000 {
		t.Errorf("%d topics", len(got))
	}
	if got := small.receive(kmsg.NewPtrMetadataRequest(), 1).(*kmsg.MetadataResponse).Topics; len(got) != 1 {
		t.Errorf("%d topics", len(got))
	}
}

// Few search by time at once. Who finds no place is told to come again, and what needs no search is answered.
func TestSearchesAreBounded(t *testing.T) {
	p := start(t, t.TempDir(), func(c *Config) { c.Half = 300 * time.Millisecond })
	create(t, p, "orders", 2)
	r := p.dial(t)
	ask[*kmsg.ProduceResponse](r, produceOf(9, -1, "orders", batch("a")))
	req := offsetsOf("orders", 0)
	latest := req.Topics[0].Partitions[0]
	latest.Partition, latest.Timestamp = 1, timeLatest
	req.Topics[0].Partitions = append(req.Topics[0].Partitions, latest)
	if !p.server.searching.TryAcquire(searches) {
		t.Fatal("somebody searches")
	}
	got := ask[*kmsg.ListOffsetsResponse](r, req).Topics[0].Partitions
	if got[0].ErrorCode != codeRequestTimedOut || got[0].Offset != -1 || got[1].ErrorCode != 0 || got[1].Offset != 0 {
		t.Errorf("%+v", got)
	}
	p.server.searching.Release(searches)
	if got := ask[*kmsg.ListOffsetsResponse](r, req).Topics[0].Partitions; got[0].ErrorCode != 0 || got[0].Offset != 0 {
		t.Errorf("%+v", got)
	}
}
