package dev.foz.compat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.FeatureMetadata;
import org.apache.kafka.clients.admin.FeatureUpdate;
import org.apache.kafka.clients.admin.FinalizedVersionRange;
import org.apache.kafka.clients.admin.UpdateFeaturesOptions;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.security.auth.SecurityProtocol;
import org.apache.kafka.common.test.api.TestKitDefaults;
import org.apache.kafka.server.common.Feature;
import org.apache.kafka.server.config.AbstractKafkaConfig;

/** Foz: {@code foz-broker} processes. */
final class FozBackend implements Backend {
    /** Foz's controllers are never numbered below this, also where a process is both. */
    private static final int CONTROLLER_ID_FIRST = 1000;
    private static final String CONTROLLED_SHUTDOWN = "controlled.shutdown.enable";
    /** How often Kafka looks for producers to forget, for its own tests alone; Foz does so whenever it looks at retention. */
    private static final String PRODUCERS_CHECK = "producer.id.expiration.check.interval.ms";
    private static final String RETENTION_CHECK = "log.retention.check.interval.ms";

    @Override
    public List<String> prepare(Plan plan, Plan.NodePlan node) throws Exception {
        SecurityProtocol protocol = plan.config().brokerSecurityProtocol();
        if (protocol != SecurityProtocol.PLAINTEXT) {
            throw new UnsupportedOperationException("Foz has no listener for " + protocol);
        }
        Map<String, String> properties = new TreeMap<>(node.properties());
        properties.keySet().removeIf(key -> !isDocumented(key));
        if (isStoppedAbruptly(node)) {
            properties.remove(CONTROLLED_SHUTDOWN);
        }
        String producersCheck = node.properties().get(PRODUCERS_CHECK);
        if (producersCheck != null) {
            properties.putIfAbsent(RETENTION_CHECK, producersCheck);
        }
        properties.put("node.id", Integer.toString(node.isBroker() ? node.number() : controllerId(node)));
        properties.put("controller.quorum.voters", plan.controllers().stream()
            .map(voter -> controllerId(voter) + "@127.0.0.1:" + voter.controllerPort())
            .collect(Collectors.joining(",")));
        properties.put("foz.http.listener", "127.0.0.1:" + node.httpPort());
        properties.put("log.dirs",
            node.dataFolders().stream().map(Path::toString).collect(Collectors.joining(",")));
        if (node.isController()) {
            properties.put("controller.listener", "127.0.0.1:" + node.controllerPort());
            properties.put("metadata.log.dir", node.folder().resolve("metadata").toString());
        }
        if (node.isBroker()) {
            properties.put("listeners", "PLAINTEXT://127.0.0.1:" + node.clientPort()
                + ",REPLICATION://127.0.0.1:" + node.replicationPort());
        }
        Path file = node.folder().resolve("server.properties");
        Files.createDirectories(node.folder());
        Files.writeString(file, properties.entrySet().stream()
            .map(entry -> entry.getKey() + "=" + entry.getValue() + "\n").collect(Collectors.joining()));
        String roles = node.isBroker() && node.isController() ? "broker,controller"
            : node.isBroker() ? "broker" : "controller";
        return List.of(System.getProperty("foz.compat.broker"), "--config", file.toString(), "--roles", roles,
            "--log-text");
    }

    @Override
    public void started(Plan plan, Admin admin) throws Exception {
        for (Map.Entry<Feature, Short> wanted : plan.config().features().entrySet()) {
            FeatureMetadata features = admin.describeFeatures().featureMetadata().get();
            String name = wanted.getKey().featureName();
            short level = wanted.getValue();
            FinalizedVersionRange now = features.finalizedFeatures().get(name);
            short current = now == null ? 0 : now.maxVersionLevel();
            if (current != level) {
                FeatureUpdate.UpgradeType type = level > current
                    ? FeatureUpdate.UpgradeType.UPGRADE
                    : FeatureUpdate.UpgradeType.SAFE_DOWNGRADE;
                admin.updateFeatures(Map.of(name, new FeatureUpdate(level, type)), new UpdateFeaturesOptions())
                    .all().get();
            }
        }
    }

    /** Foz has no such switch: a broker that can hand over what it leads does so. */
    @Override
    public boolean isStoppedAbruptly(Plan.NodePlan node) {
        return node.properties().getOrDefault(CONTROLLED_SHUTDOWN, "true").equals("false");
    }

    @Override
    public List<Path> partitionFolders(Plan.NodePlan node) {
        // Both roles of one process keep apart on disk.
        return node.isController()
            ? node.dataFolders().stream().map(folder -> folder.resolve("broker")).toList()
            : node.dataFolders();
    }

    /** Of other keys Kafka knows some for its own tests, and passes over the rest; Foz ends with an error at any. */
    private static boolean isDocumented(String key) {
        ConfigDef.ConfigKey known = AbstractKafkaConfig.CONFIG_DEF.configKeys().get(key);
        return known != null && !known.internalConfig;
    }

    private static int controllerId(Plan.NodePlan node) {
        int index = node.number() >= TestKitDefaults.CONTROLLER_ID_OFFSET
            ? node.number() - TestKitDefaults.CONTROLLER_ID_OFFSET
            : node.number();
        return CONTROLLER_ID_FIRST + index;
    }
}
