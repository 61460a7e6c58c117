import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.NavigableSet;
import java.util.Queue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ConcurrentSkipListSet;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;

/**
 * A group whose members go from the classic protocol to the consumer protocol (KIP-848) and back, one by one, while
 * records come. Each record is read, and none again whose commit was answered.
 */
final class Migration {
    private static final int PARTITIONS = 4;
    private static final Map<String, Object> CLASSIC =
        Map.of("partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
    private static final Map<String, Object> CONSUMER = ConsumerProtocol.with(Map.of());

    private final Scenario scenario;
    private final String topic;
    private final String group;
    /** Behind the last record whose commit was answered. */
    private final Map<TopicPartition, Long> committed = new ConcurrentHashMap<>();
    private final Map<TopicPartition, NavigableSet<Long>> read = new ConcurrentHashMap<>();
    private final Queue<String> problems = new ConcurrentLinkedQueue<>();

    Migration(Scenario scenario) {
        this.scenario = scenario;
        topic = scenario.name("migration");
        group = scenario.name("migration");
    }

    void run() throws Exception {
        ConsumerProtocol.needs(scenario);
        scenario.admin.createTopics(List.of(new NewTopic(topic, PARTITIONS, (short) 3))).all().get();
        Feed feed = new Feed();
        Migrant one = new Migrant(CLASSIC);
        Migrant two = new Migrant(CLASSIC);
        await("two classic members", "Classic", one, two);
        two.leave();
        two = new Migrant(CONSUMER);
        await("the second has the consumer protocol", "Consumer", one, two);
        one.leave();
        one = new Migrant(CONSUMER);
        await("both have the consumer protocol", "Consumer", one, two);
        two.leave();
        two = new Migrant(CLASSIC);
        await("the second has the classic protocol", "Consumer", one, two);
        one.leave();
        one = new Migrant(CLASSIC);
        await("both have the classic protocol again", "Classic", one, two);

        Map<TopicPartition, Long> ends = feed.end();
        Scenario.until("every record is read and committed", () -> committed.equals(ends));
        one.leave();
        two.leave();
        for (TopicPartition partition : ends.keySet()) {
            NavigableSet<Long> found = read.get(partition);
            Scenario.equal((long) found.size(), ends.get(partition), "records read of " + partition);
            Scenario.equal(found.last(), ends.get(partition) - 1, "the last record read of " + partition);
        }
        Scenario.equal(List.copyOf(problems), List.of(), "problems");
    }

    /** Until both share the partitions and read on; then the group is of this type and has what was committed. */
    private void await(String what, String type, Migrant one, Migrant two) throws Exception {
        Scenario.until(what + ", and share", () -> one.owns(PARTITIONS / 2) && two.owns(PARTITIONS / 2));
        long before = one.found;
        long others = two.found;
        Scenario.until(what + ", and read on", () -> one.found > before && two.found > others);
        var described = scenario.admin.describeConsumerGroups(List.of(group)).all().get().get(group);
        Scenario.equal(described.type().toString(), type, what + ": the group's type");
        Map<TopicPartition, Long> least = new HashMap<>(committed);
        var kept = scenario.admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        least.forEach((partition, offset) -> {
            OffsetAndMetadata found = kept.get(partition);
            if (found == null || found.offset() < offset) {
                problems.add(what + ": " + partition + " was committed up to " + offset + " and has " + found);
            }
        });
        Scenario.equal(List.copyOf(problems), List.of(), what + ": problems");
    }

    /** Writes to all partitions in turn. */
    private final class Feed extends Thread {
        private final Map<TopicPartition, Long> ends = new HashMap<>();
        private volatile boolean stops;
        private volatile Exception failure;

        Feed() {
            setDaemon(true);
            start();
        }

        @Override
        public void run() {
            try (var producer = scenario.producer(Map.of())) {
                for (int number = 0; !stops; number++) {
                    int partition = number % PARTITIONS;
                    long offset = producer.send(new ProducerRecord<>(topic, partition, null, new byte[1])).get().offset();
                    ends.put(new TopicPartition(topic, partition), offset + 1);
                }
            } catch (Exception e) {
                failure = e;
            }
        }

        /** Where each partition ends. */
        Map<TopicPartition, Long> end() throws Exception {
            stops = true;
            join(Scenario.PATIENCE.toMillis());
            Scenario.equal(isAlive(), false, "the producer that was told to end is alive");
            Scenario.equal(failure, null, "what became of the producer");
            return ends;
        }
    }

    /** A member that commits what it reads, before it reads on and before it gives a partition up. */
    private final class Migrant extends Thread implements ConsumerRebalanceListener {
        private final KafkaConsumer<byte[], byte[]> consumer;
        private final Map<TopicPartition, OffsetAndMetadata> uncommitted = new HashMap<>();
        private volatile int owned;
        private volatile long found;
        private volatile boolean stops;
        private volatile Exception failure;

        Migrant(Map<String, Object> properties) {
            consumer = scenario.consumer("migration", properties);
            consumer.subscribe(List.of(topic), this);
            setDaemon(true);
            start();
        }

        @Override
        public void run() {
            try (consumer) {
                while (!stops || !uncommitted.isEmpty()) {
                    consumer.poll(Scenario.POLL).forEach(this::take);
                    commit();
                    owned = consumer.assignment().size();
                }
            } catch (Exception e) {
                failure = e;
            }
        }

        private void take(ConsumerRecord<byte[], byte[]> record) {
            TopicPartition partition = new TopicPartition(record.topic(), record.partition());
            if (record.offset() < committed.getOrDefault(partition, 0L)) {
                problems.add(partition + ": " + record.offset() + " was committed and is read again");
            }
            read.computeIfAbsent(partition, ignored -> new ConcurrentSkipListSet<>()).add(record.offset());
            uncommitted.put(partition, new OffsetAndMetadata(record.offset() + 1));
            found++;
        }

        private void commit() {
            if (uncommitted.isEmpty()) {
                return;
            }
            try {
                consumer.commitSync(uncommitted);
            } catch (RebalanceInProgressException | CommitFailedException e) {
                // Once it has polled again it may, or it is told what it does not own any more.
                return;
            }
            uncommitted.forEach((partition, next) -> committed.merge(partition, next.offset(), Math::max));
            uncommitted.clear();
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) { }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            commit();
            uncommitted.keySet().removeAll(partitions);
        }

        /** Nobody is late here, so that whoever loses a partition was put out of the group. */
        @Override
        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            uncommitted.keySet().removeAll(partitions);
            problems.add("lost: " + partitions);
        }

        boolean owns(int count) {
            Scenario.equal(failure, null, "what became of a member");
            return owned == count;
        }

        void leave() throws Exception {
            stops = true;
            join(Scenario.PATIENCE.toMillis());
            Scenario.equal(isAlive(), false, "a member that was told to leave is alive");
            Scenario.equal(failure, null, "what became of a member");
        }
    }
}
