"""confluent-kafka: librdkafka from Python."""

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions,
                                   NewTopic, OffsetSpec, ResourceType)

from scenario import PATIENCE_S, Record, Refused, Scenario, Setup, Skipped, equal

# librdkafka's own names of what Kafka calls otherwise.
NAMES = {"MSG_SIZE_TOO_LARGE": "MESSAGE_TOO_LARGE", "UNKNOWN_TOPIC_OR_PART": "UNKNOWN_TOPIC_OR_PARTITION",
         "_FENCED": "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH": "PRODUCER_FENCED",
         "_AUTO_OFFSET_RESET": "OFFSET_OUT_OF_RANGE"}
FATAL = {"The instance ID is still used by another member": "UNRELEASED_INSTANCE_ID",
         "The assignor or its version range is not supported": "UNSUPPORTED_ASSIGNOR"}
NONE = -1001
AMID_REBALANCE = {"REBALANCE_IN_PROGRESS", "ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "STALE_MEMBER_EPOCH",
                  "_ASSIGNMENT_LOST"}


def refuse(error):
    if error.name() == "_FATAL":
        # librdkafka keeps the error that it cannot go on with to itself, but for its text.
        known = [name for text, name in FATAL.items() if text in error.str()]
        raise Refused(known[0] if known else error.str())
    raise Refused(NAMES.get(error.name(), error.name()))


def one(futures):
    """What became of the only one."""
    try:
        return list(futures.values())[0].result(PATIENCE_S)
    except KafkaException as error:
        refuse(error.args[0])


class OfConsumer:
    def __init__(self, config):
        self.inner = Consumer(config)

    def assign(self, topic, partition, offset):
        self.inner.assign([TopicPartition(topic, partition, offset)])

    def subscribe(self, *topics, **told):
        self.inner.subscribe(list(topics), **told)

    def poll(self, timeout_s):
        message = self.inner.poll(timeout_s)
        found = ([message] if message else []) + (self.inner.consume(100, 0) if message else [])
        for each in found:
            if each.error():
                refuse(each.error())
        return [Record(each.key(), each.value(), each.headers(), each.timestamp()[1], each.partition(), each.offset())
                for each in found]

    def assignment(self):
        return {each.partition for each in self.inner.assignment()}

    def places(self):
        return {(each.topic, each.partition) for each in self.inner.assignment()}

    def commit_all(self, topic, offsets):
        """Whether all are committed, which they are not amid a rebalance."""
        try:
            places = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
            return not any(each.error for each in self.inner.commit(offsets=places, asynchronous=False))
        except KafkaException as error:
            if error.args[0].name() in AMID_REBALANCE:
                return False
            raise

    def commit(self, topic, partition, offset, metadata):
        self.inner.commit(offsets=[TopicPartition(topic, partition, offset, metadata)], asynchronous=False)

    def committed(self, topic, partition):
        offset = self.inner.committed([TopicPartition(topic, partition)], PATIENCE_S)[0].offset
        return None if offset == NONE else offset

    def offsets_for_times(self, topic, times):
        asked = [TopicPartition(topic, partition, time) for partition, time in times.items()]
        found = self.inner.offsets_for_times(asked, PATIENCE_S)
        return {each.partition: None if each.offset == -1 else each.offset for each in found}

    def close(self):
        self.inner.close()


class OfProducer:
    def __init__(self, config):
        self.inner = Producer(config)
        if "transactional.id" in config:
            self.inner.init_transactions(PATIENCE_S)

    def send(self, topic, partition, made):
        errors = []
        try:
            for each in made:
                self.inner.produce(topic, value=each.value, key=each.key, headers=each.headers, partition=partition,
                                   timestamp=each.timestamp_ms, on_delivery=lambda error, _: errors.append(error))
            equal(self.inner.flush(PATIENCE_S), 0, "what is not sent")
        except KafkaException as error:
            refuse(error.args[0])
        equal(len(errors), len(made), "answers")
        for error in errors:
            # Where another producer has taken over, the record is only purged: the end of the transaction tells why.
            if error and error.name() != "_PURGE_QUEUE":
                refuse(error)

    def begin(self):
        self.inner.begin_transaction()

    def commit(self):
        self.end(self.inner.commit_transaction)

    def abort(self):
        self.end(self.inner.abort_transaction)

    def end(self, ends):
        try:
            ends(PATIENCE_S)
        except KafkaException as error:
            refuse(error.args[0])

    def send_offsets(self, topic, partition, offset, consumer):
        metadata = consumer.inner.consumer_group_metadata()
        self.inner.send_offsets_to_transaction([TopicPartition(topic, partition, offset)], metadata, PATIENCE_S)

    def close(self):
        self.inner.flush(PATIENCE_S)


class OfConfluent:
    def __init__(self, setup):
        self.server = {"bootstrap.servers": setup.bootstrap}
        self.admin = AdminClient(self.server)

    def producer(self, codec="none", idempotent=False, transactional_id=None, request_bytes_max=1_000_000):
        config = {**self.server, "acks": "all", "compression.type": codec, "linger.ms": 20,
                  "message.max.bytes": request_bytes_max, "enable.idempotence": idempotent}
        if transactional_id:
            config |= {"transactional.id": transactional_id, "transaction.timeout.ms": 30000,
                       "enable.idempotence": True}
        return OfProducer(config)

    def consumer(self, group, level="read_uncommitted", assignor=None, instance=None, reset="earliest",
                 protocol="classic"):
        config = {**self.server, "group.id": group, "enable.auto.commit": False, "isolation.level": level,
                  "auto.offset.reset": "error" if reset == "none" else reset}
        if protocol == "consumer":
            config["group.protocol"] = protocol
        else:
            config |= {"session.timeout.ms": 10000, "heartbeat.interval.ms": 300}
        if assignor == "sticky":
            raise Skipped("librdkafka has only the cooperative one")
        if assignor and protocol == "consumer":
            config["group.remote.assignor"] = assignor
        elif assignor:
            config["partition.assignment.strategy"] = assignor
        if instance:
            config["group.instance.id"] = instance
        return OfConsumer(config)

    def create_topic(self, topic, partitions, config):
        made = NewTopic(topic, num_partitions=partitions, replication_factor=3, config=config)
        one(self.admin.create_topics([made]))

    def partitions(self, topic):
        found = self.admin.list_topics(timeout=PATIENCE_S).topics.get(topic)
        return {number: len(each.replicas) for number, each in found.partitions.items()} if found else {}

    def create_partitions(self, topic, count):
        one(self.admin.create_partitions([NewPartitions(topic, count)]))

    def set_topic_config(self, topic, name, value):
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        one(self.admin.incremental_alter_configs([resource]))

    def topic_configs(self, topic):
        found = one(self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
        return {name: each.value for name, each in found.items()}

    def delete_topic(self, topic):
        one(self.admin.delete_topics([topic]))

    def first_and_end(self, topic, partition):
        return (self.offset(topic, partition, OffsetSpec.earliest()),
                self.offset(topic, partition, OffsetSpec.latest()))

    def offset_of_greatest_time(self, topic, partition):
        return self.offset(topic, partition, OffsetSpec.max_timestamp())

    def offset(self, topic, partition, spec):
        return one(self.admin.list_offsets({TopicPartition(topic, partition): spec})).offset

    def delete_records(self, topic, partition, offset):
        one(self.admin.delete_records([TopicPartition(topic, partition, offset)]))

    def groups(self):
        return [each.group_id for each in self.admin.list_consumer_groups().result(PATIENCE_S).valid]

    def group_state(self, group):
        return one(self.admin.describe_consumer_groups([group])).state.name

    def group_type(self, group):
        return one(self.admin.describe_consumer_groups([group])).type.name

    def group_offsets(self, group, topic):
        found = one(self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
        return {each.partition: (each.offset, each.metadata) for each in found.topic_partitions}

    def alter_group_offset(self, group, topic, partition, offset):
        place = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, partition, offset)])
        one(self.admin.alter_consumer_group_offsets([place]))

    def delete_group(self, group):
        one(self.admin.delete_consumer_groups([group]))


setup = Setup()
Scenario(setup, OfConfluent(setup)).run()
