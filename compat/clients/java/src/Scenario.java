import static java.nio.charset.StandardCharsets.UTF_8;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import java.util.stream.StreamSupport;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.NoOffsetForPartitionException;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.OffsetOutOfRangeException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Apache Kafka's Java client; what each case does stands in compat/clients/README.md. */
public final class Scenario {
    private static final Set<String> FILES = Set.of("Scenario.java", "ConsumerProtocol.java", "Migration.java");
    private static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    private static final int RECORDS = 20;
    static final int PARTITIONS = 5;
    private static final long TIME_FIRST_MS = 1_700_000_000_000L;
    private static final long TIME_STEP_MS = 1000;
    static final Duration PATIENCE = Duration.ofSeconds(30);
    static final Duration POLL = Duration.ofMillis(100);

    private final String bootstrap;
    private final String prefix;
    final String topic;
    private final String setup;
    final Admin admin;

    /** The client or the server does not have what the case needs. */
    static final class Skipped extends RuntimeException {
        Skipped(String reason) {
            super(reason);
        }
    }

    interface Case {
        void run() throws Exception;
    }

    private record Entry(String key, String value, List<String> headers, long timestampMs) { }

    private Scenario(String setup) {
        this.setup = setup;
        bootstrap = field("bootstrap");
        prefix = field("prefix");
        topic = name("records");
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    public static void main(String[] arguments) throws Exception {
        Scenario scenario = new Scenario(Files.readString(Path.of(arguments[0])));
        scenario.run();
        // Threads of members that could not leave.
        System.exit(0);
    }

    private void run() {
        Map<String, Case> cases = new LinkedHashMap<>();
        cases.put("create-topic", this::createTopic);
        cases.put("create-partitions", this::createPartitions);
        cases.put("topic-configs", this::topicConfigs);
        CODECS.forEach(codec -> cases.put("produce-" + codec, () -> produce(codec)));
        cases.put("too-large", this::tooLarge);
        cases.put("consume-by-offset", this::consumeByOffset);
        cases.put("consume-by-time", this::consumeByTime);
        cases.put("list-offsets", this::listOffsets);
        cases.put("greatest-time", this::greatestTime);
        cases.put("offset-out-of-range", this::offsetOutOfRange);
        cases.put("idempotent", this::idempotent);
        cases.put("group-range", () -> group("range", assignor("RangeAssignor")));
        cases.put("group-roundrobin", () -> group("roundrobin", assignor("RoundRobinAssignor")));
        cases.put("group-sticky", () -> group("sticky", assignor("StickyAssignor")));
        cases.put("group-cooperative-sticky", () -> group("cooperative", assignor("CooperativeStickyAssignor")));
        cases.put("group-static", this::staticMember);
        ConsumerProtocol consumerProtocol = new ConsumerProtocol(this);
        cases.put("group-new-protocol", consumerProtocol::shared);
        cases.put("group-new-static", consumerProtocol::staticMember);
        cases.put("group-new-regex", consumerProtocol::regex);
        cases.put("group-new-range", consumerProtocol::range);
        cases.put("group-migration", () -> new Migration(this).run());
        cases.put("commits", this::commits);
        cases.put("group-admin", this::groupAdmin);
        cases.put("group-changes", this::groupChanges);
        cases.put("delete-records", this::deleteRecords);
        cases.put("delete-topic", this::deleteTopic);
        cases.put("transactions", this::transactions);
        cases.put("transaction-open", this::transactionOpen);
        cases.put("transaction-offsets", this::transactionOffsets);
        cases.put("transaction-fenced", this::transactionFenced);
        Set<String> asked = list("cases");
        cases.keySet().removeIf(name -> !asked.isEmpty() && !asked.contains(name));
        cases.forEach(this::tell);
    }

    private void createTopic() throws Exception {
        NewTopic wanted = new NewTopic(topic, 3, (short) 3).configs(Map.of("retention.ms", "-1"));
        admin.createTopics(List.of(wanted)).all().get();
        fails(TopicExistsException.class, () -> admin.createTopics(List.of(wanted)).all().get());
        var partitions = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions();
        equal(partitions.stream().map(each -> each.replicas().size()).toList(), List.of(3, 3, 3), "replicas");
    }

    private void createPartitions() throws Exception {
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(PARTITIONS))).all().get();
        until("5 partitions", () -> admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic)
            .partitions().size() == PARTITIONS);
        fails(InvalidPartitionsException.class,
            () -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4))).all().get());
    }

    private void topicConfigs() throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        AlterConfigOp set =
            new AlterConfigOp(new ConfigEntry("max.message.bytes", "1000000"), AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(resource, List.of(set))).all().get();
        until("it is so on every broker", () -> admin.describeConfigs(List.of(resource)).all().get().get(resource)
            .get("max.message.bytes").value().equals("1000000"));
        Config found = admin.describeConfigs(List.of(resource)).all().get().get(resource);
        equal(found.get("retention.ms").value(), "-1", "retention.ms");
        equal(found.get("segment.bytes").isDefault(), true, "segment.bytes is a default");
    }

    private void produce(String codec) throws Exception {
        int partition = CODECS.indexOf(codec);
        try (var producer = producer(Map.of("compression.type", codec, "linger.ms", "50"))) {
            send(producer, topic, partition, entries());
        }
        equal(read(topic, partition, 0, RECORDS, Map.of()).stream().map(Scenario::entry).toList(), entries(),
            "what is read");
    }

    private void tooLarge() throws Exception {
        try (var producer = producer(Map.of("max.request.size", "3000000"))) {
            fails(RecordTooLargeException.class,
                () -> producer.send(new ProducerRecord<>(topic, new byte[1_500_000])).get());
        }
    }

    private void consumeByOffset() throws Exception {
        List<Long> found = read(topic, 0, 15, RECORDS - 15, Map.of()).stream().map(ConsumerRecord::offset).toList();
        equal(found, LongStream.range(15, RECORDS).boxed().toList(), "offsets");
    }

    private void consumeByTime() {
        try (var consumer = consumer("none", Map.of())) {
            var found = consumer.offsetsForTimes(Map.of(at(0), TIME_FIRST_MS + 7 * TIME_STEP_MS - 1,
                at(1), TIME_FIRST_MS + RECORDS * TIME_STEP_MS));
            equal(found.get(at(0)).offset(), 7L, "the offset of a time");
            equal(found.get(at(0)).timestamp(), TIME_FIRST_MS + 7 * TIME_STEP_MS, "its own time");
            equal(found.get(at(1)), null, "that of one behind all");
        }
    }

    private void listOffsets() throws Exception {
        equal(offset(OffsetSpec.earliest()), 0L, "the first");
        equal(offset(OffsetSpec.latest()), (long) RECORDS, "the end");
        equal(offset(OffsetSpec.forTimestamp(TIME_FIRST_MS + 3 * TIME_STEP_MS)), 3L, "the one of a time");
    }

    private void greatestTime() throws Exception {
        equal(offset(OffsetSpec.maxTimestamp()), RECORDS - 1L, "the one of the greatest time");
    }

    private void offsetOutOfRange() throws Exception {
        try (var consumer = consumer("none", Map.of("auto.offset.reset", "none"))) {
            consumer.assign(List.of(at(0)));
            consumer.seek(at(0), 1000);
            fails(org.apache.kafka.clients.consumer.OffsetOutOfRangeException.class, () -> until("an error", () -> {
                consumer.poll(POLL);
                return false;
            }));
        }
        try (var consumer = consumer("never", Map.of("auto.offset.reset", "none"))) {
            consumer.assign(List.of(at(0)));
            fails(NoOffsetForPartitionException.class, () -> until("an error", () -> {
                consumer.poll(POLL);
                return false;
            }));
        }
    }

    private void idempotent() throws Exception {
        String name = name("idempotent");
        admin.createTopics(List.of(new NewTopic(name, 1, (short) 3))).all().get();
        List<Entry> made = IntStream.range(0, 200)
            .mapToObj(i -> new Entry(null, Integer.toString(i), List.of(), 0)).toList();
        try (var producer = producer(Map.of("enable.idempotence", "true", "batch.size", "100"))) {
            send(producer, name, 0, made);
        }
        equal(read(name, 0, 0, 200, Map.of()).stream().map(Scenario::entry).toList(), made, "what is read");
    }

    private static Map<String, Object> assignor(String name) {
        return Map.of("partition.assignment.strategy", "org.apache.kafka.clients.consumer." + name);
    }

    /** A member of a group that polls and never commits. */
    final class Member extends Thread {
        private final KafkaConsumer<byte[], byte[]> consumer;
        volatile Set<TopicPartition> assigned = Set.of();
        volatile Exception failure;
        private volatile boolean stops;

        Member(String group, Map<String, Object> properties) {
            this(group, properties, consumer -> consumer.subscribe(List.of(topic)));
        }

        Member(String group, Map<String, Object> properties, Consumer<KafkaConsumer<byte[], byte[]>> subscribe) {
            consumer = consumer(group, properties);
            subscribe.accept(consumer);
            setDaemon(true);
            start();
        }

        @Override
        public void run() {
            try (consumer) {
                while (!stops) {
                    consumer.poll(POLL);
                    assigned = Set.copyOf(consumer.assignment());
                }
            } catch (Exception e) {
                failure = e;
            }
        }

        int owned() {
            return assigned.size();
        }

        void leave() throws Exception {
            stops = true;
            join(PATIENCE.toMillis());
            equal(isAlive(), false, "a member that was told to leave is alive");
            equal(failure, null, "what became of a member");
        }
    }

    void group(String name, Map<String, Object> properties) throws Exception {
        Member one = new Member(name, properties);
        until("one member has all partitions", () -> one.owned() == PARTITIONS);
        Member two = new Member(name, properties);
        until("two members share them", () -> Math.min(one.owned(), two.owned()) == 2 && one.owned() + two.owned() == PARTITIONS);
        two.leave();
        until("the one that is left has all of them", () -> one.owned() == PARTITIONS);
        one.leave();
    }

    private void staticMember() throws Exception {
        Map<String, Object> first = Map.of("group.instance.id", "one");
        Member one = new Member("static", first);
        Member two = new Member("static", Map.of("group.instance.id", "two"));
        until("two members share them", () -> Math.min(one.owned(), two.owned()) == 2 && one.owned() + two.owned() == PARTITIONS);
        // It does not leave: the same instance gets the same partitions without a rebalance.
        Set<TopicPartition> owned = owned("static", "one");
        one.leave();
        equal(owned("static", "one"), owned, "what an instance owns that is away");
        Member again = new Member("static", first);
        until("it is back", () -> again.owned() == owned.size());
        equal(owned("static", "one"), owned, "what it owns again");
        again.leave();
        two.leave();
    }

    Set<TopicPartition> owned(String group, String instance) throws Exception {
        var described = admin.describeConsumerGroups(List.of(name(group))).all().get().get(name(group));
        return described.members().stream()
            .filter(member -> member.groupInstanceId().equals(java.util.Optional.of(instance)))
            .flatMap(member -> member.assignment().topicPartitions().stream())
            .collect(Collectors.toSet());
    }

    /** 3.9 speaks an early version that no broker takes any more. */
    static boolean hasNewProtocol() {
        return !org.apache.kafka.common.utils.AppInfoParser.getVersion().startsWith("3.");
    }

    private void commits() throws Exception {
        TopicPartition committed;
        long next;
        try (var consumer = consumer("commits", Map.of())) {
            consumer.subscribe(List.of(topic));
            List<ConsumerRecord<byte[], byte[]>> found = new ArrayList<>();
            until("a record", () -> {
                consumer.poll(POLL).forEach(found::add);
                return !found.isEmpty();
            });
            committed = new TopicPartition(topic, found.get(0).partition());
            next = found.get(0).offset() + 1;
            consumer.commitSync(Map.of(committed, new OffsetAndMetadata(next, "noted")));
            TopicPartition other = at((committed.partition() + 1) % PARTITIONS);
            var seen = consumer.committed(Set.of(committed, other));
            equal(seen.get(committed), new OffsetAndMetadata(next, "noted"), "committed");
            equal(seen.get(other), null, "committed elsewhere");
        }
        try (var consumer = consumer("commits", Map.of())) {
            consumer.subscribe(List.of(topic));
            List<ConsumerRecord<byte[], byte[]>> found = new ArrayList<>();
            long rest = PARTITIONS * RECORDS - next;
            until("the rest", () -> {
                consumer.poll(POLL).forEach(found::add);
                return found.size() >= rest;
            });
            equal((long) found.size(), rest, "records after a commit");
            long first = found.stream().filter(each -> each.partition() == committed.partition())
                .mapToLong(ConsumerRecord::offset).min().orElse(-1);
            equal(first, next, "the next");
        }
    }

    private void groupAdmin() throws Exception {
        String group = name("commits");
        var listed = admin.listConsumerGroups().all().get();
        equal(listed.stream().anyMatch(each -> each.groupId().equals(group)), true, "it is listed");
        var described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
        equal(described.state().toString(), "Empty", "state");
        equal(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().size(), 1, "commits");
    }

    private void groupChanges() throws Exception {
        String group = name("commits");
        admin.alterConsumerGroupOffsets(group, Map.of(at(0), new OffsetAndMetadata(3))).all().get();
        var altered = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        equal(altered.get(at(0)).offset(), 3L, "what was altered");
        admin.deleteConsumerGroupOffsets(group, Set.of(at(0))).all().get();
        altered = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        equal(altered.get(at(0)), null, "what was deleted");
        admin.deleteConsumerGroups(List.of(group)).all().get();
        fails(GroupIdNotFoundException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get());
    }

    private void deleteRecords() throws Exception {
        var deleted = admin.deleteRecords(Map.of(at(0), RecordsToDelete.beforeOffset(5))).lowWatermarks();
        equal(deleted.get(at(0)).get().lowWatermark(), 5L, "the begin");
        equal(offset(OffsetSpec.earliest()), 5L, "the first");
        equal(read(topic, 0, 5, RECORDS - 5, Map.of()).get(0).offset(), 5L, "what is read first");
        fails(OffsetOutOfRangeException.class,
            () -> admin.deleteRecords(Map.of(at(0), RecordsToDelete.beforeOffset(1000))).all().get());
    }

    private void deleteTopic() throws Exception {
        String name = name("idempotent");
        admin.deleteTopics(List.of(name)).all().get();
        until("it is gone", () -> !admin.listTopics().names().get().contains(name));
        fails(UnknownTopicOrPartitionException.class, () -> admin.deleteTopics(List.of(name)).all().get());
    }

    private void transactions() throws Exception {
        String name = transactionTopic();
        try (var producer = transactional()) {
            for (String value : List.of("committed", "aborted", "last")) {
                producer.beginTransaction();
                for (int partition : new int[] {0, 1}) {
                    producer.send(new ProducerRecord<>(name, partition, null, value.getBytes(UTF_8)));
                }
                if (value.equals("aborted")) {
                    producer.flush();
                    producer.abortTransaction();
                } else {
                    producer.commitTransaction();
                }
            }
        }
        for (int partition : new int[] {0, 1}) {
            equal(values(name, partition, 2, "read_committed"), List.of("committed", "last"), "read_committed");
            equal(values(name, partition, 3, "read_uncommitted"), List.of("committed", "aborted", "last"),
                "read_uncommitted");
        }
    }

    private void transactionOpen() throws Exception {
        String name = transactionTopic();
        TopicPartition partition = new TopicPartition(name, 0);
        var isolated = new ListOffsetsOptions(IsolationLevel.READ_COMMITTED);
        Callable<Long> stable = () ->
            admin.listOffsets(Map.of(partition, OffsetSpec.latest()), isolated).all().get().get(partition).offset();
        Callable<Long> end = () ->
            admin.listOffsets(Map.of(partition, OffsetSpec.latest())).all().get().get(partition).offset();
        try (var producer = transactional()) {
            // A commit is answered before all of its markers are written.
            until("nothing is open", () -> stable.call().equals(end.call()));
            long before = end.call();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(name, 0, null, "open".getBytes(UTF_8))).get();
            equal(stable.call(), before, "the last stable offset while it is open");
            equal(end.call(), before + 1, "the end while it is open");
            var active = admin.describeProducers(List.of(partition)).all().get().get(partition).activeProducers();
            equal(active.stream().filter(each -> each.currentTransactionStartOffset().isPresent()).count(), 1L,
                "producers with a transaction");
            var described = admin.describeTransactions(List.of(name("transactions"))).all().get();
            equal(described.get(name("transactions")).state().toString(), "Ongoing", "its state");
            producer.commitTransaction();
            until("it is stable", () -> stable.call() == before + 2);
        }
    }

    private void transactionOffsets() throws Exception {
        String name = transactionTopic();
        try (var consumer = consumer("transactions", Map.of()); var producer = transactional()) {
            consumer.subscribe(List.of(topic));
            until("an assignment", () -> {
                consumer.poll(POLL);
                return !consumer.assignment().isEmpty();
            });
            for (boolean commits : new boolean[] {true, false}) {
                producer.beginTransaction();
                producer.send(new ProducerRecord<>(name, 0, null, "with offsets".getBytes(UTF_8)));
                producer.sendOffsetsToTransaction(Map.of(at(1), new OffsetAndMetadata(commits ? 7 : 9)),
                    consumer.groupMetadata());
                if (commits) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
                equal(consumer.committed(Set.of(at(1))).get(at(1)).offset(), 7L, "committed");
            }
        }
    }

    private void transactionFenced() throws Exception {
        String name = transactionTopic();
        var old = transactional();
        old.beginTransaction();
        old.send(new ProducerRecord<>(name, 0, null, "of the old".getBytes(UTF_8))).get();
        try (var ignored = transactional()) {
            try {
                old.send(new ProducerRecord<>(name, 0, null, "too late".getBytes(UTF_8)));
                old.commitTransaction();
            } catch (ProducerFencedException | InvalidProducerEpochException e) {
                return;
            } catch (KafkaException e) {
                if (e.getCause() instanceof ProducerFencedException
                    || e.getCause() instanceof InvalidProducerEpochException) {
                    return;
                }
                throw e;
            } finally {
                old.close(Duration.ZERO);
            }
        }
        throw new AssertionError("the old producer was not fenced");
    }

    private String transactionTopic() throws Exception {
        needs("transactions");
        String name = name("transactions");
        if (!admin.listTopics().names().get().contains(name)) {
            admin.createTopics(List.of(new NewTopic(name, 2, (short) 3))).all().get();
        }
        return name;
    }

    private KafkaProducer<byte[], byte[]> transactional() {
        var producer = producer(
            Map.of("transactional.id", name("transactions"), "transaction.timeout.ms", "30000"));
        producer.initTransactions();
        return producer;
    }

    private List<String> values(String topic, int partition, int count, String level) throws Exception {
        return read(topic, partition, 0, count, Map.of("isolation.level", level)).stream()
            .map(each -> new String(each.value(), UTF_8)).toList();
    }

    KafkaProducer<byte[], byte[]> producer(Map<String, Object> properties) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "acks", "all"));
        all.putAll(properties);
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    KafkaConsumer<byte[], byte[]> consumer(String group, Map<String, Object> properties) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "group.id", name(group),
            "enable.auto.commit", "false", "auto.offset.reset", "earliest", "heartbeat.interval.ms", "300",
            "session.timeout.ms", "10000"));
        all.putAll(properties);
        all.values().removeIf(Objects::isNull);
        return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static void send(KafkaProducer<byte[], byte[]> producer, String topic, int partition, List<Entry> made)
        throws Exception {
        List<Future<RecordMetadata>> answers = new ArrayList<>();
        for (Entry each : made) {
            List<Header> headers = each.headers().stream().map(header -> header.split("=", 2))
                .map(pair -> (Header) new RecordHeader(pair[0], pair[1].getBytes(UTF_8))).toList();
            answers.add(producer.send(new ProducerRecord<>(topic, partition, each.timestampMs(), bytes(each.key()),
                bytes(each.value()), headers)));
        }
        for (int i = 0; i < answers.size(); i++) {
            equal(answers.get(i).get(30, TimeUnit.SECONDS).offset(), (long) i, "the offset of an answer");
        }
    }

    /** So many records, and not one more. */
    private List<ConsumerRecord<byte[], byte[]>> read(String topic, int partition, long offset, int count,
        Map<String, Object> properties) throws Exception {
        try (var consumer = consumer("none", properties)) {
            TopicPartition place = new TopicPartition(topic, partition);
            consumer.assign(List.of(place));
            consumer.seek(place, offset);
            List<ConsumerRecord<byte[], byte[]>> found = new ArrayList<>();
            until("records", () -> {
                consumer.poll(POLL).forEach(found::add);
                return found.size() >= count;
            });
            consumer.poll(Duration.ofMillis(200)).forEach(found::add);
            equal(found.size(), count, "records read");
            return found;
        }
    }

    /** Keys and values that are null, empty and neither, and a header that is there twice. */
    private static List<Entry> entries() {
        return IntStream.range(0, RECORDS).mapToObj(i -> new Entry(i % 5 == 0 ? null : "key-" + i,
            i == 3 ? null : i == 4 ? "" : ("value-" + i + " ").repeat(20),
            List.of("number=" + i, "empty=", "number=again"), TIME_FIRST_MS + i * TIME_STEP_MS)).toList();
    }

    private static Entry entry(ConsumerRecord<byte[], byte[]> record) {
        List<String> headers = StreamSupport.stream(record.headers().spliterator(), false)
            .map(header -> header.key() + "=" + new String(header.value(), UTF_8)).toList();
        return new Entry(text(record.key()), text(record.value()), headers, record.timestamp());
    }

    private static byte[] bytes(String text) {
        return text == null ? null : text.getBytes(UTF_8);
    }

    private static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, UTF_8);
    }

    private long offset(OffsetSpec spec) throws Exception {
        return admin.listOffsets(Map.of(at(0), spec)).all().get().get(at(0)).offset();
    }

    private TopicPartition at(int partition) {
        return new TopicPartition(topic, partition);
    }

    String name(String what) {
        return prefix + "-" + what;
    }

    void needs(String feature) {
        if (!list("has").contains(feature)) {
            throw new Skipped("the server has no " + feature);
        }
    }

    /** What stands in a list of the setup; nothing where there is none. */
    private Set<String> list(String name) {
        Matcher matcher = Pattern.compile('"' + name + "\":\\s*\\[([^\\]]*)\\]").matcher(setup);
        return !matcher.find() ? Set.of() : Arrays.stream(matcher.group(1).split(","))
            .map(each -> each.replace("\"", "").strip()).filter(each -> !each.isEmpty()).collect(Collectors.toSet());
    }

    private String field(String name) {
        Matcher matcher = Pattern.compile('"' + name + "\":\\s*\"([^\"]*)\"").matcher(setup);
        if (!matcher.find()) {
            throw new IllegalArgumentException("no " + name + " in the setup");
        }
        return matcher.group(1);
    }

    static void equal(Object found, Object wanted, String what) {
        if (!Objects.equals(found, wanted)) {
            throw new AssertionError(what + ": " + found + "; it should be " + wanted);
        }
    }

    static void fails(Class<? extends Exception> wanted, Case action) throws Exception {
        try {
            action.run();
        } catch (ExecutionException e) {
            if (wanted.isInstance(e.getCause())) {
                return;
            }
            throw e;
        } catch (Exception e) {
            if (wanted.isInstance(e)) {
                return;
            }
            throw e;
        }
        throw new AssertionError("no " + wanted.getSimpleName());
    }

    /** Asks again and again until it is so. */
    static void until(String what, Callable<Boolean> condition) throws Exception {
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (!condition.call()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("not yet after " + PATIENCE.toSeconds() + " s: " + what);
            }
            Thread.sleep(20);
        }
    }

    private void tell(String name, Case action) {
        long begun = System.nanoTime();
        String result = "passed";
        String detail = "";
        try {
            action.run();
        } catch (Skipped e) {
            result = "skipped";
            detail = e.getMessage();
        } catch (Exception | AssertionError e) {
            result = "failed";
            String at = Arrays.stream(e.getStackTrace()).filter(frame -> frame.getFileName() != null
                && FILES.contains(frame.getFileName()) && !frame.getMethodName().equals("equal"))
                .findFirst().map(frame -> " (" + frame.getFileName() + ":" + frame.getLineNumber() + ")").orElse("");
            detail = e + at;
        }
        detail = detail.replaceAll("[\\\\\"\\p{Cntrl}]", " ");
        detail = detail.substring(0, Math.min(detail.length(), 500));
        System.out.printf("{\"case\": \"%s\", \"result\": \"%s\", \"detail\": \"%s\", \"ms\": %d}%n", name, result,
            detail, TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - begun));
        System.out.flush();
    }
}
