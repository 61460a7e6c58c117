package dev.foz.compat;

import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.nio.file.Path;
import java.util.Map;
import java.util.stream.Collectors;
import kafka.server.KafkaBroker;
import kafka.server.KafkaConfig;
import org.apache.kafka.metadata.BrokerState;
import org.apache.kafka.metadata.MetadataCache;

/**
 * A {@code KafkaBroker} that is a process. It answers what a broker shows to the world; the rest of the interface is its
 * inside, and asking for it is {@link BrokerInternal}.
 */
final class BrokerView implements InvocationHandler {
    private final ProcessCluster cluster;
    private final Node node;

    private BrokerView(ProcessCluster cluster, Node node) {
        this.cluster = cluster;
        this.node = node;
    }

    static KafkaBroker of(ProcessCluster cluster, Node node) {
        return proxy(KafkaBroker.class, new BrokerView(cluster, node));
    }

    @Override
    public Object invoke(Object self, Method method, Object[] arguments) throws Throwable {
        switch (method.getName()) {
            case "isShutdown":
                return !node.isAlive();
            case "brokerState":
                return node.isAlive() ? BrokerState.RUNNING : BrokerState.NOT_RUNNING;
            case "startup":
                cluster.startBroker(node.plan().number());
                return null;
            case "shutdown":
                node.stop();
                return null;
            case "awaitShutdown":
                node.awaitEnd();
                return null;
            case "clusterId":
                return cluster.clusterId();
            case "boundPort":
                return node.plan().clientPort();
            case "config":
                return config();
            case "metadataCache":
                return proxy(MetadataCache.class, this::metadata);
            case "toString":
                return node.plan().name();
            case "hashCode":
                return node.plan().number();
            case "equals":
                return self == arguments[0];
            default:
                throw BrokerInternal.of("KafkaBroker." + method.getName());
        }
    }

    private KafkaConfig config() {
        Map<String, String> properties = KafkaBackend.properties(cluster.plan(), node.plan());
        properties.put("log.dirs", cluster.partitionFolders(node).stream().map(Path::toString)
            .collect(Collectors.joining(",")));
        return new KafkaConfig(properties, false);
    }

    private Object metadata(Object self, Method method, Object[] arguments) {
        return switch (method.getName()) {
            case "numPartitions" -> cluster.partitions((String) arguments[0], node);
            case "toString" -> "metadata of " + node.plan().name();
            default -> throw BrokerInternal.of("MetadataCache." + method.getName());
        };
    }

    private static <T> T proxy(Class<T> type, InvocationHandler handler) {
        return type.cast(Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, handler));
    }
}
