// franz-go.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"foz.dev/compat/clients/scenario"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func main() {
	scenario.Run(func(bootstrap []string) (scenario.Client, error) {
		seeds := kgo.SeedBrokers(bootstrap...)
		inner, err := kgo.NewClient(seeds, kgo.MetadataMinAge(50*time.Millisecond))
		if err != nil {
			return nil, err
		}
		return &client{seeds, inner, kadm.NewClient(inner)}, nil
	})
}

type client struct {
	seeds kgo.Opt
	inner *kgo.Client
	admin *kadm.Client
}

func within() context.Context {
	limited, cancel := context.WithCancel(context.Background())
	time.AfterFunc(scenario.Patience, cancel)
	return limited
}

func (c *client) CreateTopic(topic string, partitions int32, config map[string]string) error {
	values := map[string]*string{}
	for name, value := range config {
		values[name] = kadm.StringPtr(value)
	}
	_, err := c.admin.CreateTopic(within(), partitions, 3, values, topic)
	return err
}

func (c *client) Partitions(topic string) (map[int32]int, error) {
	found, err := c.admin.ListTopics(within(), topic)
	all := map[int32]int{}
	for _, each := range found[topic].Partitions {
		all[each.Partition] = len(each.Replicas)
	}
	return all, err
}

func (c *client) CreatePartitions(topic string, count int32) error {
	found, err := c.admin.UpdatePartitions(within(), int(count), topic)
	return errors.Join(err, found.Error())
}

func (c *client) SetTopicConfig(topic, name, value string) error {
	set := kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: kadm.StringPtr(value)}
	found, err := c.admin.AlterTopicConfigs(within(), []kadm.AlterConfig{set}, topic)
	if err != nil {
		return err
	}
	return found[0].Err
}

func (c *client) TopicConfigs(topic string) (map[string]string, error) {
	found, err := c.admin.DescribeTopicConfigs(within(), topic)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, each := range found[0].Configs {
		all[each.Key] = each.MaybeValue()
	}
	return all, found[0].Err
}

func (c *client) DeleteTopic(topic string) error {
	_, err := c.admin.DeleteTopic(within(), topic)
	return err
}

func (c *client) FirstAndEnd(topic string, partition int32) (int64, int64, error) {
	first, err := at(topic, partition)(c.admin.ListStartOffsets(within(), topic))
	if err != nil {
		return 0, 0, err
	}
	end, err := at(topic, partition)(c.admin.ListEndOffsets(within(), topic))
	return first, end, err
}

func (c *client) GreatestTime(topic string, partition int32) (int64, error) {
	return at(topic, partition)(c.admin.ListMaxTimestampOffsets(within(), topic))
}

func (c *client) OffsetOfTime(topic string, partition int32, ms int64) (int64, error) {
	found, err := c.admin.ListOffsetsAfterMilli(within(), ms, topic)
	// Where there is none, it looks up the end and says so by a time of -1.
	if each, is := found.Lookup(topic, partition); is && each.Timestamp == -1 {
		return -1, err
	}
	return at(topic, partition)(found, err)
}

func at(topic string, partition int32) func(kadm.ListedOffsets, error) (int64, error) {
	return func(found kadm.ListedOffsets, err error) (int64, error) {
		if err != nil {
			return 0, err
		}
		each, is := found.Lookup(topic, partition)
		if !is {
			return 0, fmt.Errorf("no answer for partition %d", partition)
		}
		return each.Offset, each.Err
	}
}

func offsets(topic string, partition int32, offset int64, metadata string) kadm.Offsets {
	all := kadm.Offsets{}
	all.Add(kadm.Offset{Topic: topic, Partition: partition, At: offset, LeaderEpoch: -1, Metadata: metadata})
	return all
}

func (c *client) DeleteRecords(topic string, partition int32, offset int64) error {
	found, err := c.admin.DeleteRecords(within(), offsets(topic, partition, offset, ""))
	return errors.Join(err, found.Error())
}

func (c *client) Groups() ([]string, error) {
	found, err := c.admin.ListGroups(within())
	return found.Groups(), err
}

func (c *client) GroupState(group string) (string, error) {
	found, err := c.admin.DescribeGroups(within(), group)
	return found[group].State, errors.Join(err, found[group].Err)
}

func (c *client) GroupOffsets(group, topic string) (map[int32]scenario.Committed, error) {
	found, err := c.admin.FetchOffsets(within(), group)
	all := map[int32]scenario.Committed{}
	for partition, each := range found[topic] {
		all[partition] = scenario.Committed{Offset: each.At, Metadata: each.Metadata}
	}
	return all, err
}

func (c *client) AlterGroupOffset(group, topic string, partition int32, offset int64) error {
	found, err := c.admin.CommitOffsets(within(), group, offsets(topic, partition, offset, ""))
	return errors.Join(err, found.Error())
}

func (c *client) DeleteGroup(group string) error {
	_, err := c.admin.DeleteGroup(within(), group)
	return err
}

func (c *client) ErrorName(err error) string {
	var answer *kerr.Error
	if !errors.As(err, &answer) {
		return err.Error()
	}
	if answer == kerr.InvalidProducerEpoch {
		return "PRODUCER_FENCED"
	}
	return answer.Message
}

type producer struct{ inner *kgo.Client }

func (c *client) Producer(kind scenario.ProducerKind) (scenario.Producer, error) {
	codec := map[string]kgo.CompressionCodec{"gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}[kind.Codec]
	options := []kgo.Opt{c.seeds, kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codec, kgo.NoCompression())}
	if !kind.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	if kind.TransactionalID != "" {
		options = append(options, kgo.TransactionalID(kind.TransactionalID))
	}
	if kind.RequestBytesMax > 0 {
		options = append(options, kgo.ProducerBatchMaxBytes(int32(kind.RequestBytesMax)))
	}
	inner, err := kgo.NewClient(options...)
	if err == nil && kind.TransactionalID != "" {
		// It asks for its id when it first needs it; whoever had it is fenced from here on.
		_, _, err = inner.ProducerID(within())
	}
	return &producer{inner}, err
}

func (p *producer) Send(topic string, partition int32, made []scenario.Record) error {
	var all []*kgo.Record
	for _, each := range made {
		record := &kgo.Record{Topic: topic, Partition: partition, Key: each.Key, Value: each.Value,
			Timestamp: time.UnixMilli(each.TimestampMs)}
		for _, header := range each.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Key, Value: []byte(header.Value)})
		}
		all = append(all, record)
	}
	return p.inner.ProduceSync(within(), all...).FirstErr()
}

func (p *producer) Begin() error  { return p.inner.BeginTransaction() }
func (p *producer) Commit() error { return p.inner.EndTransaction(within(), kgo.TryCommit) }
func (p *producer) Abort() error  { return p.inner.EndTransaction(within(), kgo.TryAbort) }
func (p *producer) Close()        { p.inner.Close() }

func (c *client) Read(topic string, partition int32, offset int64, count int, committed bool) ([]scenario.Record, error) {
	options := []kgo.Opt{c.seeds, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		topic: {partition: kgo.NewOffset().At(offset)}}), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(200 * time.Millisecond)}
	if committed {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	inner, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer inner.Close()
	var found []scenario.Record
	limit := within()
	for len(found) < count {
		more, err := poll(limit, inner)
		found = append(found, more...)
		if err != nil {
			return found, err
		}
	}
	soon, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	more, err := poll(soon, inner)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return append(found, more...), err
}

func poll(limit context.Context, inner *kgo.Client) ([]scenario.Record, error) {
	fetches := inner.PollFetches(limit)
	var found []scenario.Record
	fetches.EachRecord(func(each *kgo.Record) {
		record := scenario.Record{Key: each.Key, Value: each.Value, TimestampMs: each.Timestamp.UnixMilli(),
			Partition: each.Partition, Offset: each.Offset}
		for _, header := range each.Headers {
			record.Headers = append(record.Headers, scenario.Header{Key: header.Key, Value: string(header.Value)})
		}
		found = append(found, record)
	})
	return found, fetches.Err()
}

// GroupType is not among what kadm tells of a group.
func (c *client) GroupType(group string) (string, error) {
	found, err := kmsg.NewPtrListGroupsRequest().RequestWith(within(), c.inner)
	if err != nil {
		return "", err
	}
	for _, each := range found.Groups {
		if each.Group == group {
			return each.GroupType, nil
		}
	}
	return "", fmt.Errorf("%s is not listed", group)
}

type member struct {
	inner   *kgo.Client
	topic   string
	lock    sync.Mutex
	owned   map[scenario.Place]bool
	found   []scenario.Record
	journal scenario.Journal
	failure error
	stop    context.CancelFunc
	stopped chan struct{}
}

func (c *client) Join(group, topic string, kind scenario.MemberKind) (scenario.Member, error) {
	return c.join(group, topic, kind, nil)
}

func (c *client) Migrant(group, topic string, kind scenario.MemberKind, journal scenario.Journal) (scenario.NewMember, error) {
	return c.join(group, topic, kind, journal)
}

// With a journal it commits what it reads, before it reads on and before it gives a partition up.
func (c *client) join(group, topic string, kind scenario.MemberKind, journal scenario.Journal) (*member, error) {
	m := &member{topic: topic, owned: map[scenario.Place]bool{}, stopped: make(chan struct{}), journal: journal}
	limit, stop := context.WithCancel(context.Background())
	m.stop = stop
	options := []kgo.Opt{c.seeds, kgo.ConsumerGroup(group), kgo.ConsumeTopics(append([]string{topic}, kind.More...)...),
		kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(10 * time.Second),
		kgo.HeartbeatInterval(300 * time.Millisecond), kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.OnPartitionsAssigned(m.change(true)), kgo.OnPartitionsRevoked(m.change(false)),
		kgo.OnPartitionsLost(m.lose)}
	if journal != nil {
		// No partition goes between what is polled and its commit.
		options = append(options, kgo.BlockRebalanceOnPoll())
	}
	if kind.Regex {
		options = append(options, kgo.ConsumeRegex())
	}
	if kind.Assignor != "" {
		balancers := map[string]kgo.GroupBalancer{"range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer(),
			"sticky": kgo.StickyBalancer(), "cooperative-sticky": kgo.CooperativeStickyBalancer()}
		options = append(options, kgo.Balancers(balancers[kind.Assignor]))
	}
	if kind.Instance != "" {
		options = append(options, kgo.InstanceID(kind.Instance))
	}
	if kind.NewProtocol {
		options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer()))
	}
	inner, err := kgo.NewClient(options...)
	if err != nil {
		stop()
		return nil, err
	}
	m.inner = inner
	go func() {
		defer close(m.stopped)
		for limit.Err() == nil {
			more, err := poll(limit, inner)
			m.lock.Lock()
			m.found = append(m.found, more...)
			if err != nil && limit.Err() == nil {
				m.failure = err
			}
			m.lock.Unlock()
			if journal != nil {
				for _, each := range more {
					journal.Read(each)
				}
				m.commitAll()
				inner.AllowRebalance()
			}
		}
	}()
	return m, nil
}

// Where it is refused, it may once it has polled again, or it has lost what it read.
func (m *member) commitAll() {
	offsets := m.inner.UncommittedOffsets()
	if len(offsets) == 0 {
		return
	}
	m.inner.CommitOffsetsSync(within(), offsets,
		func(_ *kgo.Client, request *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
			if err != nil {
				return
			}
			for i, topic := range answer.Topics {
				for j, each := range topic.Partitions {
					if each.ErrorCode == 0 {
						m.journal.Committed(each.Partition, request.Topics[i].Partitions[j].Offset)
					}
				}
			}
		})
}

func (m *member) change(owns bool) func(context.Context, *kgo.Client, map[string][]int32) {
	return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) {
		if m.journal != nil && !owns {
			m.commitAll()
		}
		m.lock.Lock()
		defer m.lock.Unlock()
		for topic, partitions := range changed {
			for _, partition := range partitions {
				if owns {
					m.owned[scenario.Place{Topic: topic, Partition: partition}] = true
				} else {
					delete(m.owned, scenario.Place{Topic: topic, Partition: partition})
				}
			}
		}
	}
}

func (m *member) lose(limit context.Context, inner *kgo.Client, lost map[string][]int32) {
	if m.journal != nil {
		m.journal.Lost(lost[m.topic])
	}
	m.change(false)(limit, inner, lost)
}

func (m *member) Places() map[scenario.Place]bool {
	m.lock.Lock()
	defer m.lock.Unlock()
	return maps.Clone(m.owned)
}

func (m *member) Owned() map[int32]bool {
	owned := map[int32]bool{}
	for place := range m.Places() {
		owned[place.Partition] = true
	}
	return owned
}

func (m *member) Failure() error {
	m.lock.Lock()
	defer m.lock.Unlock()
	return m.failure
}

func (m *member) Found() []scenario.Record {
	m.lock.Lock()
	defer m.lock.Unlock()
	return m.found
}

func (m *member) Commit(partition int32, offset int64, metadata string) error {
	noted := kgo.PreCommitFnContext(within(), func(request *kmsg.OffsetCommitRequest) error {
		request.Topics[0].Partitions[0].Metadata = &metadata
		return nil
	})
	offsets := map[string]map[int32]kgo.EpochOffset{m.topic: {partition: {Epoch: -1, Offset: offset}}}
	var failure error
	m.inner.CommitOffsetsSync(noted, offsets,
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
			failure = err
			if err == nil {
				failure = kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode)
			}
		})
	return failure
}

func (m *member) Leave() error {
	m.stop()
	<-m.stopped
	defer m.inner.Close()
	return errors.Join(m.failure, m.inner.LeaveGroupContext(within()))
}

func (c *client) SendOffsets(id, group, topic, out string, partition int32, commits bool) (int64, error) {
	session, err := kgo.NewGroupTransactSession(c.seeds, kgo.TransactionalID(id), kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RequireStableFetchOffsets(),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return 0, err
	}
	defer session.Close()
	_, end, err := c.FirstAndEnd(topic, partition)
	if err != nil {
		return 0, err
	}
	if err := session.Begin(); err != nil {
		return 0, err
	}
	for seen := int64(0); seen < end; {
		fetches := session.PollFetches(within())
		if err := fetches.Err(); err != nil {
			return 0, err
		}
		fetches.EachRecord(func(each *kgo.Record) {
			if each.Partition == partition {
				seen = each.Offset + 1
			}
		})
	}
	record := &kgo.Record{Topic: out, Value: []byte("with offsets")}
	if err := session.ProduceSync(within(), record).FirstErr(); err != nil {
		return 0, err
	}
	is, err := session.End(within(), kgo.TransactionEndTry(commits))
	if err == nil && is != commits {
		err = errors.New("the group was rebalanced meanwhile")
	}
	return end, err
}
