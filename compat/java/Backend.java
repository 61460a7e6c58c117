package dev.foz.compat;

import java.nio.file.Path;
import java.util.List;
import org.apache.kafka.clients.admin.Admin;

/** Whose brokers the tests run against. */
interface Backend {
    /** Named by the system property {@code foz.compat.backend}. */
    static Backend chosen() {
        String name = System.getProperty("foz.compat.backend", "");
        return switch (name) {
            case "foz" -> new FozBackend();
            case "kafka" -> new KafkaBackend();
            default -> throw new IllegalStateException("foz.compat.backend=" + name + ": foz or kafka");
        };
    }

    /** Writes what the process needs to start, and gives the command that starts it. */
    List<String> prepare(Plan plan, Plan.NodePlan node) throws Exception;

    /** After the start of all processes: what could not be said before. */
    void started(Plan plan, Admin admin) throws Exception;

    /** Whether the test wants it stopped in a way that this broker has no word for: without a farewell. */
    boolean isStoppedAbruptly(Plan.NodePlan node);

    /** Where a broker keeps the folders of its partitions. */
    List<Path> partitionFolders(Plan.NodePlan node);
}
