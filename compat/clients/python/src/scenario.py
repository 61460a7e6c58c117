"""The cases, written once for every Python client. What is tested is behind `Client`, which each of them fills in."""

import json
import sys
import threading
import time
import traceback

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
RECORDS = 20
PARTITIONS = 5
TIME_FIRST_MS = 1_700_000_000_000
TIME_STEP_MS = 1000
PATIENCE_S = 30


class Skipped(Exception):
    """The client or the server does not have what the case needs."""


class Refused(Exception):
    """The server answered with an error; its name is Kafka's."""


class Record:
    def __init__(self, key, value, headers, timestamp_ms, partition=0, offset=0):
        self.key, self.value, self.headers, self.timestamp_ms = key, value, headers, timestamp_ms
        self.partition, self.offset = partition, offset

    def content(self):
        return (self.key, self.value, self.headers, self.timestamp_ms)


class Setup:
    """What the runner wrote."""

    def __init__(self):
        with open(sys.argv[1]) as file:
            read = json.load(file)
        self.bootstrap, self.prefix, self.has = read["bootstrap"], read["prefix"], read["has"]
        self.cases = read["cases"]

    def name(self, what):
        return f"{self.prefix}-{what}"

    def needs(self, feature):
        if feature not in self.has:
            raise Skipped(f"the server has no {feature}")


def records():
    """Keys and values that are null, empty and neither, and a header that is there twice."""
    made = []
    for i in range(RECORDS):
        key = None if i % 5 == 0 else b"key-%d" % i
        value = None if i == 3 else b"" if i == 4 else b"value-%d " % i * 20
        headers = [("number", b"%d" % i), ("empty", b""), ("number", b"again")]
        made.append(Record(key, value, headers, TIME_FIRST_MS + i * TIME_STEP_MS))
    return made


def numbered(count):
    return [Record(None, b"%d" % i, [], TIME_FIRST_MS) for i in range(count)]


def valued(value):
    return [Record(None, value, [], TIME_FIRST_MS)]


def check(is_so, *what):
    if not is_so:
        raise AssertionError(" ".join(str(word) for word in what))


def equal(found, wanted, what):
    check(found == wanted, what, "is", repr(found)[:300], "and should be", repr(wanted)[:300])


def refused(name, action):
    try:
        action()
    except Refused as error:
        equal(str(error), name, "the error")
    else:
        raise AssertionError(f"no {name}")


def until(condition, what):
    """Asks again and again until it is so."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = condition()
        if found:
            return found
        check(time.monotonic() < deadline, "after", PATIENCE_S, "s not yet:", what)
        time.sleep(0.02)


class Member(threading.Thread):
    """A member of a group that polls and never commits."""

    def __init__(self, consumer, *topics):
        super().__init__(daemon=True)
        self.consumer, self.assigned, self.stops, self.failure = consumer, set(), False, None
        consumer.subscribe(*topics)
        self.start()

    def run(self):
        try:
            while not self.stops:
                self.consumer.poll(0.1)
                self.assigned = self.look()
            self.consumer.close()
        except Exception as error:
            self.failure = error

    def look(self):
        return self.consumer.assignment()

    @property
    def owned(self):
        check(not self.failure, "a member failed:", repr(self.failure))
        return self.assigned

    def leave(self):
        self.stops = True
        self.join(PATIENCE_S)
        check(not self.is_alive() and not self.failure, "a member left:", repr(self.failure))


class Scenario:
    def __init__(self, setup, client):
        self.setup, self.client, self.topic = setup, client, setup.name("records")

    def run(self):
        # They are of this file's kind, so that they can only be known once it is.
        from consumer_protocol import ConsumerProtocol
        from migration import Migration
        new = ConsumerProtocol(self.setup, self.client, self.topic)

        def migrate():
            new.needs()
            Migration(self.setup, self.client).run()
        group = self.group
        cases = [("create-topic", self.create_topic), ("create-partitions", self.create_partitions),
                 ("topic-configs", self.topic_configs)]
        cases += [(f"produce-{codec}", self.produce(codec)) for codec in CODECS]
        cases += [("too-large", self.too_large), ("consume-by-offset", self.consume_by_offset),
                  ("consume-by-time", self.consume_by_time), ("list-offsets", self.list_offsets),
                  ("greatest-time", self.greatest_time), ("offset-out-of-range", self.offset_out_of_range),
                  ("idempotent", self.idempotent),
                  ("group-range", group("range")), ("group-roundrobin", group("roundrobin")),
                  ("group-sticky", group("sticky")), ("group-cooperative-sticky", group("cooperative-sticky")),
                  ("group-static", self.static_member), ("group-new-protocol", self.new_protocol),
                  ("group-new-static", new.static_member), ("group-new-regex", new.regex),
                  ("group-new-range", new.range), ("group-migration", migrate),
                  ("commits", self.commits), ("group-admin", self.group_admin),
                  ("group-changes", self.group_changes), ("delete-records", self.delete_records), ("delete-topic", self.delete_topic),
                  ("transactions", self.transactions), ("transaction-open", self.transaction_open),
                  ("transaction-offsets", self.transaction_offsets),
                  ("transaction-fenced", self.transaction_fenced)]
        for case, action in cases:
            if not self.setup.cases or case in self.setup.cases:
                tell(case, action)

    def create_topic(self):
        self.client.create_topic(self.topic, 3, {"retention.ms": "-1"})
        refused("TOPIC_ALREADY_EXISTS", lambda: self.client.create_topic(self.topic, 3, {}))
        found = until(lambda: self.client.partitions(self.topic), "the topic")
        equal(found, {0: 3, 1: 3, 2: 3}, "replicas")

    def create_partitions(self):
        self.client.create_partitions(self.topic, PARTITIONS)
        until(lambda: len(self.client.partitions(self.topic)) == PARTITIONS, "5 partitions")
        refused("INVALID_PARTITIONS", lambda: self.client.create_partitions(self.topic, 4))

    def topic_configs(self):
        self.client.set_topic_config(self.topic, "max.message.bytes", "1000000")
        until(lambda: self.client.topic_configs(self.topic)["max.message.bytes"] == "1000000", "it on every broker")
        found = self.client.topic_configs(self.topic)
        equal(found["retention.ms"], "-1", "retention.ms")
        equal(found["segment.bytes"], str(1 << 30), "segment.bytes")

    def produce(self, codec):
        def case():
            partition = CODECS.index(codec)
            producer = self.client.producer(codec=codec)
            producer.send(self.topic, partition, records())
            producer.close()
            found = self.read(self.topic, partition, 0, RECORDS)
            for one, other in zip(found, records()):
                equal(one.content(), other.content(), "a record")
        return case

    def too_large(self):
        producer = self.client.producer(request_bytes_max=3_000_000)
        refused("MESSAGE_TOO_LARGE", lambda: producer.send(self.topic, 0, valued(b"x" * 1_500_000)))
        producer.close()

    def consume_by_offset(self):
        found = self.read(self.topic, 0, 15, RECORDS - 15)
        equal([each.offset for each in found], list(range(15, RECORDS)), "offsets")

    def consume_by_time(self):
        consumer = self.client.consumer(self.setup.name("none"))
        found = consumer.offsets_for_times(self.topic, {0: TIME_FIRST_MS + 7 * TIME_STEP_MS - 1,
                                                        1: TIME_FIRST_MS + RECORDS * TIME_STEP_MS})
        consumer.close()
        equal(found, {0: 7, 1: None}, "offsets")

    def list_offsets(self):
        found = self.client.first_and_end(self.topic, 0)
        equal(found, (0, RECORDS), "the first and the end")

    def greatest_time(self):
        equal(self.client.offset_of_greatest_time(self.topic, 0), RECORDS - 1, "the one of the greatest time")

    def offset_out_of_range(self):
        consumer = self.client.consumer(self.setup.name("none"), reset="none")
        consumer.assign(self.topic, 0, 1000)
        refused("OFFSET_OUT_OF_RANGE", lambda: until(lambda: consumer.poll(0.2) and False, "an error"))
        consumer.close()

    def idempotent(self):
        topic = self.setup.name("idempotent")
        self.client.create_topic(topic, 1, {})
        producer = self.client.producer(idempotent=True)
        for begin in range(0, 200, 40):
            producer.send(topic, 0, numbered(200)[begin:begin + 40])
        producer.close()
        found = [each.value for each in self.read(topic, 0, 0, 200)]
        equal(found, [each.value for each in numbered(200)], "values")

    def member(self, group, **kind):
        return Member(self.client.consumer(self.setup.name(group), **kind), self.topic)

    def group(self, assignor):
        return lambda: self.rebalance(assignor, assignor=assignor)

    def rebalance(self, name, **kind):
        one = self.member(name, **kind)
        until(lambda: len(one.owned) == PARTITIONS, "one member has all partitions")
        two = self.member(name, **kind)
        share(one, two)
        two.leave()
        until(lambda: len(one.owned) == PARTITIONS, "the one that is left has all of them")
        one.leave()

    def static_member(self):
        one = self.member("static", instance="one")
        two = self.member("static", instance="two")
        share(one, two)
        # It does not leave: the same instance gets the same partitions without a rebalance.
        owned = one.owned
        one.leave()
        again = self.member("static", instance="one")
        until(lambda: again.owned == owned, "it has what it had")
        equal(len(two.owned), PARTITIONS - len(owned), "what the other has")
        again.leave()
        two.leave()

    def new_protocol(self):
        self.setup.needs("consumer groups")
        self.rebalance("new", protocol="consumer")

    def commits(self):
        group = self.setup.name("commits")
        consumer = self.client.consumer(group)
        consumer.subscribe(self.topic)
        first = until(lambda: consumer.poll(0.2), "a record")[0]
        place, later = first.partition, first.offset + 1
        consumer.commit(self.topic, place, later, "noted")
        equal(consumer.committed(self.topic, place), later, "committed")
        equal(consumer.committed(self.topic, (place + 1) % PARTITIONS), None, "committed elsewhere")
        consumer.close()
        consumer = self.client.consumer(group)
        consumer.subscribe(self.topic)
        rest, found = PARTITIONS * RECORDS - later, []
        until(lambda: found.extend(consumer.poll(0.2)) or len(found) >= rest, "the rest")
        consumer.close()
        equal(len(found), rest, "records after a commit")
        equal(min(each.offset for each in found if each.partition == place), later, "the next")
        equal(self.client.group_offsets(group, self.topic), {place: (later, "noted")}, "what the group has")

    def group_admin(self):
        group = self.setup.name("commits")
        check(group in self.client.groups(), group, "is listed")
        equal(self.client.group_state(group).upper(), "EMPTY", "state")

    def group_changes(self):
        group = self.setup.name("commits")
        self.client.alter_group_offset(group, self.topic, 0, 3)
        equal(self.client.group_offsets(group, self.topic)[0][0], 3, "what was altered")
        self.client.delete_group(group)
        refused("GROUP_ID_NOT_FOUND", lambda: self.client.delete_group(group))

    def delete_records(self):
        self.client.delete_records(self.topic, 0, 5)
        equal(self.client.first_and_end(self.topic, 0), (5, RECORDS), "the first and the end")
        equal(self.read(self.topic, 0, 5, RECORDS - 5)[0].offset, 5, "what is read first")
        refused("OFFSET_OUT_OF_RANGE", lambda: self.client.delete_records(self.topic, 0, 1000))

    def delete_topic(self):
        topic = self.setup.name("idempotent")
        self.client.delete_topic(topic)
        until(lambda: not self.client.partitions(topic), "it is gone")
        refused("UNKNOWN_TOPIC_OR_PARTITION", lambda: self.client.delete_topic(topic))

    def transactions(self):
        topic = self.transaction_topic()
        producer = self.transactional()
        for value in (b"committed", b"aborted", b"last"):
            producer.begin()
            for partition in (0, 1):
                producer.send(topic, partition, valued(value))
            producer.abort() if value == b"aborted" else producer.commit()
        producer.close()
        for partition in (0, 1):
            equal(self.values(topic, partition, 2, "read_committed"), [b"committed", b"last"], "read_committed")
            equal(self.values(topic, partition, 3, "read_uncommitted"), [b"committed", b"aborted", b"last"],
                  "read_uncommitted")

    def transaction_open(self):
        topic = self.transaction_topic()
        producer = self.transactional()
        producer.begin()
        producer.send(topic, 1, valued(b"open"))
        # Two before it, and markers that nobody reads.
        equal(self.values(topic, 1, 2, "read_committed"), [b"committed", b"last"], "read_committed while it is open")
        producer.commit()
        producer.close()
        equal(self.values(topic, 1, 3, "read_committed")[2], b"open", "read_committed after it")

    def transaction_offsets(self):
        topic = self.transaction_topic()
        consumer = self.client.consumer(self.setup.name("offsets"))
        consumer.subscribe(self.topic)
        until(lambda: consumer.poll(0.2), "a record")
        producer = self.transactional()
        for ends, offset in ((producer.commit, 7), (producer.abort, 9)):
            producer.begin()
            producer.send(topic, 0, valued(b"with offsets"))
            producer.send_offsets(self.topic, 1, offset, consumer)
            ends()
            # The end is answered before all of its markers are written.
            until(lambda: consumer.committed(self.topic, 1) == 7, "only the committed one counts")
        producer.close()
        consumer.close()

    def transaction_fenced(self):
        topic = self.transaction_topic()
        old = self.transactional()
        old.begin()
        old.send(topic, 0, valued(b"of the old"))
        new = self.transactional()

        def goes_on():
            old.send(topic, 0, valued(b"too late"))
            old.commit()
        refused("PRODUCER_FENCED", goes_on)
        new.close()

    def transaction_topic(self):
        self.setup.needs("transactions")
        topic = self.setup.name("transactions")
        if not self.client.partitions(topic):
            self.client.create_topic(topic, 2, {})
        return topic

    def transactional(self):
        return self.client.producer(transactional_id=self.setup.name("transactions"))

    def values(self, topic, partition, count, level):
        return [each.value for each in self.read(topic, partition, 0, count, level=level)]

    def read(self, topic, partition, offset, count, **kind):
        """So many records, and not one more."""
        consumer = self.client.consumer(self.setup.name("none"), **kind)
        consumer.assign(topic, partition, offset)
        found = []
        until(lambda: found.extend(consumer.poll(0.2)) or len(found) >= count, f"{count} records")
        found.extend(consumer.poll(0.3))
        consumer.close()
        equal(len(found), count, "records read")
        return found


def share(one, two):
    until(lambda: len(one.owned | two.owned) == PARTITIONS and {len(one.owned), len(two.owned)} == {2, 3},
          "two members share the partitions")


def tell(case, action):
    """One that fails does not keep the next from being tried."""
    begun = time.monotonic()
    result, detail = "passed", ""
    try:
        action()
    except Skipped as reason:
        result, detail = "skipped", str(reason)
    except Exception as error:
        at = [each for each in traceback.extract_tb(error.__traceback__) if each.name not in ("equal", "check", "until")]
        where = f"{at[-1].filename.rsplit('/', 1)[-1]}:{at[-1].lineno}"
        result, detail = "failed", f"{type(error).__name__}: {error} ({where})".replace("\n", " ")[:500]
    line = {"case": case, "result": result, "detail": detail, "ms": round((time.monotonic() - begun) * 1000)}
    print(json.dumps(line), flush=True)
