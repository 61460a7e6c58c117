"""A group whose members go from the classic protocol to the consumer protocol (KIP-848) and back, one by one, while
records come. Each record is read, and none again whose commit was answered."""

import threading

from scenario import PATIENCE_S, check, equal, until, valued

PARTITIONS = 4
# Not cooperative-sticky: from the second rebalance on, librdkafka's leader puts user data into the assignments, and a
# group with such is not converted, in Kafka neither: GROUP_ID_NOT_FOUND.
CLASSIC = {"assignor": "range"}
CONSUMER = {"protocol": "consumer"}


class Migration:
    def __init__(self, setup, client):
        self.client, self.topic, self.group = client, setup.name("migration"), setup.name("migration")
        # By partition: behind the last record whose commit was answered, and the offsets that were read.
        self.committed, self.read, self.problems = {}, {}, []

    def run(self):
        self.client.create_topic(self.topic, PARTITIONS, {})
        feed = Feed(self.client, self.topic)
        one, two = Migrant(self, CLASSIC), Migrant(self, CLASSIC)
        self.settle("two classic members", "CLASSIC", one, two)
        two.leave()
        two = Migrant(self, CONSUMER)
        self.settle("the second has the consumer protocol", "CONSUMER", one, two)
        one.leave()
        one = Migrant(self, CONSUMER)
        self.settle("both have the consumer protocol", "CONSUMER", one, two)
        two.leave()
        two = Migrant(self, CLASSIC)
        self.settle("the second has the classic protocol", "CONSUMER", one, two)
        one.leave()
        one = Migrant(self, CLASSIC)
        self.settle("both have the classic protocol again", "CLASSIC", one, two)

        ends = feed.end()
        until(lambda: self.committed == ends, "every record is read and committed")
        one.leave()
        two.leave()
        for partition, end in ends.items():
            equal(self.read[partition] ^ set(range(end)), set(), f"records of partition {partition} that were not read")
        equal(self.problems, [], "problems")

    def settle(self, what, type, one, two):
        """Until both share the partitions and read on; then the group is of this type and has what was committed."""
        half = PARTITIONS // 2
        until(lambda: one.owned() == half and two.owned() == half, f"{what}, and share")
        before, others = one.found, two.found
        until(lambda: one.found > before and two.found > others, f"{what}, and read on")
        equal(self.client.group_type(self.group), type, f"{what}: the group's type")
        least = dict(self.committed)
        kept = self.client.group_offsets(self.group, self.topic)
        for partition, offset in least.items():
            check(kept.get(partition, (0,))[0] >= offset, what, partition, "was committed up to", offset, "and has", kept)
        equal(self.problems, [], f"{what}: problems")


class Feed(threading.Thread):
    """Writes to all partitions in turn."""

    def __init__(self, client, topic):
        super().__init__(daemon=True)
        self.producer, self.topic, self.sent, self.stops, self.failure = client.producer(), topic, 0, False, None
        self.start()

    def run(self):
        try:
            while not self.stops:
                self.producer.send(self.topic, self.sent % PARTITIONS, valued(b"x"))
                self.sent += 1
        except Exception as error:
            self.failure = error

    def end(self):
        """Where each partition ends."""
        self.stops = True
        self.join(PATIENCE_S)
        check(not self.is_alive() and not self.failure, "the producer ended:", repr(self.failure))
        return {partition: len(range(partition, self.sent, PARTITIONS)) for partition in range(PARTITIONS)}


class Migrant(threading.Thread):
    """A member that commits what it reads, before it reads on and before it gives a partition up."""

    def __init__(self, migration, kind):
        super().__init__(daemon=True)
        self.of, self.uncommitted, self.found, self.stops, self.failure = migration, {}, 0, False, None
        self.assigned = set()
        self.consumer = migration.client.consumer(migration.group, **kind)
        self.consumer.subscribe(migration.topic, on_revoke=self.revoked, on_lost=self.lost)
        self.start()

    def run(self):
        try:
            while not self.stops or self.uncommitted:
                for each in self.consumer.poll(0.1):
                    self.take(each)
                self.commit()
                self.assigned = self.consumer.assignment()
            self.consumer.close()
        except Exception as error:
            self.failure = error

    def take(self, each):
        if each.offset < self.of.committed.get(each.partition, 0):
            self.of.problems.append(f"{each.partition}: {each.offset} was committed and is read again")
        self.of.read.setdefault(each.partition, set()).add(each.offset)
        self.uncommitted[each.partition] = each.offset + 1
        self.found += 1

    def commit(self):
        # Where it is refused, it may once it has polled again, or it is told what it does not own any more.
        if self.uncommitted and self.consumer.commit_all(self.of.topic, self.uncommitted):
            self.of.committed |= self.uncommitted
            self.uncommitted = {}

    def revoked(self, consumer, places):
        self.commit()
        self.lost(consumer, places)

    def lost(self, _, places):
        """No problem: librdkafka gives up on a heartbeat after their interval, and so misses an epoch when all are slow."""
        for place in places:
            self.uncommitted.pop(place.partition, None)

    def owned(self):
        check(not self.failure, "a member failed:", repr(self.failure))
        return len(self.assigned)

    def leave(self):
        self.stops = True
        self.join(PATIENCE_S)
        check(not self.is_alive() and not self.failure, "a member left:", repr(self.failure))
