package dev.foz.compat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Set;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.support.descriptor.MethodSource;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;

/**
 * Writes a line for each thing that happens to a test, at once, so that what was run is known of a JVM that was killed:
 * method, display name, what happened, and why.
 */
final class Rows implements TestExecutionListener, AutoCloseable {
    private static final int REASON_CHARACTERS_MAX = 400;

    private final Writer writer;

    Rows(Path file) throws IOException {
        this.writer = Files.newBufferedWriter(file);
    }

    @Override
    public void executionStarted(TestIdentifier test) {
        if (test.isTest()) {
            write(test, "started", "");
        }
    }

    @Override
    public void executionSkipped(TestIdentifier test, String reason) {
        write(test, "skipped", reason);
    }

    @Override
    public void executionFinished(TestIdentifier test, TestExecutionResult outcome) {
        Throwable thrown = outcome.getThrowable().orElse(null);
        switch (outcome.getStatus()) {
            case SUCCESSFUL -> {
                if (test.isTest()) {
                    write(test, "passed", "");
                }
            }
            case ABORTED -> write(test, "skipped", describe(thrown));
            case FAILED -> {
                if (thrown != null) {
                    thrown.printStackTrace();
                }
                write(test, isBrokerInternal(thrown, new HashSet<>()) ? "internal" : "failed", describe(thrown));
            }
        }
    }

    @Override
    public void close() throws IOException {
        writer.close();
    }

    private synchronized void write(TestIdentifier test, String what, String reason) {
        String method = test.getSource()
            .filter(MethodSource.class::isInstance)
            .map(source -> ((MethodSource) source).getMethodName())
            .orElse("");
        try {
            writer.write(String.join("\t", method, oneLine(test.getDisplayName()), what, oneLine(reason)) + "\n");
            writer.flush();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static String describe(Throwable thrown) {
        if (thrown == null) {
            return "";
        }
        Throwable cause = thrown;
        while (cause.getCause() != null && cause.getCause() != cause) {
            cause = cause.getCause();
        }
        return cause == thrown ? thrown.toString() : thrown + " <- " + cause;
    }

    private static boolean isBrokerInternal(Throwable thrown, Set<Throwable> seen) {
        if (thrown == null || !seen.add(thrown)) {
            return false;
        }
        if (thrown instanceof BrokerInternal || isBrokerInternal(thrown.getCause(), seen)) {
            return true;
        }
        for (Throwable other : thrown.getSuppressed()) {
            if (isBrokerInternal(other, seen)) {
                return true;
            }
        }
        return false;
    }

    /** Without what differs from run to run or from machine to machine. */
    private static String oneLine(String text) {
        String folder = System.getProperty("foz.compat.folder");
        String line = text.replace(folder, "FOLDER")
            .replaceAll("/cluster-[0-9]+", "/cluster")
            .replaceAll("(127\\.0\\.0\\.1|localhost):[0-9]+", "$1:PORT")
            .replaceAll("\\s+", " ")
            .strip();
        return line.length() > REASON_CHARACTERS_MAX ? line.substring(0, REASON_CHARACTERS_MAX) + "..." : line;
    }
}
