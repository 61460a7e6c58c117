package dev.foz.compat;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.test.api.ClusterConfig;
import org.apache.kafka.common.test.api.TestKitDefaults;

/** Which processes a cluster consists of. */
record Plan(ClusterConfig config, String clusterId, List<NodePlan> nodes) {

    /**
     * One process. Numbers are those that the tests know: controllers count from 3000, or from 0 where a process is
     * both.
     */
    record NodePlan(
        int number,
        boolean isBroker,
        boolean isController,
        Path folder,
        List<Path> dataFolders,
        int clientPort,
        int replicationPort,
        int controllerPort,
        int httpPort,
        Map<String, String> properties) {

        String name() {
            String roles = isBroker && isController ? "node" : isBroker ? "broker" : "controller";
            return roles + "-" + number;
        }
    }

    static Plan of(ClusterConfig config, boolean isCombined, Path folder) {
        int controllers = isCombined ? TestKitDefaults.BROKER_ID_OFFSET : TestKitDefaults.CONTROLLER_ID_OFFSET;
        List<NodePlan> nodes = new ArrayList<>();
        IntStream.range(0, config.numBrokers())
            .map(index -> TestKitDefaults.BROKER_ID_OFFSET + index)
            .forEach(number -> nodes.add(node(config, folder, number, true,
                isCombined && number - controllers < config.numControllers())));
        IntStream.range(controllers, controllers + config.numControllers())
            .filter(number -> nodes.stream().noneMatch(node -> node.number() == number))
            .forEach(number -> nodes.add(node(config, folder, number, false, true)));
        return new Plan(config, Uuid.randomUuid().toString(), List.copyOf(nodes));
    }

    List<NodePlan> brokers() {
        return nodes.stream().filter(NodePlan::isBroker).toList();
    }

    List<NodePlan> controllers() {
        return nodes.stream().filter(NodePlan::isController).toList();
    }

    private static NodePlan node(
        ClusterConfig config, Path folder, int number, boolean isBroker, boolean isController) {
        Path own = folder.resolve("node-" + number);
        int disks = isBroker ? config.numDisksPerBroker() : 1;
        List<Path> data = IntStream.range(0, disks).mapToObj(disk -> own.resolve("data-" + disk)).toList();
        Map<String, String> properties = new HashMap<>(config.serverProperties());
        properties.putAll(config.perServerOverrideProperties().getOrDefault(number, Map.of()));
        return new NodePlan(number, isBroker, isController, own, data, Ports.free(), Ports.free(), Ports.free(),
            Ports.free(), Map.copyOf(properties));
    }
}
