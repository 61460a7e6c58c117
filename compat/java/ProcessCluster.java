package dev.foz.compat;

import static java.util.stream.Collectors.joining;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import kafka.server.ControllerServer;
import kafka.server.KafkaBroker;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.GroupProtocol;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.network.ListenerName;
import org.apache.kafka.common.security.auth.SecurityProtocol;
import org.apache.kafka.common.test.ClusterInstance;
import org.apache.kafka.common.test.api.ClusterConfig;
import org.apache.kafka.common.test.api.Type;
import org.apache.kafka.common.utils.Utils;
import org.apache.kafka.server.common.Feature;
import org.apache.kafka.server.fault.FaultHandlerException;
import org.apache.kafka.test.TestUtils;

/**
 * A cluster of processes in the place of Kafka's, which runs inside the JVM of the tests.
 *
 * <p>What the tests can see of it is what any client can: it waits for the answers of brokers where Kafka's looks into
 * their memory. It has no controllers for the same reason: {@link #controllers()} is empty.
 */
public final class ProcessCluster implements ClusterInstance {
    private static final long START_LIMIT_MS = 120_000;
    private static final long METADATA_LIMIT_MS = 60_000;
    private static final short GROUP_VERSION_OFF = 0;

    private final ClusterConfig config;
    private final boolean isCombined;
    private final Backend backend = Backend.chosen();
    private final Map<Integer, KafkaBroker> views = new LinkedHashMap<>();
    private final List<Node> nodes = new ArrayList<>();
    private Path folder;
    private Plan plan;
    private boolean isStarted;
    private boolean hasEnded;

    public ProcessCluster(ClusterConfig config, boolean isCombined) {
        this.config = config;
        this.isCombined = isCombined;
    }

    @Override
    public synchronized void start() {
        if (isStarted) {
            return;
        }
        isStarted = true;
        try {
            prepare();
            for (Node node : nodes) {
                node.start();
            }
            waitForReadyBrokers();
            try (Admin admin = admin()) {
                backend.started(plan, admin);
            }
        } catch (Exception e) {
            throw new IllegalStateException("the cluster did not start: " + e.getMessage(), e);
        }
    }

    /** Called once or more. A broker that ended by itself makes even a good test a failed one, and says so in a bad one. */
    public synchronized void end(boolean isGood) throws IOException, InterruptedException {
        if (hasEnded) {
            return;
        }
        hasEnded = true;
        Optional<Node> ended = nodes.stream().filter(Node::hasEndedByItself).findFirst();
        String lastWords = ended.map(Node::lastWords).orElse("");
        for (Node node : nodes) {
            node.kill();
        }
        boolean keepsFolder = Boolean.getBoolean("foz.compat.keep") && !(isGood && ended.isEmpty());
        if (folder != null && !keepsFolder) {
            Utils.delete(folder.toFile());
        }
        if (ended.isPresent()) {
            throw new AssertionError(lastWords);
        }
    }

    private void prepare() throws Exception {
        if (plan != null) {
            return;
        }
        folder = Files.createTempDirectory(Path.of(System.getProperty("foz.compat.folder")), "cluster-");
        plan = Plan.of(config, isCombined, folder);
        for (Plan.NodePlan each : plan.nodes()) {
            Files.createDirectories(each.folder());
            Node node = new Node(each, backend.prepare(plan, each), backend.isStoppedAbruptly(each));
            nodes.add(node);
            if (each.isBroker()) {
                views.put(each.number(), BrokerView.of(this, node));
            }
        }
    }

    /** Tests ask for addresses before they start a cluster themselves. */
    synchronized Plan plan() {
        try {
            prepare();
            return plan;
        } catch (Exception e) {
            throw new IllegalStateException("the cluster cannot be prepared: " + e.getMessage(), e);
        }
    }

    @Override
    public boolean started() {
        return isStarted;
    }

    @Override
    public void stop() {
        try {
            end(true);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    @Override
    public boolean stopped() {
        return hasEnded;
    }

    @Override
    public void shutdownBroker(int brokerId) {
        try {
            node(brokerId).stop();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    @Override
    public void startBroker(int brokerId) {
        Node node = node(brokerId);
        try {
            node.start();
            TestUtils.waitForCondition(() -> aliveBrokersAt(node).contains(brokerId), START_LIMIT_MS,
                () -> node.plan().name() + " is not among the brokers that are alive");
        } catch (IOException | InterruptedException e) {
            throw new IllegalStateException("broker " + brokerId + " did not start", e);
        }
    }

    @Override
    public void waitForReadyBrokers() throws InterruptedException {
        long limit = System.currentTimeMillis() + START_LIMIT_MS;
        for (Node node : brokerNodes()) {
            while (aliveBrokersAt(node).size() < plan.brokers().size()) {
                for (Node each : nodes) {
                    if (each.hasEndedByItself()) {
                        throw new IllegalStateException(each.lastWords());
                    }
                }
                if (System.currentTimeMillis() > limit) {
                    throw new IllegalStateException(node.plan().name() + " knows "
                        + aliveBrokersAt(node) + " of " + plan.brokers().size() + " brokers");
                }
                Thread.sleep(20);
            }
        }
    }

    @Override
    public Map<Integer, KafkaBroker> brokers() {
        plan();
        return Map.copyOf(views);
    }

    @Override
    public Map<Integer, ControllerServer> controllers() {
        return Map.of();
    }

    @Override
    public Type type() {
        return isCombined ? Type.CO_KRAFT : Type.KRAFT;
    }

    @Override
    public ClusterConfig config() {
        return config;
    }

    @Override
    public Set<Integer> controllerIds() {
        return plan().controllers().stream().map(Plan.NodePlan::number).collect(Collectors.toSet());
    }

    @Override
    public ListenerName clientListener() {
        return config.brokerListenerName();
    }

    @Override
    public ListenerName controllerListenerName() {
        return config.controllerListenerName();
    }

    @Override
    public String bootstrapServers() {
        return plan().brokers().stream().map(node -> "127.0.0.1:" + node.clientPort()).collect(joining(","));
    }

    @Override
    public String bootstrapControllers() {
        return plan().controllers().stream().map(node -> "127.0.0.1:" + node.controllerPort()).collect(joining(","));
    }

    @Override
    public List<Integer> brokerBoundPorts() {
        return plan().brokers().stream().map(Plan.NodePlan::clientPort).toList();
    }

    @Override
    public List<Integer> controllerBoundPorts() {
        return plan().controllers().stream().map(Plan.NodePlan::controllerPort).toList();
    }

    @Override
    public String clusterId() {
        try (Admin admin = admin()) {
            return admin.describeCluster().clusterId().get();
        } catch (Exception e) {
            throw new IllegalStateException("no broker tells the cluster's id", e);
        }
    }

    @Override
    public Set<GroupProtocol> supportedGroupProtocols() {
        short level = config.features().getOrDefault(Feature.GROUP_VERSION,
            Feature.GROUP_VERSION.defaultLevel(config.metadataVersion()));
        return level == GROUP_VERSION_OFF
            ? Set.of(GroupProtocol.CLASSIC)
            : Set.of(GroupProtocol.CLASSIC, GroupProtocol.CONSUMER);
    }

    @Override
    public Optional<FaultHandlerException> firstFatalException() {
        return Optional.empty();
    }

    @Override
    public Optional<FaultHandlerException> firstNonFatalException() {
        return Optional.empty();
    }

    @Override
    public void waitTopicDeletion(String topic) throws InterruptedException {
        awaitEach(node -> partitions(topic, node).isEmpty(), topic + " is still there");
        String log = topic + "-0";
        TestUtils.waitForCondition(
            () -> brokerNodes().stream().flatMap(node -> partitionFolders(node).stream())
                .noneMatch(data -> Files.exists(data.resolve(log))),
            () -> log + " is still in a data folder");
    }

    @Override
    public void waitTopicCreation(String topic, int partitions) throws InterruptedException {
        if (partitions <= 0) {
            throw new IllegalArgumentException("Partition count must be > 0, but was " + partitions);
        }
        awaitEach(node -> partitions(topic, node).filter(found -> found == partitions).isPresent(),
            topic + " is not there with " + partitions + " partitions");
    }

    @Override
    public void ensureConsistentMetadata(Collection<KafkaBroker> brokers, Collection<ControllerServer> controllers)
        throws InterruptedException {
        Set<Integer> alive = aliveBrokers().keySet();
        awaitEach(node -> aliveBrokersAt(node).equals(alive), "brokers do not agree who is alive");
    }

    @Override
    public void waitAcls(AclBindingFilter filter, Collection<AccessControlEntry> entries)
        throws InterruptedException {
        try (Admin admin = admin()) {
            TestUtils.waitForCondition(() -> {
                Set<AccessControlEntry> found = admin.describeAcls(filter).values().get().stream()
                    .map(AclBinding::entry).collect(Collectors.toSet());
                return found.equals(new HashSet<>(entries));
            }, () -> "the ACLs did not become " + entries);
        }
    }

    /** What this broker says, and no other where that can be asked. */
    Optional<Integer> partitions(String topic, Node node) {
        if (config.brokerSecurityProtocol() == SecurityProtocol.PLAINTEXT) {
            return BrokerMetadata.partitions(topic, node.plan().clientPort());
        }
        try (Admin admin = admin(Map.of("bootstrap.servers", "127.0.0.1:" + node.plan().clientPort()))) {
            return Optional.of(admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic)
                .partitions().size());
        } catch (Exception e) {
            if (e.getCause() instanceof UnknownTopicOrPartitionException) {
                return Optional.empty();
            }
            throw new IllegalStateException("broker " + node.plan().number() + " does not tell of " + topic, e);
        }
    }

    List<Path> partitionFolders(Node node) {
        return backend.partitionFolders(node.plan());
    }

    private Set<Integer> aliveBrokersAt(Node node) {
        int port = node.plan().clientPort();
        if (config.brokerSecurityProtocol() == SecurityProtocol.PLAINTEXT) {
            return BrokerMetadata.aliveBrokers(port);
        }
        try (Admin admin = admin(Map.of("bootstrap.servers", "127.0.0.1:" + port))) {
            return admin.describeCluster().nodes().get().stream().map(org.apache.kafka.common.Node::id)
                .collect(Collectors.toSet());
        } catch (Exception silent) {
            return Set.of();
        }
    }

    private void awaitEach(Condition condition, String otherwise) throws InterruptedException {
        TestUtils.waitForCondition(
            () -> brokerNodes().stream().filter(Node::isAlive).allMatch(condition::holds),
            METADATA_LIMIT_MS, () -> otherwise);
    }

    private List<Node> brokerNodes() {
        return nodes.stream().filter(node -> node.plan().isBroker()).toList();
    }

    private Node node(int brokerId) {
        return brokerNodes().stream().filter(node -> node.plan().number() == brokerId).findFirst()
            .orElseThrow(() -> new IllegalArgumentException("Unknown brokerId " + brokerId));
    }

    private interface Condition {
        boolean holds(Node node);
    }
}
