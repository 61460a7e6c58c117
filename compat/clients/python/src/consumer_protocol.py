"""The cases of groups by the consumer protocol (KIP-848)."""

from scenario import PARTITIONS, Member, Refused, equal, share, until


class Placed(Member):
    """A member that tells its topics' partitions apart."""

    def look(self):
        return self.consumer.places()


class ConsumerProtocol:
    def __init__(self, setup, client, topic):
        self.setup, self.client, self.topic = setup, client, topic

    def needs(self):
        self.setup.needs("consumer groups")
        # Whoever has it not says so when it is asked for one.
        self.client.consumer(self.setup.name("new-none"), protocol="consumer").close()

    def member(self, kind, group, *topics, **config):
        return kind(self.client.consumer(self.setup.name(group), protocol="consumer", **config), *topics)

    def refused(self, name, member):
        until(lambda: member.failure, f"a member ends with {name}")
        equal(type(member.failure), Refused, "the kind of its error")
        equal(str(member.failure), name, "its error")

    def static_member(self):
        self.needs()
        one = self.member(Member, "new-static", self.topic, instance="one")
        two = self.member(Member, "new-static", self.topic, instance="two")
        share(one, two)
        owned, others = one.owned, two.owned
        one.leave()
        again = self.member(Member, "new-static", self.topic, instance="one")
        until(lambda: again.owned == owned, "it has what it had")
        equal(two.owned, others, "what the other has had all the time")
        second = self.member(Member, "new-static", self.topic, instance="one")
        self.refused("UNRELEASED_INSTANCE_ID", second)
        equal((again.owned, two.owned), (owned, others), "what both have after that")
        equal(len(owned | others), PARTITIONS, "all of them")
        again.leave()
        two.leave()

    def regex(self):
        self.needs()
        # Whole names, and a class of letters as RE2 has it.
        pattern = f"^{self.setup.name('regex-[[:alpha:]]')}"
        self.create("regex-a", 2)
        self.create("regex-zz", 1)
        member = self.member(Placed, "new-regex", pattern)
        until(lambda: member.owned == self.places(2, "regex-a"), "it has the topic that is there")
        self.create("regex-z", 2)
        until(lambda: member.owned == self.places(2, "regex-a", "regex-z"), "it has the new one, too")
        member.leave()

    def range(self):
        self.needs()
        topics = [self.create("range-a", 3), self.create("range-b", 3)]
        one = self.member(Placed, "new-range", *topics, assignor="range")
        two = self.member(Placed, "new-range", *topics, assignor="range")
        # `uniform` gives three to each.
        most = self.places(2, "range-a", "range-b")
        rest = self.places(3, "range-a", "range-b") - most
        until(lambda: (one.owned, two.owned) in ((most, rest), (rest, most)),
              "each has the same partitions of both topics")
        self.refused("UNSUPPORTED_ASSIGNOR", self.member(Placed, "new-range-wrong", *topics, assignor="none"))
        one.leave()
        two.leave()

    def create(self, topic, partitions):
        self.client.create_topic(self.setup.name(topic), partitions, {})
        return self.setup.name(topic)

    def places(self, count, *topics):
        """The first so many of each topic."""
        return {(self.setup.name(topic), number) for topic in topics for number in range(count)}
