"""kcat: librdkafka from a shell. Topics are made with confluent-kafka, since kcat makes none."""

import json
import subprocess
import tempfile

from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from scenario import (CODECS, PARTITIONS, PATIENCE_S, RECORDS, TIME_FIRST_MS, TIME_STEP_MS, Setup, Skipped, check,
                      equal, records, tell, until)

setup = Setup()
TOPIC = setup.name("records")
admin = AdminClient({"bootstrap.servers": setup.bootstrap})
# Everything that it can show of a record; a length of -1 is null.
FORMAT = '{"key":%K,"value":%S,"partition":%p,"offset":%o,"headers":"%h","text":"%s"}\n'


def command(*words):
    return ["kcat", "-b", setup.bootstrap, "-m", str(PATIENCE_S), "-X", "allow.auto.create.topics=false", *words]


def kcat(*words, stdin=None):
    done = subprocess.run(command(*words), input=stdin, capture_output=True, text=True, timeout=2 * PATIENCE_S)
    check(done.returncode == 0, "kcat", *words, "ended with", done.returncode, done.stderr)
    return done.stdout


def read(*words):
    return [json.loads(line) for line in kcat("-C", "-q", "-e", "-f", FORMAT, "-t", *words).splitlines()]


def create(topic, partitions):
    made = NewTopic(topic, num_partitions=partitions, replication_factor=3, config={"retention.ms": "-1"})
    admin.create_topics([made])[topic].result(PATIENCE_S)


def create_topic():
    create(TOPIC, 3)
    admin.create_partitions([NewPartitions(TOPIC, PARTITIONS)])[TOPIC].result(PATIENCE_S)

    def seen():
        found = json.loads(kcat("-L", "-J", "-t", TOPIC))["topics"][0]["partitions"]
        return len(found) == PARTITIONS and found
    for each in until(seen, "5 partitions"):
        equal(len(each["replicas"]), 3, "replicas")


def produce(codec):
    def case():
        partition = CODECS.index(codec)
        # It takes one key and the same headers for all of its lines, and knows no times.
        lines = "".join(f"{(record.key or b'').decode()}\t{(record.value or b'').decode()}\n" for record in records())
        kcat("-P", "-Z", "-K", "\t", "-z", codec, "-X", "acks=all", "-H", "number=1", "-H", "number=again", "-p",
             str(partition), "-t", TOPIC, stdin=lines)
        found = read(TOPIC, "-p", str(partition), "-o", "beginning")
        equal(len(found), RECORDS, "records read")
        for one, record in zip(found, records()):
            equal(one["headers"], "number=1,number=again", "headers")
            equal(one["key"], len(record.key) if record.key else -1, "length of a key")
            equal(one["value"], len(record.value) if record.value else -1, "length of a value")
            equal(one["text"], (record.value or b"").decode(), "value")
    return case


def too_large():
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x" * 1_500_000)
        file.flush()
        done = subprocess.run(command("-P", "-X", "message.max.bytes=3000000", "-t", TOPIC, file.name),
                              capture_output=True, text=True, timeout=PATIENCE_S)
    check("Message size too large" in done.stderr, done.returncode, done.stderr)


def consume_by_offset():
    found = read(TOPIC, "-p", "0", "-o", "15")
    equal([each["offset"] for each in found], list(range(15, RECORDS)), "offsets")


def query(partition, time):
    return int(kcat("-Q", "-t", f"{TOPIC}:{partition}:{time}").strip().rsplit(" ", 1)[1])


def consume_by_time():
    equal(query(0, 1), 0, "the offset of a time before all")
    equal(query(0, 4_000_000_000_000), -1, "that of one behind all")
    found = read(TOPIC, "-p", "0", "-o", "s@1")
    equal(len(found), RECORDS, "records of a time on")


def list_offsets():
    equal((query(0, -2), query(0, -1)), (0, RECORDS), "the first and the end")


def idempotent():
    topic = setup.name("idempotent")
    create(topic, 1)
    kcat("-P", "-X", "enable.idempotence=true", "-X", "batch.num.messages=7", "-t", topic,
         stdin="".join(f"{i}\n" for i in range(200)))
    equal([each["text"] for each in read(topic, "-o", "beginning")], [str(i) for i in range(200)], "values")


def commits():
    words = ["-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=10000", "-X", "heartbeat.interval.ms=300",
             "-q", "-e", "-f", "%o\n"]
    group = setup.name("commits")
    first = kcat("-c", "1", *words, "-G", group, TOPIC).splitlines()
    equal(first, ["0"], "the first")
    rest = kcat(*words, "-G", group, TOPIC).splitlines()
    equal(len(rest), PARTITIONS * RECORDS - 1, "records after a commit")


def transactions():
    setup.needs("transactions")
    topic = setup.name("transactions")
    create(topic, 1)
    kcat("-P", "-X", "transactional.id=" + topic, "-t", topic, stdin="committed\nlast\n")
    found = read(topic, "-o", "beginning", "-X", "isolation.level=read_committed")
    equal([each["text"] for each in found], ["committed", "last"], "read_committed")


def cannot(reason):
    def case():
        raise Skipped(reason)
    return case


cases = {"create-topic": create_topic, **{f"produce-{codec}": produce(codec) for codec in CODECS},
         "too-large": too_large, "consume-by-offset": consume_by_offset, "consume-by-time": consume_by_time,
         "list-offsets": list_offsets, "idempotent": idempotent, "commits": commits, "transactions": transactions}
for name in ("create-partitions", "topic-configs", "greatest-time", "group-admin", "group-changes", "delete-records",
             "delete-topic"):
    cases[name] = cannot("kcat administers nothing")
for name in ("offset-out-of-range", "group-range", "group-roundrobin", "group-sticky", "group-cooperative-sticky",
             "group-static", "group-new-protocol", "group-new-static", "group-new-regex", "group-new-range",
             "group-migration"):
    cases[name] = cannot("as confluent-kafka, whose library it has")
for name in ("transaction-open", "transaction-offsets", "transaction-fenced"):
    cases[name] = cannot("kcat commits when its input ends, and does nothing else")
for name, action in cases.items():
    tell(name, action)
