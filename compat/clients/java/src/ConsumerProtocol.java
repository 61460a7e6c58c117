import java.lang.reflect.InvocationTargetException;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/** The cases of groups by the consumer protocol (KIP-848). */
final class ConsumerProtocol {
    private final Scenario scenario;

    ConsumerProtocol(Scenario scenario) {
        this.scenario = scenario;
    }

    /** What a member is given beside the classic ones' properties, which it must not have. */
    static Map<String, Object> with(Map<String, Object> more) {
        Map<String, Object> properties = new HashMap<>(more);
        properties.put("group.protocol", "consumer");
        properties.put("heartbeat.interval.ms", null);
        properties.put("session.timeout.ms", null);
        return properties;
    }

    static void needs(Scenario scenario) {
        scenario.needs("consumer groups");
        if (!Scenario.hasNewProtocol()) {
            throw new Scenario.Skipped("the client has it in preview only");
        }
    }

    void shared() throws Exception {
        needs(scenario);
        scenario.group("new", with(Map.of()));
    }

    void staticMember() throws Exception {
        needs(scenario);
        Map<String, Object> first = with(Map.of("group.instance.id", "one"));
        Scenario.Member one = scenario.new Member("new-static", first);
        Scenario.Member two = scenario.new Member("new-static", with(Map.of("group.instance.id", "two")));
        Scenario.until("two members share them", () -> Math.min(one.owned(), two.owned()) == 2
            && one.owned() + two.owned() == Scenario.PARTITIONS);
        Set<TopicPartition> owned = one.assigned;
        Set<TopicPartition> others = two.assigned;
        one.leave();
        Scenario.equal(scenario.owned("new-static", "one"), owned, "what an instance owns that is away");
        Scenario.Member again = scenario.new Member("new-static", first);
        Scenario.until("it is back", () -> again.assigned.equals(owned));

        Scenario.Member second = scenario.new Member("new-static", first);
        Scenario.until("a second one of the same instance ends", () -> second.failure != null);
        Scenario.equal(second.failure.getClass().getSimpleName(), "UnreleasedInstanceIdException", "its error");
        Scenario.equal(scenario.owned("new-static", "one"), owned, "what the instance owns after that");
        Scenario.equal(again.failure, null, "what became of the first one");
        Scenario.equal(two.assigned, others, "what the other instance has had all the time");
        again.leave();
        two.leave();
    }

    void regex() throws Exception {
        needs(scenario);
        // Of RE2 (java.util.regex would take it for one of the letters ":alph"), and of whole names.
        String pattern = scenario.name("regex-[[:alpha:]]");
        create("regex-a", 2);
        create("regex-zz", 1);
        Scenario.Member member = scenario.new Member("new-regex", with(Map.of()), by(pattern));
        Scenario.until("it has the topic that is there", () -> member.assigned.equals(partitions(2, "regex-a")));
        create("regex-z", 2);
        Scenario.until("it has the new one, too", () -> member.assigned.equals(partitions(2, "regex-a", "regex-z")));
        member.leave();

        Scenario.Member wrong = scenario.new Member("new-regex-wrong", with(Map.of()), by("regex-["));
        Scenario.until("what is no pattern is refused", () -> wrong.failure != null);
        Scenario.equal(wrong.failure.getClass().getSimpleName(), "InvalidRegularExpression", "its error");
    }

    void range() throws Exception {
        needs(scenario);
        create("range-a", 3);
        create("range-b", 3);
        Consumer<KafkaConsumer<byte[], byte[]>> both =
            consumer -> consumer.subscribe(List.of(scenario.name("range-a"), scenario.name("range-b")));
        Map<String, Object> range = with(Map.of("group.remote.assignor", "range"));
        Scenario.Member one = scenario.new Member("new-range", range, both);
        Scenario.Member two = scenario.new Member("new-range", range, both);
        // `uniform` gives three to each.
        Set<TopicPartition> most = partitions(2, "range-a", "range-b");
        Set<TopicPartition> rest = partitions(3, "range-a", "range-b");
        rest.removeAll(most);
        Scenario.until("each has the same partitions of both topics", () ->
            new HashSet<>(List.of(one.assigned, two.assigned)).equals(Set.of(most, rest)));
        String group = scenario.name("new-range");
        var described = scenario.admin.describeConsumerGroups(List.of(group)).all().get().get(group);
        Scenario.equal(described.partitionAssignor(), "range", "the assignor");

        Scenario.Member wrong = scenario.new Member("new-range-wrong", with(Map.of("group.remote.assignor", "none")), both);
        Scenario.until("what is no assignor is refused", () -> wrong.failure != null);
        Scenario.equal(wrong.failure.getClass().getSimpleName(), "UnsupportedAssignorException", "its error");
        one.leave();
        two.leave();
    }

    private void create(String topic, int partitions) throws Exception {
        NewTopic wanted = new NewTopic(scenario.name(topic), partitions, (short) 3);
        scenario.admin.createTopics(List.of(wanted)).all().get();
    }

    /** The first so many of each topic. */
    private Set<TopicPartition> partitions(int count, String... topics) {
        return Stream.iterate(0, number -> number < count, number -> number + 1)
            .flatMap(number -> Stream.of(topics).map(topic -> new TopicPartition(scenario.name(topic), number)))
            .collect(Collectors.toCollection(HashSet::new));
    }

    /** By name: 3.9 has no SubscriptionPattern, and is given this program, too. */
    private static Consumer<KafkaConsumer<byte[], byte[]>> by(String pattern) {
        return consumer -> {
            try {
                Class<?> kind = Class.forName("org.apache.kafka.clients.consumer.SubscriptionPattern");
                Object made = kind.getConstructor(String.class).newInstance(pattern);
                KafkaConsumer.class.getMethod("subscribe", kind).invoke(consumer, made);
            } catch (InvocationTargetException e) {
                throw new IllegalStateException(e.getCause());
            } catch (ReflectiveOperationException e) {
                throw new IllegalStateException(e);
            }
        };
    }
}
