"""kafka-python."""

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigFilterType, ConfigResource, ConfigResourceType, NewPartitions, NewTopic, OffsetSpec
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from scenario import PATIENCE_S, Record, Refused, Scenario, Setup, Skipped

# An assignment that comes after the time of a poll is over is lost, and never asked for again (3.0.12).
GROUP_POLL_S_MIN = 2
ASSIGNORS = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor,
             "sticky": StickyPartitionAssignor, "cooperative-sticky": CooperativeStickyAssignor}
# What the client calls Kafka's errors.
NAMES = {"TopicAlreadyExistsError": "TOPIC_ALREADY_EXISTS", "InvalidPartitionsError": "INVALID_PARTITIONS",
         "MessageSizeTooLargeError": "MESSAGE_TOO_LARGE", "OffsetOutOfRangeError": "OFFSET_OUT_OF_RANGE",
         "GroupIdNotFoundError": "GROUP_ID_NOT_FOUND", "UnknownTopicOrPartitionError": "UNKNOWN_TOPIC_OR_PARTITION",
         "ProducerFencedError": "PRODUCER_FENCED", "InvalidProducerEpochError": "PRODUCER_FENCED"}


def told(action):
    """What it returns; the server's errors by Kafka's names."""
    try:
        return action()
    except KafkaError as error:
        name = type(error).__name__
        raise Refused(NAMES.get(name, f"{name}: {error}"))


class OfConsumer:
    def __init__(self, **config):
        self.inner = KafkaConsumer(**config)
        self.poll_s_min = 0

    def assign(self, topic, partition, offset):
        self.inner.assign([TopicPartition(topic, partition)])
        self.inner.seek(TopicPartition(topic, partition), offset)

    def subscribe(self, topic):
        self.inner.subscribe([topic])
        self.poll_s_min = GROUP_POLL_S_MIN

    def poll(self, timeout_s):
        timeout_s = max(timeout_s, self.poll_s_min)
        found = told(lambda: self.inner.poll(timeout_ms=round(timeout_s * 1000)))
        return [Record(each.key, each.value, list(each.headers), each.timestamp, each.partition, each.offset)
                for batch in found.values() for each in batch]

    def assignment(self):
        return {each.partition for each in self.inner.assignment()}

    def commit(self, topic, partition, offset, metadata):
        self.inner.commit({TopicPartition(topic, partition): OffsetAndMetadata(offset, metadata, -1)})

    def committed(self, topic, partition):
        return self.inner.committed(TopicPartition(topic, partition))

    def offsets_for_times(self, topic, times):
        asked = {TopicPartition(topic, partition): time for partition, time in times.items()}
        found = self.inner.offsets_for_times(asked)
        return {place.partition: each.offset if each else None for place, each in found.items()}

    def close(self):
        self.inner.close()


class OfProducer:
    def __init__(self, **config):
        self.inner = KafkaProducer(**config)
        if "transactional_id" in config:
            self.inner.init_transactions()

    def send(self, topic, partition, made):
        def sends():
            answers = [self.inner.send(topic, value=each.value, key=each.key, headers=each.headers,
                                       partition=partition, timestamp_ms=each.timestamp_ms) for each in made]
            self.inner.flush(PATIENCE_S)
            for answer in answers:
                answer.get(PATIENCE_S)
        told(sends)

    def begin(self):
        self.inner.begin_transaction()

    def commit(self):
        told(self.inner.commit_transaction)

    def abort(self):
        told(self.inner.abort_transaction)

    def send_offsets(self, topic, partition, offset, consumer):
        offsets = {TopicPartition(topic, partition): OffsetAndMetadata(offset, "", -1)}
        self.inner.send_offsets_to_transaction(offsets, consumer.inner.group_metadata())

    def close(self):
        self.inner.close(PATIENCE_S)


class OfKafkaPython:
    def __init__(self, setup):
        self.server = {"bootstrap_servers": setup.bootstrap.split(",")}
        self.admin = KafkaAdminClient(**self.server)

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
        config = {"partition_assignment_strategy": [ASSIGNORS[assignor]]} if assignor else {}
        return OfConsumer(**self.server, group_id=group, enable_auto_commit=False, isolation_level=level,
                          auto_offset_reset=reset, session_timeout_ms=10000, heartbeat_interval_ms=300,
                          group_instance_id=instance, **config)

    def create_topic(self, topic, partitions, config):
        made = NewTopic(topic, num_partitions=partitions, replication_factor=3, topic_configs=config)
        told(lambda: self.admin.create_topics([made]))

    def partitions(self, topic):
        if topic not in self.admin.list_topics():
            return {}
        found = told(lambda: self.admin.describe_topics([topic]))[0]["partitions"]
        return {each["partition_index"]: len(each["replica_nodes"]) for each in found}

    def create_partitions(self, topic, count):
        told(lambda: self.admin.create_partitions({topic: NewPartitions(count)}))

    def set_topic_config(self, topic, name, value):
        told(lambda: self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})]))

    def topic_configs(self, topic):
        asked = [ConfigResource(ConfigResourceType.TOPIC, topic)]
        found = told(lambda: self.admin.describe_configs(asked, config_filter=ConfigFilterType.ALL))
        return {name: each["value"] for name, each in found["topic"][topic].items()}

    def delete_topic(self, topic):
        told(lambda: self.admin.delete_topics([topic]))

    def first_and_end(self, topic, partition):
        return (self.offset(topic, partition, OffsetSpec.EARLIEST), self.offset(topic, partition, OffsetSpec.LATEST))

    def offset_of_greatest_time(self, topic, partition):
        return self.offset(topic, partition, OffsetSpec.MAX_TIMESTAMP)

    def offset(self, topic, partition, spec):
        place = TopicPartition(topic, partition)
        return told(lambda: self.admin.list_partition_offsets({place: spec}))[place].offset

    def delete_records(self, topic, partition, offset):
        told(lambda: self.admin.delete_records({TopicPartition(topic, partition): offset}))

    def groups(self):
        return [each["group_id"] for each in self.admin.list_groups()]

    def group_state(self, group):
        return told(lambda: self.admin.describe_groups([group]))[group]["group_state"]

    def group_offsets(self, group, topic):
        found = told(lambda: self.admin.list_group_offsets(group))[group]
        return {place.partition: (each.offset, each.metadata) for place, each in found.items()}

    def alter_group_offset(self, group, topic, partition, offset):
        place = {TopicPartition(topic, partition): OffsetAndMetadata(offset, "", -1)}
        told(lambda: self.admin.alter_group_offsets(group, place))

    def delete_group(self, group):
        became = told(lambda: self.admin.delete_groups([group]))[group]
        if became != "OK":
            raise Refused(NAMES.get(became, became))


setup = Setup()
Scenario(setup, OfKafkaPython(setup)).run()
