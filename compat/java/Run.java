package dev.foz.compat;

import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClass;

import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import org.junit.platform.engine.FilterResult;
import org.junit.platform.engine.support.descriptor.MethodSource;
import org.junit.platform.launcher.PostDiscoveryFilter;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;

/** Runs one class of tests, or some methods of it: {@code Run <file for the rows> <class> [<method>...]}. */
public final class Run {
    /** Kafka's tests wait a minute at most for one thing, and for two or three of them. */
    private static final String TEST_LIMIT = "180 s";

    private Run() {
    }

    public static void main(String[] arguments) throws Exception {
        Processes.prepare();
        Set<String> methods = Set.copyOf(List.of(arguments).subList(2, arguments.length));
        PostDiscoveryFilter isWanted = found -> FilterResult.includedIf(methods.isEmpty()
            || found.getSource()
                .filter(MethodSource.class::isInstance)
                .map(source -> methods.contains(((MethodSource) source).getMethodName()))
                .orElse(true));
        var request = LauncherDiscoveryRequestBuilder.request()
            .selectors(selectClass(arguments[1]))
            .filters(isWanted)
            .configurationParameter("junit.jupiter.extensions.autodetection.enabled", "true")
            .configurationParameter("junit.jupiter.execution.timeout.testable.method.default", TEST_LIMIT)
            .build();
        try (Rows rows = new Rows(Path.of(arguments[0]))) {
            LauncherFactory.create().execute(request, rows);
        }
        // Clients that a failed test left open have threads that are no daemons.
        Runtime.getRuntime().halt(0);
    }
}
