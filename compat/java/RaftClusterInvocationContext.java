package org.apache.kafka.common.test.junit;

import dev.foz.compat.ProcessCluster;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.kafka.common.test.api.ClusterConfig;
import org.apache.kafka.server.common.MetadataVersion;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.AfterTestExecutionCallback;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.Extension;
import org.junit.jupiter.api.extension.TestTemplateInvocationContext;

/**
 * Found before Kafka's own class of this name, which is all that the tests' annotations know of how brokers are started:
 * {@code ClusterTestExtensions} makes one for each invocation of a test.
 */
public final class RaftClusterInvocationContext implements TestTemplateInvocationContext {
    private final String testName;
    private final ClusterConfig config;
    private final boolean isCombined;

    public RaftClusterInvocationContext(String testName, ClusterConfig config, boolean isCombined) {
        this.testName = testName;
        this.config = config;
        this.isCombined = isCombined;
    }

    @Override
    public String getDisplayName(int index) {
        String roles = isCombined ? "combined" : "isolated";
        String tags = config.displayTags().stream()
            .filter(tag -> !isUsual(tag))
            .map(tag -> ", " + tag)
            .collect(Collectors.joining());
        return testName + " [" + index + "] " + roles + tags;
    }

    /** Nearly all tests have these, and none is told apart from another one by them. */
    private static boolean isUsual(String tag) {
        return tag.equals("MetadataVersion=" + MetadataVersion.latestTesting())
            || tag.endsWith("SecurityProtocol=PLAINTEXT")
            || tag.contains("ListenerName=");
    }

    @Override
    public List<Extension> getAdditionalExtensions() {
        ProcessCluster cluster = new ProcessCluster(config, isCombined);
        return List.of(
            (BeforeEachCallback) context -> {
                if (config.isAutoStart()) {
                    cluster.start();
                }
            },
            (AfterTestExecutionCallback) context -> cluster.end(context.getExecutionException().isEmpty()),
            // The one above is left out when a cluster did not start.
            (AfterEachCallback) context -> cluster.end(false),
            new ClusterInstanceParameterResolver(cluster));
    }
}
