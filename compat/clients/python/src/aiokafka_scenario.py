"""aiokafka, on a loop of its own thread."""

import asyncio
import threading

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError, for_code
from aiokafka.structs import OffsetAndMetadata

from scenario import PATIENCE_S, Record, Refused, Scenario, Setup, Skipped

ASSIGNORS = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor,
             "sticky": StickyPartitionAssignor}
# What the client calls Kafka's errors.
NAMES = {"TopicAlreadyExistsError": "TOPIC_ALREADY_EXISTS", "InvalidPartitionsError": "INVALID_PARTITIONS",
         "MessageSizeTooLargeError": "MESSAGE_TOO_LARGE", "OffsetOutOfRangeError": "OFFSET_OUT_OF_RANGE",
         "UnknownTopicOrPartitionError": "UNKNOWN_TOPIC_OR_PARTITION", "ProducerFenced": "PRODUCER_FENCED"}

loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()


def told(work):
    """What it returns; the server's errors by Kafka's names."""
    try:
        return asyncio.run_coroutine_threadsafe(work, loop).result(PATIENCE_S)
    except KafkaError as error:
        name = type(error).__name__
        raise Refused(NAMES.get(name, f"{name}: {error}"))


def right(code):
    if code:
        name = for_code(code).__name__
        raise Refused(NAMES.get(name, name))


async def made(kind, **config):
    return kind(**config)


async def called(function, *arguments):
    """For what is not asynchronous and wants the loop all the same."""
    return function(*arguments)


class OfConsumer:
    def __init__(self, **config):
        self.inner = told(made(AIOKafkaConsumer, **config))
        self.started = False

    def start(self):
        if not self.started:
            told(self.inner.start())
            self.started = True

    def assign(self, topic, partition, offset):
        self.start()
        told(called(self.inner.assign, [TopicPartition(topic, partition)]))
        told(called(self.inner.seek, TopicPartition(topic, partition), offset))

    def subscribe(self, topic):
        told(called(self.inner.subscribe, [topic]))

    def poll(self, timeout_s):
        # A member that subscribes waits for the group when it starts.
        self.start()
        found = told(self.inner.getmany(timeout_ms=round(timeout_s * 1000)))
        return [Record(each.key, each.value, list(each.headers), each.timestamp, each.partition, each.offset)
                for batch in found.values() for each in batch]

    def assignment(self):
        return {each.partition for each in self.inner.assignment()}

    def commit(self, topic, partition, offset, metadata):
        told(self.inner.commit({TopicPartition(topic, partition): (offset, metadata)}))

    def committed(self, topic, partition):
        return told(self.inner.committed(TopicPartition(topic, partition)))

    def offsets_for_times(self, topic, times):
        self.start()
        asked = {TopicPartition(topic, partition): time for partition, time in times.items()}
        found = told(self.inner.offsets_for_times(asked))
        return {place.partition: each.offset if each else None for place, each in found.items()}

    def close(self):
        told(self.inner.stop())


class OfProducer:
    def __init__(self, **config):
        self.inner = told(made(AIOKafkaProducer, **config))
        told(self.inner.start())

    def send(self, topic, partition, made):
        async def sends():
            answers = [await self.inner.send(topic, value=each.value, key=each.key, headers=each.headers,
                                             partition=partition, timestamp_ms=each.timestamp_ms) for each in made]
            for answer in answers:
                await answer
        told(sends())

    def begin(self):
        told(self.inner.begin_transaction())

    def commit(self):
        told(self.inner.commit_transaction())

    def abort(self):
        told(self.inner.abort_transaction())

    def send_offsets(self, topic, partition, offset, consumer):
        offsets = {TopicPartition(topic, partition): OffsetAndMetadata(offset, "")}
        told(self.inner.send_offsets_to_transaction(offsets, consumer.inner._group_id))

    def close(self):
        told(self.inner.stop())


class OfAiokafka:
    def __init__(self, setup):
        self.server = {"bootstrap_servers": setup.bootstrap.split(",")}
        self.admin = told(made(AIOKafkaAdminClient, **self.server))
        told(self.admin.start())

    def producer(self, codec="none", idempotent=False, transactional_id=None, request_bytes_max=1_000_000):
        config = {"acks": "all", "compression_type": None if codec == "none" else codec, "linger_ms": 20,
                  "max_request_size": request_bytes_max, "enable_idempotence": idempotent or bool(transactional_id)}
        if transactional_id:
            config["transactional_id"] = transactional_id
        return OfProducer(**self.server, **config)

    def consumer(self, group, level="read_uncommitted", assignor=None, instance=None, reset="earliest",
                 protocol="classic"):
        if protocol != "classic":
            raise Skipped("the client has only the classic protocol")
        if assignor and assignor not in ASSIGNORS:
            raise Skipped("the client has no such assignor")
        config = {"partition_assignment_strategy": [ASSIGNORS[assignor]]} if assignor else {}
        return OfConsumer(**self.server, group_id=group, enable_auto_commit=False, isolation_level=level,
                          auto_offset_reset=reset, session_timeout_ms=10000, heartbeat_interval_ms=300,
                          group_instance_id=instance, **config)

    def create_topic(self, topic, partitions, config):
        new = NewTopic(topic, partitions, 3, topic_configs=config)
        right(told(self.admin.create_topics([new])).topic_errors[0][1])

    def partitions(self, topic):
        found = told(self.admin.describe_topics())
        for each in found:
            if each["topic"] == topic:
                return {place["partition"]: len(place["replicas"]) for place in each["partitions"]}
        return {}

    def create_partitions(self, topic, count):
        right(told(self.admin.create_partitions({topic: NewPartitions(count)})).topic_errors[0][1])

    def set_topic_config(self, topic, name, value):
        # It has only the old request, which replaces all that was set.
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, {name: value, "retention.ms": "-1"})
        right(told(self.admin.alter_configs([resource]))[0].resources[0][0])

    def topic_configs(self, topic):
        found = told(self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))
        resource = found[0].resources[0]
        right(resource[0])
        return {each[0]: each[1] for each in resource[4]}

    def delete_topic(self, topic):
        right(told(self.admin.delete_topics([topic])).topic_error_codes[0][1])

    def first_and_end(self, topic, partition):
        consumer = OfConsumer(**self.server)
        consumer.start()
        place = TopicPartition(topic, partition)
        found = (told(consumer.inner.beginning_offsets([place]))[place],
                 told(consumer.inner.end_offsets([place]))[place])
        consumer.close()
        return found

    def offset_of_greatest_time(self, topic, partition):
        raise Skipped("the client asks for the first and the end only")

    def delete_records(self, topic, partition, offset):
        told(self.admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(offset)}))

    def groups(self):
        return [each[0] for each in told(self.admin.list_consumer_groups())]

    def group_state(self, group):
        return told(self.admin.describe_consumer_groups([group]))[0].groups[0][2]

    def group_offsets(self, group, topic):
        found = told(self.admin.list_consumer_group_offsets(group))
        return {place.partition: (each.offset, each.metadata) for place, each in found.items()}

    def alter_group_offset(self, group, topic, partition, offset):
        raise Skipped("the client changes and deletes no groups")


setup = Setup()
Scenario(setup, OfAiokafka(setup)).run()
