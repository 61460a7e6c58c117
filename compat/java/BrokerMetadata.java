package dev.foz.compat;

import java.io.IOException;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.requests.MetadataRequest;
import org.apache.kafka.common.requests.MetadataResponse;
import org.apache.kafka.server.IntegrationTestUtils;

/** What one broker, and no other, says of the cluster. Listeners without SASL only. */
final class BrokerMetadata {
    private BrokerMetadata() {
    }

    /** The brokers that it knows to be alive; none when it does not answer. */
    static Set<Integer> aliveBrokers(int port) {
        try {
            return ask(List.of(), port).brokersById().keySet();
        } catch (IOException silent) {
            return Set.of();
        }
    }

    /** Empty when the broker does not know the topic, or does not answer. */
    static Optional<Integer> partitions(String topic, int port) {
        try {
            return ask(List.of(topic), port).topicMetadata().stream()
                .filter(found -> found.error() == Errors.NONE)
                .map(found -> found.partitionMetadata().size())
                .findFirst();
        } catch (IOException silent) {
            return Optional.empty();
        }
    }

    private static MetadataResponse ask(List<String> topics, int port) throws IOException {
        return IntegrationTestUtils.connectAndReceive(new MetadataRequest.Builder(topics, false).build(), port);
    }
}
