package scenario

import "reflect"

// Place is a partition of a topic.
type Place struct {
	Topic     string
	Partition int32
}

// NewMember is one by the consumer protocol (KIP-848), or one that may be in a group with such.
type NewMember interface {
	Member
	Places() map[Place]bool
	// Failure is why it ended, if it did.
	Failure() error
}

// NewClient is one that knows the consumer protocol.
type NewClient interface {
	Client
	// GroupType is classic or consumer.
	GroupType(group string) (string, error)
	// Migrant joins and tells of what it reads, commits and loses.
	Migrant(group, topic string, kind MemberKind, journal Journal) (NewMember, error)
}

func (s *scenario) newProtocol() {
	s.needs("consumer groups")
	s.rebalance("new", MemberKind{NewProtocol: true})
}

// Skips what a client cannot do, which it says when it is asked for such a member.
func (s *scenario) newClient() NewClient {
	s.needs("consumer groups")
	client, is := s.client.(NewClient)
	if !is {
		_, err := s.client.Join(s.name("new-none"), s.topic, MemberKind{NewProtocol: true})
		must(err)
	}
	return client
}

func (s *scenario) newMember(group, topic string, kind MemberKind) NewMember {
	kind.NewProtocol = true
	return value(s.client.Join(s.name(group), topic, kind)).(NewMember)
}

func (s *scenario) newStatic() {
	s.newClient()
	one := s.newMember("new-static", s.topic, MemberKind{Instance: "one"})
	two := s.newMember("new-static", s.topic, MemberKind{Instance: "two"})
	share(one, two)
	owned, others := one.Owned(), two.Owned()
	must(one.Leave())
	again := s.newMember("new-static", s.topic, MemberKind{Instance: "one"})
	until("it has what it had", func() bool { return reflect.DeepEqual(again.Owned(), owned) })
	equal(two.Owned(), others, "what the other has had all the time")
	second := s.newMember("new-static", s.topic, MemberKind{Instance: "one"})
	until("a second one of the same instance ends", func() bool { return second.Failure() != nil })
	s.refused("UNRELEASED_INSTANCE_ID", second.Failure())
	equal(again.Owned(), owned, "what the instance has after that")
	equal(two.Owned(), others, "what the other has after that")
	must(again.Leave())
	must(two.Leave())
}

func (s *scenario) newRegex() {
	s.newClient()
	s.create("regex-a", 2)
	s.create("regex-zz", 1)
	pattern := "^" + s.name("regex-[[:alpha:]]") + "$"
	member := s.newMember("new-regex", pattern, MemberKind{Regex: true})
	until("it has the topic that is there", func() bool {
		return reflect.DeepEqual(member.Places(), s.places(2, "regex-a"))
	})
	s.create("regex-z", 2)
	until("it has the new one, too", func() bool {
		return reflect.DeepEqual(member.Places(), s.places(2, "regex-a", "regex-z"))
	})
	must(member.Leave())
}

func (s *scenario) newRange() {
	s.newClient()
	s.create("range-a", 3)
	s.create("range-b", 3)
	kind := MemberKind{Assignor: "range", More: []string{s.name("range-b")}}
	one := s.newMember("new-range", s.name("range-a"), kind)
	two := s.newMember("new-range", s.name("range-a"), kind)
	// "uniform" gives three to each.
	most := s.places(2, "range-a", "range-b")
	rest := s.places(3, "range-a", "range-b")
	for place := range most {
		delete(rest, place)
	}
	until("each has the same partitions of both topics", func() bool {
		a, b := one.Places(), two.Places()
		return reflect.DeepEqual(a, most) && reflect.DeepEqual(b, rest) ||
			reflect.DeepEqual(a, rest) && reflect.DeepEqual(b, most)
	})
	must(one.Leave())
	must(two.Leave())
}

func (s *scenario) create(topic string, partitions int32) {
	must(s.client.CreateTopic(s.name(topic), partitions, nil))
}

// The first so many of each topic.
func (s *scenario) places(count int32, topics ...string) map[Place]bool {
	all := map[Place]bool{}
	for _, topic := range topics {
		for partition := range count {
			all[Place{s.name(topic), partition}] = true
		}
	}
	return all
}
