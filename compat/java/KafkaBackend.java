package dev.foz.compat;

import java.io.File;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.security.auth.SecurityProtocol;
import org.apache.kafka.common.test.JaasModule;
import org.apache.kafka.common.test.JaasUtils;
import org.apache.kafka.metadata.storage.Formatter;
import org.apache.kafka.raft.DynamicVoters;

/** Apache Kafka: a JVM for each process, told what Kafka's own test kit tells those that it starts in its own. */
final class KafkaBackend implements Backend {
    /** Several of these share a machine. */
    private static final List<String> JVM = List.of("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
        "-Xshare:auto", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
    private static final String LOGIN_CONFIG = "java.security.auth.login.config";

    @Override
    public List<String> prepare(Plan plan, Plan.NodePlan node) throws Exception {
        for (Path folder : node.dataFolders()) {
            Files.createDirectories(folder);
        }
        Map<String, String> properties = properties(plan, node);
        Path file = node.folder().resolve("server.properties");
        Properties written = new Properties();
        written.putAll(properties);
        try (OutputStream stream = Files.newOutputStream(file)) {
            written.store(stream, null);
        }
        format(plan, node);
        List<String> words = new ArrayList<>(List.of("java"));
        words.addAll(JVM);
        if (usesSasl(plan)) {
            words.add("-D" + LOGIN_CONFIG + "=" + loginFile());
        }
        words.addAll(List.of("-cp", libraries(), "kafka.Kafka", file.toString()));
        return words;
    }

    @Override
    public void started(Plan plan, Admin admin) {
        // Features were given when the folders were formatted.
    }

    @Override
    public boolean isStoppedAbruptly(Plan.NodePlan node) {
        return false;
    }

    @Override
    public List<Path> partitionFolders(Plan.NodePlan node) {
        return node.dataFolders();
    }

    /** {@code server.properties} of a node, which tests of either backend read through {@code KafkaBroker.config()}. */
    static Map<String, String> properties(Plan plan, Plan.NodePlan node) {
        Map<String, String> properties = new TreeMap<>(node.properties());
        String client = plan.config().brokerListenerName().value();
        String controller = plan.config().controllerListenerName().value();
        String listeners = (node.isBroker() ? client + "://127.0.0.1:" + node.clientPort() : "")
            + (node.isBroker() && node.isController() ? "," : "")
            + (node.isController() ? controller + "://127.0.0.1:" + node.controllerPort() : "");
        properties.put("node.id", Integer.toString(node.number()));
        properties.put("process.roles", node.isBroker() && node.isController() ? "broker,controller"
            : node.isBroker() ? "broker" : "controller");
        properties.put("log.dirs",
            node.dataFolders().stream().map(Path::toString).collect(Collectors.joining(",")));
        properties.putIfAbsent("listeners", listeners);
        properties.putIfAbsent("listener.security.protocol.map", client + ":"
            + plan.config().brokerSecurityProtocol() + "," + controller + ":"
            + plan.config().controllerSecurityProtocol());
        properties.putIfAbsent("inter.broker.listener.name", client);
        properties.putIfAbsent("controller.listener.names", controller);
        boolean standalone = plan.config().standalone();
        properties.put(standalone ? "controller.quorum.bootstrap.servers" : "controller.quorum.voters",
            plan.controllers().stream()
                .map(voter -> (standalone ? "" : voter.number() + "@") + "127.0.0.1:" + voter.controllerPort())
                .collect(Collectors.joining(",")));
        properties.putIfAbsent("log.cleaner.dedupe.buffer.size", "2097152");
        properties.putIfAbsent("unstable.feature.versions.enable", "true");
        properties.putIfAbsent("unstable.api.versions.enable", "true");
        if (usesSasl(plan)) {
            properties.putIfAbsent("sasl.enabled.mechanisms", "PLAIN");
            properties.putIfAbsent("sasl.mechanism.inter.broker.protocol", "PLAIN");
            properties.putIfAbsent("sasl.mechanism.controller.protocol", "PLAIN");
            properties.putIfAbsent("authorizer.class.name",
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
            properties.putIfAbsent("allow.everyone.if.no.acl.found", "false");
            properties.putIfAbsent("super.users", "User:" + JaasUtils.KAFKA_PLAIN_ADMIN);
        }
        return properties;
    }

    private static void format(Plan plan, Plan.NodePlan node) throws Exception {
        Formatter formatter = new Formatter();
        formatter.setPrintStream(new PrintStream(OutputStream.nullOutputStream(), true, StandardCharsets.UTF_8));
        formatter.setNodeId(node.number());
        formatter.setClusterId(plan.clusterId());
        formatter.setDirectories(node.dataFolders().stream().map(Path::toString).toList());
        formatter.setMetadataLogDirectory(node.dataFolders().get(0).toString());
        formatter.setReleaseVersion(plan.config().metadataVersion());
        formatter.setUnstableFeatureVersionsEnabled(true);
        formatter.setIgnoreFormatted(false);
        formatter.setControllerListenerName(plan.config().controllerListenerName().value());
        plan.config().features().forEach((feature, level) ->
            formatter.setFeatureLevel(feature.featureName(), level));
        if (plan.config().standalone()) {
            if (node.number() == plan.controllers().get(0).number()) {
                formatter.setInitialControllers(DynamicVoters.parse(
                    node.number() + "@127.0.0.1:" + node.controllerPort() + ":" + Uuid.randomUuid()));
            }
            formatter.setHasDynamicQuorum(true);
        }
        formatter.run();
    }

    /** Without the stand-in: a JVM can share its classes with the next one as long as all of them are in jars. */
    private static String libraries() {
        return Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
            .filter(entry -> entry.endsWith(".jar"))
            .collect(Collectors.joining(File.pathSeparator));
    }

    private static boolean usesSasl(Plan plan) {
        return plan.config().brokerSecurityProtocol() == SecurityProtocol.SASL_PLAINTEXT;
    }

    private static File loginFile() throws Exception {
        JaasModule users = JaasModule.plainLoginModule(JaasUtils.KAFKA_PLAIN_ADMIN,
            JaasUtils.KAFKA_PLAIN_ADMIN_PASSWORD, true, Map.of(
                JaasUtils.KAFKA_PLAIN_USER1, JaasUtils.KAFKA_PLAIN_USER1_PASSWORD,
                JaasUtils.KAFKA_PLAIN_ADMIN, JaasUtils.KAFKA_PLAIN_ADMIN_PASSWORD));
        return JaasUtils.writeJaasContextsToFile(Set.of(
            new JaasUtils.JaasSection(JaasUtils.KAFKA_SERVER_CONTEXT_NAME, List.of(users))));
    }
}
