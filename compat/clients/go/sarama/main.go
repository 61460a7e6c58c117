// sarama.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"sync"
	"time"

	"foz.dev/compat/clients/scenario"
	"github.com/IBM/sarama"
)

func main() {
	sarama.Logger = log.New(io.Discard, "", 0)
	scenario.Run(func(bootstrap []string) (scenario.Client, error) {
		inner, err := sarama.NewClient(bootstrap, config())
		if err != nil {
			return nil, err
		}
		admin, err := sarama.NewClusterAdminFromClient(inner)
		return &client{bootstrap, inner, admin}, err
	})
}

type client struct {
	bootstrap []string
	inner     sarama.Client
	admin     sarama.ClusterAdmin
}

func config() *sarama.Config {
	made := sarama.NewConfig()
	made.Version = sarama.MaxVersion
	made.Producer.Return.Successes = true
	made.Producer.RequiredAcks = sarama.WaitForAll
	made.Producer.Partitioner = sarama.NewManualPartitioner
	made.Consumer.Offsets.Initial = sarama.OffsetOldest
	made.Consumer.Offsets.AutoCommit.Enable = false
	made.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	made.Consumer.MaxWaitTime = 200 * time.Millisecond
	return made
}

func (c *client) CreateTopic(topic string, partitions int32, config map[string]string) error {
	entries := map[string]*string{}
	for name, value := range config {
		entries[name] = &value
	}
	detail := &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 3, ConfigEntries: entries}
	return c.admin.CreateTopic(topic, detail, false)
}

func (c *client) Partitions(topic string) (map[int32]int, error) {
	found, err := c.admin.DescribeTopics([]string{topic})
	all := map[int32]int{}
	for _, described := range found {
		if described.Err == sarama.ErrNoError {
			for _, each := range described.Partitions {
				all[each.ID] = len(each.Replicas)
			}
		}
	}
	return all, err
}

func (c *client) CreatePartitions(topic string, count int32) error {
	return c.admin.CreatePartitions(topic, count, nil, false)
}

func (c *client) SetTopicConfig(topic, name, value string) error {
	set := sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}
	return c.admin.IncrementalAlterConfig(sarama.TopicResource, topic,
		map[string]sarama.IncrementalAlterConfigsEntry{name: set}, false)
}

func (c *client) TopicConfigs(topic string) (map[string]string, error) {
	found, err := c.admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})
	all := map[string]string{}
	for _, each := range found {
		all[each.Name] = each.Value
	}
	return all, err
}

func (c *client) DeleteTopic(topic string) error { return c.admin.DeleteTopic(topic) }

func (c *client) FirstAndEnd(topic string, partition int32) (int64, int64, error) {
	first, err := c.inner.GetOffset(topic, partition, sarama.OffsetOldest)
	if err != nil {
		return 0, 0, err
	}
	end, err := c.inner.GetOffset(topic, partition, sarama.OffsetNewest)
	return first, end, err
}

func (c *client) GreatestTime(string, int32) (int64, error) {
	return 0, scenario.Skipped("the client speaks no version that has it")
}

func (c *client) OffsetOfTime(topic string, partition int32, ms int64) (int64, error) {
	return c.inner.GetOffset(topic, partition, ms)
}

func (c *client) DeleteRecords(topic string, partition int32, offset int64) error {
	return c.admin.DeleteRecords(topic, map[int32]int64{partition: offset})
}

func (c *client) Groups() ([]string, error) {
	found, err := c.admin.ListConsumerGroups()
	var all []string
	for group := range found {
		all = append(all, group)
	}
	return all, err
}

func (c *client) GroupState(group string) (string, error) {
	found, err := c.admin.DescribeConsumerGroups([]string{group})
	if err != nil {
		return "", err
	}
	return found[0].State, nil
}

func (c *client) GroupOffsets(group, topic string) (map[int32]scenario.Committed, error) {
	found, err := c.admin.ListConsumerGroupOffsets(group, nil)
	all := map[int32]scenario.Committed{}
	if err == nil {
		for partition, each := range found.Blocks[topic] {
			all[partition] = scenario.Committed{Offset: each.Offset, Metadata: each.Metadata}
		}
	}
	return all, err
}

func (c *client) AlterGroupOffset(group, topic string, partition int32, offset int64) error {
	offsets := map[string]map[int32]sarama.OffsetAndMetadata{topic: {partition: {Offset: offset, LeaderEpoch: -1}}}
	found, err := c.admin.AlterConsumerGroupOffsets(group, offsets, nil)
	if err != nil {
		return err
	}
	if code := found.Errors[topic][partition]; code != sarama.ErrNoError {
		return code
	}
	return nil
}

func (c *client) DeleteGroup(group string) error { return c.admin.DeleteConsumerGroup(group) }

var names = map[sarama.KError]string{
	sarama.ErrTopicAlreadyExists: "TOPIC_ALREADY_EXISTS", sarama.ErrInvalidPartitions: "INVALID_PARTITIONS",
	sarama.ErrMessageSizeTooLarge: "MESSAGE_TOO_LARGE", sarama.ErrOffsetOutOfRange: "OFFSET_OUT_OF_RANGE",
	sarama.ErrGroupIDNotFound: "GROUP_ID_NOT_FOUND", sarama.ErrUnknownTopicOrPartition: "UNKNOWN_TOPIC_OR_PARTITION",
	sarama.ErrProducerFenced: "PRODUCER_FENCED", sarama.ErrInvalidProducerEpoch: "PRODUCER_FENCED",
}

func (c *client) ErrorName(err error) string {
	var several sarama.ProducerErrors
	if errors.As(err, &several) {
		err = several[0].Err
	}
	for code, name := range names {
		if errors.Is(err, code) {
			return name
		}
	}
	return fmt.Sprintf("%T %v", err, err)
}

type producer struct{ inner sarama.SyncProducer }

func (c *client) Producer(kind scenario.ProducerKind) (scenario.Producer, error) {
	made := config()
	made.Producer.Compression = map[string]sarama.CompressionCodec{"gzip": sarama.CompressionGZIP,
		"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD}[kind.Codec]
	made.Producer.Flush.Frequency = 20 * time.Millisecond
	if kind.Idempotent {
		made.Producer.Idempotent = true
		made.Net.MaxOpenRequests = 1
	}
	if kind.TransactionalID != "" {
		made.Producer.Transaction.ID = kind.TransactionalID
		made.Producer.Transaction.Timeout = 30 * time.Second
	}
	if kind.RequestBytesMax > 0 {
		made.Producer.MaxMessageBytes = kind.RequestBytesMax
	}
	inner, err := sarama.NewSyncProducer(c.bootstrap, made)
	return &producer{inner}, err
}

func (p *producer) Send(topic string, partition int32, made []scenario.Record) error {
	var all []*sarama.ProducerMessage
	for _, each := range made {
		message := &sarama.ProducerMessage{Topic: topic, Partition: partition, Timestamp: time.UnixMilli(each.TimestampMs)}
		if each.Key != nil {
			message.Key = sarama.ByteEncoder(each.Key)
		}
		if each.Value != nil {
			message.Value = sarama.ByteEncoder(each.Value)
		}
		for _, header := range each.Headers {
			message.Headers = append(message.Headers,
				sarama.RecordHeader{Key: []byte(header.Key), Value: []byte(header.Value)})
		}
		all = append(all, message)
	}
	return p.inner.SendMessages(all)
}

func (p *producer) Begin() error  { return p.inner.BeginTxn() }
func (p *producer) Commit() error { return p.inner.CommitTxn() }
func (p *producer) Abort() error  { return p.inner.AbortTxn() }
func (p *producer) Close()        { _ = p.inner.Close() }

func (c *client) SendOffsets(id, group, topic, out string, partition int32, commits bool) (int64, error) {
	made, err := c.Producer(scenario.ProducerKind{TransactionalID: id, Idempotent: true})
	if err != nil {
		return 0, err
	}
	defer made.Close()
	_, end, err := c.FirstAndEnd(topic, partition)
	if err != nil {
		return 0, err
	}
	if err := made.Begin(); err != nil {
		return 0, err
	}
	if err := made.Send(out, 0, []scenario.Record{{Value: []byte("with offsets")}}); err != nil {
		return 0, err
	}
	offsets := map[string][]*sarama.PartitionOffsetMetadata{topic: {{Partition: partition, Offset: end}}}
	if err := made.(*producer).inner.AddOffsetsToTxn(offsets, group); err != nil {
		return 0, err
	}
	if commits {
		return end, made.Commit()
	}
	return end, made.Abort()
}

func (c *client) Read(topic string, partition int32, offset int64, count int, committed bool) ([]scenario.Record, error) {
	made := config()
	made.Consumer.Return.Errors = true
	if committed {
		made.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	consumer, err := sarama.NewConsumer(c.bootstrap, made)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	reader, err := consumer.ConsumePartition(topic, partition, offset)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	var found []scenario.Record
	limit := time.After(scenario.Patience)
	for {
		if len(found) == count {
			limit = time.After(300 * time.Millisecond)
		}
		select {
		case each := <-reader.Messages():
			found = append(found, record(each))
		case problem := <-reader.Errors():
			return found, problem.Err
		case <-limit:
			return found, nil
		}
	}
}

func record(each *sarama.ConsumerMessage) scenario.Record {
	made := scenario.Record{Key: each.Key, Value: each.Value, TimestampMs: each.Timestamp.UnixMilli(),
		Partition: each.Partition, Offset: each.Offset}
	for _, header := range each.Headers {
		made.Headers = append(made.Headers, scenario.Header{Key: string(header.Key), Value: string(header.Value)})
	}
	return made
}

type member struct {
	inner   sarama.ConsumerGroup
	topic   string
	lock    sync.Mutex
	owned   map[int32]bool
	found   []scenario.Record
	session sarama.ConsumerGroupSession
	failure error
	stop    context.CancelFunc
	stopped chan struct{}
}

func (c *client) Join(group, topic string, kind scenario.MemberKind) (scenario.Member, error) {
	made := config()
	strategies := map[string]sarama.BalanceStrategy{"range": sarama.NewBalanceStrategyRange(),
		"roundrobin": sarama.NewBalanceStrategyRoundRobin(), "sticky": sarama.NewBalanceStrategySticky(),
		"cooperative-sticky": sarama.NewBalanceStrategyCooperativeSticky()}
	if kind.NewProtocol {
		return nil, scenario.Skipped("the client has only the classic protocol")
	}
	if kind.Assignor != "" {
		made.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategies[kind.Assignor]}
	}
	made.Consumer.Group.InstanceId = kind.Instance
	inner, err := sarama.NewConsumerGroup(c.bootstrap, group, made)
	if err != nil {
		return nil, err
	}
	limit, stop := context.WithCancel(context.Background())
	m := &member{inner: inner, topic: topic, owned: map[int32]bool{}, stop: stop, stopped: make(chan struct{})}
	go func() {
		defer close(m.stopped)
		for limit.Err() == nil {
			if err := inner.Consume(limit, []string{topic}, m); err != nil && limit.Err() == nil {
				m.failure = err
				return
			}
		}
	}()
	return m, nil
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.session = session
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

// With a cooperative strategy a session goes on over rebalances: what is owned is what is read.
func (m *member) ConsumeClaim(_ sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	m.change(claim.Partition(), true)
	defer m.change(claim.Partition(), false)
	for each := range claim.Messages() {
		m.lock.Lock()
		m.found = append(m.found, record(each))
		m.lock.Unlock()
	}
	return nil
}

func (m *member) change(partition int32, owns bool) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if owns {
		m.owned[partition] = true
	} else {
		delete(m.owned, partition)
	}
}

func (m *member) Owned() map[int32]bool {
	m.lock.Lock()
	defer m.lock.Unlock()
	copied := map[int32]bool{}
	for partition := range m.owned {
		copied[partition] = true
	}
	return copied
}

func (m *member) Found() []scenario.Record {
	m.lock.Lock()
	defer m.lock.Unlock()
	return m.found
}

func (m *member) Commit(partition int32, offset int64, metadata string) error {
	m.session.MarkOffset(m.topic, partition, offset, metadata)
	m.session.Commit()
	return nil
}

func (m *member) Leave() error {
	m.stop()
	<-m.stopped
	return errors.Join(m.failure, m.inner.Close())
}
