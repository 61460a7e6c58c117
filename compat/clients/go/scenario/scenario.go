// Package scenario has the cases, written once for every Go client; compat/clients/README.md says what each does.
package scenario

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	records     = 20
	partitions  = 5
	timeFirstMs = 1_700_000_000_000
	timeStepMs  = 1000
	// Patience is the longest that anything may take on a busy machine.
	Patience = 30 * time.Second
)

var codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// Header is one of a record's; a key may be there twice.
type Header struct{ Key, Value string }

// Record of a partition; a nil key or value is null.
type Record struct {
	Key, Value  []byte
	Headers     []Header
	TimestampMs int64
	Partition   int32
	Offset      int64
}

// Committed by a group.
type Committed struct {
	Offset   int64
	Metadata string
}

// ProducerKind says what is asked of a producer.
type ProducerKind struct {
	Codec           string
	Idempotent      bool
	TransactionalID string
	RequestBytesMax int
}

// MemberKind says what is asked of a member of a group.
type MemberKind struct {
	Assignor, Instance string
	NewProtocol        bool
	// More topics than the one.
	More []string
	// The topic is a regular expression.
	Regex bool
}

// Producer sends and waits for the answers.
type Producer interface {
	Send(topic string, partition int32, made []Record) error
	Begin() error
	Commit() error
	Abort() error
	Close()
}

// Member of a group that reads one topic and commits only what it is told to.
type Member interface {
	Owned() map[int32]bool
	Found() []Record
	Commit(partition int32, offset int64, metadata string) error
	Leave() error
}

// Client is what is tested.
type Client interface {
	CreateTopic(topic string, partitions int32, config map[string]string) error
	// Partitions and how many replicas each has; none when there is no such topic.
	Partitions(topic string) (map[int32]int, error)
	CreatePartitions(topic string, count int32) error
	SetTopicConfig(topic, name, value string) error
	TopicConfigs(topic string) (map[string]string, error)
	DeleteTopic(topic string) error
	FirstAndEnd(topic string, partition int32) (int64, int64, error)
	GreatestTime(topic string, partition int32) (int64, error)
	// OffsetOfTime is that of the first record at or after it; -1 for none.
	OffsetOfTime(topic string, partition int32, ms int64) (int64, error)
	DeleteRecords(topic string, partition int32, offset int64) error
	Groups() ([]string, error)
	GroupState(group string) (string, error)
	GroupOffsets(group, topic string) (map[int32]Committed, error)
	AlterGroupOffset(group, topic string, partition int32, offset int64) error
	DeleteGroup(group string) error
	Producer(kind ProducerKind) (Producer, error)
	// Read returns what comes from the offset on: so many, and what comes right behind them.
	Read(topic string, partition int32, offset int64, count int, committed bool) ([]Record, error)
	Join(group, topic string, kind MemberKind) (Member, error)
	// SendOffsets writes a record to out, and where the topic's partition ends as the group's offset, in one
	// transaction, and returns that offset.
	SendOffsets(id, group, topic, out string, partition int32, commits bool) (int64, error)
	// ErrorName is Kafka's name of an error that the server answered with.
	ErrorName(err error) string
}

// Skipped is the error of what a client does not have.
type Skipped string

func (reason Skipped) Error() string { return string(reason) }

type setup struct {
	Bootstrap, Prefix string
	Has, Cases        []string
}

type scenario struct {
	setup
	client Client
	topic  string
}

// Run tells what became of each case.
func Run(connect func(bootstrap []string) (Client, error)) {
	text, err := os.ReadFile(os.Args[1])
	must(err)
	var read setup
	must(json.Unmarshal(text, &read))
	client, err := connect(strings.Split(read.Bootstrap, ","))
	must(err)
	s := &scenario{read, client, read.Prefix + "-records"}
	tell := func(name string, action func()) {
		if len(s.Cases) == 0 || slices.Contains(s.Cases, name) {
			tell(name, action)
		}
	}
	tell("create-topic", s.createTopic)
	tell("create-partitions", s.createPartitions)
	tell("topic-configs", s.topicConfigs)
	for number, codec := range codecs {
		tell("produce-"+codec, func() { s.produce(codec, int32(number)) })
	}
	tell("too-large", s.tooLarge)
	tell("consume-by-offset", s.consumeByOffset)
	tell("consume-by-time", s.consumeByTime)
	tell("list-offsets", s.listOffsets)
	tell("greatest-time", s.greatestTime)
	tell("offset-out-of-range", s.offsetOutOfRange)
	tell("idempotent", s.idempotent)
	for _, assignor := range []string{"range", "roundrobin", "sticky", "cooperative-sticky"} {
		tell("group-"+assignor, func() { s.rebalance(assignor, MemberKind{Assignor: assignor}) })
	}
	tell("group-static", s.staticMember)
	tell("group-new-protocol", s.newProtocol)
	tell("group-new-static", s.newStatic)
	tell("group-new-regex", s.newRegex)
	tell("group-new-range", s.newRange)
	tell("group-migration", s.migration)
	tell("commits", s.commits)
	tell("group-admin", s.groupAdmin)
	tell("group-changes", s.groupChanges)
	tell("delete-records", s.deleteRecords)
	tell("delete-topic", s.deleteTopic)
	tell("transactions", s.transactions)
	tell("transaction-open", s.transactionOpen)
	tell("transaction-offsets", s.transactionOffsets)
	tell("transaction-fenced", s.transactionFenced)
}

func (s *scenario) name(what string) string { return s.Prefix + "-" + what }

func (s *scenario) createTopic() {
	must(s.client.CreateTopic(s.topic, 3, map[string]string{"retention.ms": "-1"}))
	s.refused("TOPIC_ALREADY_EXISTS", s.client.CreateTopic(s.topic, 3, nil))
	until("the topic", func() bool { return len(value(s.client.Partitions(s.topic))) > 0 })
	equal(value(s.client.Partitions(s.topic)), map[int32]int{0: 3, 1: 3, 2: 3}, "replicas")
}

func (s *scenario) createPartitions() {
	must(s.client.CreatePartitions(s.topic, partitions))
	until("5 partitions", func() bool { return len(value(s.client.Partitions(s.topic))) == partitions })
	s.refused("INVALID_PARTITIONS", s.client.CreatePartitions(s.topic, 4))
}

func (s *scenario) topicConfigs() {
	must(s.client.SetTopicConfig(s.topic, "max.message.bytes", "1000000"))
	until("it is so on every broker", func() bool {
		return value(s.client.TopicConfigs(s.topic))["max.message.bytes"] == "1000000"
	})
	found := value(s.client.TopicConfigs(s.topic))
	equal(found["retention.ms"], "-1", "retention.ms")
	equal(found["segment.bytes"], strconv.Itoa(1<<30), "segment.bytes")
}

func (s *scenario) produce(codec string, partition int32) {
	producer := value(s.client.Producer(ProducerKind{Codec: codec}))
	must(producer.Send(s.topic, partition, made()))
	producer.Close()
	found := s.read(s.topic, partition, 0, records, false)
	for i, wanted := range made() {
		wanted.Partition, wanted.Offset = partition, int64(i)
		equal(found[i], wanted, "a record")
	}
}

func (s *scenario) tooLarge() {
	producer := value(s.client.Producer(ProducerKind{RequestBytesMax: 3_000_000}))
	defer producer.Close()
	s.refused("MESSAGE_TOO_LARGE", producer.Send(s.topic, 0, []Record{{Value: make([]byte, 1_500_000)}}))
}

func (s *scenario) consumeByOffset() {
	found := s.read(s.topic, 0, 15, records-15, false)
	equal(found[0].Offset, int64(15), "the first offset")
}

func (s *scenario) consumeByTime() {
	equal(value(s.client.OffsetOfTime(s.topic, 0, timeFirstMs+7*timeStepMs-1)), int64(7), "the offset of a time")
	behind := value(s.client.OffsetOfTime(s.topic, 1, timeFirstMs+records*timeStepMs))
	equal(behind, int64(-1), "that of one behind all")
}

func (s *scenario) listOffsets() {
	first, end, err := s.client.FirstAndEnd(s.topic, 0)
	must(err)
	equal([]int64{first, end}, []int64{0, records}, "the first and the end")
}

func (s *scenario) greatestTime() {
	equal(value(s.client.GreatestTime(s.topic, 0)), int64(records-1), "the one of the greatest time")
}

func (s *scenario) offsetOutOfRange() {
	_, err := s.client.Read(s.topic, 0, 1000, 1, false)
	s.refused("OFFSET_OUT_OF_RANGE", err)
}

func (s *scenario) idempotent() {
	topic := s.name("idempotent")
	must(s.client.CreateTopic(topic, 1, nil))
	producer := value(s.client.Producer(ProducerKind{Idempotent: true}))
	for begin := 0; begin < 200; begin += 40 {
		var some []Record
		for i := begin; i < begin+40; i++ {
			some = append(some, Record{Value: []byte(strconv.Itoa(i)), TimestampMs: timeFirstMs})
		}
		must(producer.Send(topic, 0, some))
	}
	producer.Close()
	for i, each := range s.read(topic, 0, 0, 200, false) {
		equal(string(each.Value), strconv.Itoa(i), "a value")
	}
}

func (s *scenario) join(group string, kind MemberKind) Member {
	return value(s.client.Join(s.name(group), s.topic, kind))
}

func (s *scenario) rebalance(group string, kind MemberKind) {
	one := s.join(group, kind)
	until("one member has all partitions", func() bool { return len(one.Owned()) == partitions })
	two := s.join(group, kind)
	share(one, two)
	must(two.Leave())
	until("the one that is left has all of them", func() bool { return len(one.Owned()) == partitions })
	must(one.Leave())
}

func share(one, two Member) {
	until("two members share the partitions", func() bool {
		a, b := one.Owned(), two.Owned()
		for partition := range a {
			if b[partition] {
				return false
			}
		}
		return len(a)+len(b) == partitions && len(a) >= 2 && len(b) >= 2
	})
}

func (s *scenario) staticMember() {
	one := s.join("static", MemberKind{Instance: "one"})
	two := s.join("static", MemberKind{Instance: "two"})
	share(one, two)
	// It does not leave: the same instance gets the same partitions without a rebalance.
	owned := one.Owned()
	must(one.Leave())
	again := s.join("static", MemberKind{Instance: "one"})
	until("it has what it had", func() bool { return reflect.DeepEqual(again.Owned(), owned) })
	equal(len(two.Owned()), partitions-len(owned), "what the other has")
	must(again.Leave())
	must(two.Leave())
}

func (s *scenario) commits() {
	group := s.name("commits")
	member := s.join("commits", MemberKind{})
	until("a record", func() bool { return len(member.Found()) > 0 })
	first := member.Found()[0]
	next := first.Offset + 1
	must(member.Commit(first.Partition, next, "noted"))
	must(member.Leave())
	committed := value(s.client.GroupOffsets(group, s.topic))
	equal(committed, map[int32]Committed{first.Partition: {next, "noted"}}, "what the group has")
	member = s.join("commits", MemberKind{})
	rest := partitions*records - int(next)
	until("the rest", func() bool { return len(member.Found()) >= rest })
	equal(len(member.Found()), rest, "records after a commit")
	for _, each := range member.Found() {
		if each.Partition == first.Partition {
			equal(each.Offset, next, "the next")
			break
		}
	}
	must(member.Leave())
}

func (s *scenario) groupAdmin() {
	group := s.name("commits")
	is := false
	for _, each := range value(s.client.Groups()) {
		is = is || each == group
	}
	equal(is, true, "it is listed")
	equal(value(s.client.GroupState(group)), "Empty", "state")
}

func (s *scenario) groupChanges() {
	group := s.name("commits")
	must(s.client.AlterGroupOffset(group, s.topic, 0, 3))
	equal(value(s.client.GroupOffsets(group, s.topic))[0].Offset, int64(3), "what was altered")
	must(s.client.DeleteGroup(group))
	s.refused("GROUP_ID_NOT_FOUND", s.client.DeleteGroup(group))
}

func (s *scenario) deleteRecords() {
	must(s.client.DeleteRecords(s.topic, 0, 5))
	first, end, err := s.client.FirstAndEnd(s.topic, 0)
	must(err)
	equal([]int64{first, end}, []int64{5, records}, "the first and the end")
	equal(s.read(s.topic, 0, 5, records-5, false)[0].Offset, int64(5), "what is read first")
	s.refused("OFFSET_OUT_OF_RANGE", s.client.DeleteRecords(s.topic, 0, 1000))
}

func (s *scenario) deleteTopic() {
	topic := s.name("idempotent")
	must(s.client.DeleteTopic(topic))
	until("it is gone", func() bool { return len(value(s.client.Partitions(topic))) == 0 })
	s.refused("UNKNOWN_TOPIC_OR_PARTITION", s.client.DeleteTopic(topic))
}

func (s *scenario) transactions() {
	topic := s.transactionTopic()
	producer := s.transactional()
	for _, text := range []string{"committed", "aborted", "last"} {
		must(producer.Begin())
		for _, partition := range []int32{0, 1} {
			must(producer.Send(topic, partition, one(text)))
		}
		if text == "aborted" {
			must(producer.Abort())
		} else {
			must(producer.Commit())
		}
	}
	producer.Close()
	for _, partition := range []int32{0, 1} {
		equal(s.values(topic, partition, 2, true), "committed last", "read_committed")
		equal(s.values(topic, partition, 3, false), "committed aborted last", "read_uncommitted")
	}
}

func (s *scenario) transactionOpen() {
	topic := s.transactionTopic()
	producer := s.transactional()
	must(producer.Begin())
	must(producer.Send(topic, 1, one("open")))
	equal(s.values(topic, 1, 2, true), "committed last", "read_committed while it is open")
	must(producer.Commit())
	producer.Close()
	equal(s.values(topic, 1, 3, true), "committed last open", "read_committed after it")
}

func (s *scenario) transactionOffsets() {
	out := s.transactionTopic()
	group := s.name("offsets")
	plain := value(s.client.Producer(ProducerKind{}))
	defer plain.Close()
	var committed int64
	for _, commits := range []bool{true, false} {
		must(plain.Send(s.topic, 1, one("more")))
		sent := value(s.client.SendOffsets(s.name("transactions"), group, s.topic, out, 1, commits))
		equal(sent > committed, true, "a greater offset is sent")
		if commits {
			committed = sent
		}
		// The end is answered before all of its markers are written.
		until("what was sent counts when it was committed", func() bool {
			return value(s.client.GroupOffsets(group, s.topic))[1].Offset == committed
		})
	}
}

func (s *scenario) transactionFenced() {
	topic := s.transactionTopic()
	old := s.transactional()
	must(old.Begin())
	must(old.Send(topic, 0, one("of the old")))
	fresh := s.transactional()
	defer fresh.Close()
	err := old.Send(topic, 0, one("too late"))
	if err == nil {
		err = old.Commit()
	}
	s.refused("PRODUCER_FENCED", err)
}

func (s *scenario) transactionTopic() string {
	s.needs("transactions")
	topic := s.name("transactions")
	if len(value(s.client.Partitions(topic))) == 0 {
		must(s.client.CreateTopic(topic, 2, nil))
	}
	return topic
}

func (s *scenario) transactional() Producer {
	return value(s.client.Producer(ProducerKind{TransactionalID: s.name("transactions"), Idempotent: true}))
}

func (s *scenario) values(topic string, partition int32, count int, committed bool) string {
	var found []string
	for _, each := range s.read(topic, partition, 0, count, committed) {
		found = append(found, string(each.Value))
	}
	return strings.Join(found, " ")
}

func (s *scenario) read(topic string, partition int32, offset int64, count int, committed bool) []Record {
	found := value(s.client.Read(topic, partition, offset, count, committed))
	equal(len(found), count, "records read")
	return found
}

func (s *scenario) needs(feature string) {
	for _, each := range s.Has {
		if each == feature {
			return
		}
	}
	panic(Skipped("the server has no " + feature))
}

func (s *scenario) refused(name string, err error) {
	if err == nil {
		panic(fmt.Errorf("no %s", name))
	}
	var skipped Skipped
	if errors.As(err, &skipped) {
		panic(skipped)
	}
	if found := s.client.ErrorName(err); found != name {
		panic(fmt.Errorf("%s (%w); it should be %s", found, err, name))
	}
}

// Keys and values that are null, empty and neither, and a header that is there twice.
func made() []Record {
	var all []Record
	for i := range records {
		record := Record{
			Key:         []byte(fmt.Sprintf("key-%d", i)),
			Value:       []byte(strings.Repeat(fmt.Sprintf("value-%d ", i), 20)),
			Headers:     []Header{{"number", strconv.Itoa(i)}, {"empty", ""}, {"number", "again"}},
			TimestampMs: int64(timeFirstMs + i*timeStepMs),
		}
		if i%5 == 0 {
			record.Key = nil
		}
		if i == 3 {
			record.Value = nil
		}
		if i == 4 {
			record.Value = []byte{}
		}
		all = append(all, record)
	}
	return all
}

func one(text string) []Record { return []Record{{Value: []byte(text), TimestampMs: timeFirstMs}} }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func value[T any](found T, err error) T {
	must(err)
	return found
}

func equal(found, wanted any, what string) {
	if !reflect.DeepEqual(found, wanted) {
		panic(fmt.Errorf("%s: %.200s; it should be %.200s", what, fmt.Sprint(found), fmt.Sprint(wanted)))
	}
}

// Asks again and again until it is so.
func until(what string, condition func() bool) {
	for deadline := time.Now().Add(Patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			panic(fmt.Errorf("not yet after %s: %s", Patience, what))
		}
	}
}

type line struct {
	Case   string `json:"case"`
	Result string `json:"result"`
	Detail string `json:"detail"`
	Ms     int64  `json:"ms"`
}

// One that fails does not keep the next from being tried.
func tell(name string, action func()) {
	begun := time.Now()
	said := line{Case: name, Result: "passed"}
	func() {
		defer func() {
			switch problem := recover().(type) {
			case nil:
			case Skipped:
				said.Result, said.Detail = "skipped", string(problem)
			case error:
				said.Result, said.Detail = "failed", fmt.Sprintf("%.500s", problem)
			default:
				panic(problem)
			}
		}()
		action()
	}()
	said.Ms = time.Since(begun).Milliseconds()
	must(json.NewEncoder(os.Stdout).Encode(said))
}
