package scenario

import (
	"fmt"
	"maps"
	"sync"
)

const migrating = 4

// Journal is told what members of a group do, by any of their threads.
type Journal interface {
	Read(record Record)
	// Committed up to this offset: the commit was answered.
	Committed(partition int32, offset int64)
	Lost(partitions []int32)
}

type journal struct {
	lock      sync.Mutex
	committed map[int32]int64
	read      map[int32]map[int64]bool
	problems  []string
}

func (j *journal) Read(record Record) {
	j.lock.Lock()
	defer j.lock.Unlock()
	if record.Offset < j.committed[record.Partition] {
		j.problems = append(j.problems, fmt.Sprintf("%d: %d was committed and is read again", record.Partition, record.Offset))
	}
	if j.read[record.Partition] == nil {
		j.read[record.Partition] = map[int64]bool{}
	}
	j.read[record.Partition][record.Offset] = true
}

func (j *journal) Committed(partition int32, offset int64) {
	j.lock.Lock()
	defer j.lock.Unlock()
	j.committed[partition] = max(j.committed[partition], offset)
}

// Lost is a problem: nobody is late here, so that whoever loses a partition was put out of the group.
func (j *journal) Lost(partitions []int32) {
	j.lock.Lock()
	defer j.lock.Unlock()
	j.problems = append(j.problems, fmt.Sprint("lost: ", partitions))
}

// By partition: behind the last record whose commit was answered.
func (j *journal) ends() map[int32]int64 {
	j.lock.Lock()
	defer j.lock.Unlock()
	equal(j.problems, []string(nil), "problems")
	return maps.Clone(j.committed)
}

// A group whose members go from the classic protocol to the consumer protocol (KIP-848) and back, one by one, while
// records come. Each record is read, and none again whose commit was answered.
func (s *scenario) migration() {
	client := s.newClient()
	topic, group := s.name("migration"), s.name("migration")
	s.create("migration", migrating)
	journal := &journal{committed: map[int32]int64{}, read: map[int32]map[int64]bool{}}
	ends := feed(value(client.Producer(ProducerKind{})), topic)
	join := func(kind MemberKind) NewMember { return value(client.Migrant(group, topic, kind, journal)) }
	classic := MemberKind{Assignor: "cooperative-sticky"}
	consumer := MemberKind{NewProtocol: true}
	// Until both share the partitions and read on; then the group is of this type and has what was committed.
	settle := func(what, wanted string, one, two NewMember) {
		until(what+", and share", func() bool {
			must(one.Failure())
			must(two.Failure())
			return len(one.Owned()) == migrating/2 && len(two.Owned()) == migrating/2
		})
		before, others := len(one.Found()), len(two.Found())
		until(what+", and read on", func() bool { return len(one.Found()) > before && len(two.Found()) > others })
		equal(value(client.GroupType(group)), wanted, what+": the group's type")
		least := journal.ends()
		kept := value(client.GroupOffsets(group, topic))
		for partition, offset := range least {
			if kept[partition].Offset < offset {
				panic(fmt.Errorf("%s: %d was committed up to %d and has %d", what, partition, offset, kept[partition].Offset))
			}
		}
	}

	one, two := join(classic), join(classic)
	settle("two classic members", "classic", one, two)
	must(two.Leave())
	two = join(consumer)
	settle("the second has the consumer protocol", "consumer", one, two)
	must(one.Leave())
	one = join(consumer)
	settle("both have the consumer protocol", "consumer", one, two)
	must(two.Leave())
	two = join(classic)
	settle("the second has the classic protocol", "consumer", one, two)
	must(one.Leave())
	one = join(classic)
	settle("both have the classic protocol again", "classic", one, two)

	wanted := value(ends())
	until("every record is read and committed", func() bool { return maps.Equal(journal.ends(), wanted) })
	must(one.Leave())
	must(two.Leave())
	journal.ends()
	for partition, end := range wanted {
		for offset := range end {
			equal(journal.read[partition][offset], true, fmt.Sprintf("%d of partition %d is read", offset, partition))
		}
	}
}

// Writes to all partitions in turn until it is called, and says where each ends.
func feed(producer Producer, topic string) func() (map[int32]int64, error) {
	stop, done := make(chan struct{}), make(chan error, 1)
	ends := map[int32]int64{}
	go func() {
		defer producer.Close()
		for partition := int32(0); ; partition = (partition + 1) % migrating {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := producer.Send(topic, partition, one("x")); err != nil {
				done <- err
				return
			}
			ends[partition]++
		}
	}()
	return func() (map[int32]int64, error) {
		close(stop)
		err := <-done
		return ends, err
	}
}
