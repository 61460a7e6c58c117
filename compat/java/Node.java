package dev.foz.compat;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** One process of a cluster, which may be stopped and started again. */
final class Node {
    /** Longer than a broker takes that must wait for a grant to stop. */
    private static final long STOP_LIMIT_S = 40;
    private static final int LOG_TAIL_CHARACTERS = 300;

    private final Plan.NodePlan plan;
    private final List<String> command;
    private final boolean isStoppedAbruptly;
    private Process process;
    private boolean shouldRun;

    Node(Plan.NodePlan plan, List<String> command, boolean isStoppedAbruptly) {
        this.plan = plan;
        this.command = command;
        this.isStoppedAbruptly = isStoppedAbruptly;
    }

    Plan.NodePlan plan() {
        return plan;
    }

    /** Does nothing when it runs. */
    synchronized void start() throws IOException, InterruptedException {
        if (isAlive()) {
            return;
        }
        ProcessBuilder builder = new ProcessBuilder(command)
            .directory(plan.folder().toFile())
            .redirectInput(new File("/dev/null"))
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.appendTo(log().toFile()));
        builder.environment().put("NO_COLOR", "1");
        process = Processes.spawn(builder);
        shouldRun = true;
    }

    /** Asks it to stop and waits until it has ended. */
    synchronized void stop() throws InterruptedException {
        shouldRun = false;
        if (process == null) {
            return;
        }
        if (isStoppedAbruptly) {
            kill();
            return;
        }
        process.destroy();
        if (!process.waitFor(STOP_LIMIT_S, TimeUnit.SECONDS)) {
            kill();
            throw new IllegalStateException(plan.name() + " did not stop within " + STOP_LIMIT_S + " s");
        }
    }

    /** What it wrote is of no use any more. */
    synchronized void kill() throws InterruptedException {
        shouldRun = false;
        if (process != null) {
            process.destroyForcibly().waitFor();
        }
    }

    synchronized boolean isAlive() {
        return process != null && process.isAlive();
    }

    void awaitEnd() throws InterruptedException {
        Process ending;
        synchronized (this) {
            ending = process;
        }
        if (ending != null) {
            ending.waitFor();
        }
    }

    /** It was started, and nobody stopped it. */
    synchronized boolean hasEndedByItself() {
        return shouldRun && !isAlive();
    }

    /** How it ended and its last error, or the end of its log. */
    synchronized String lastWords() {
        String text;
        try {
            text = new String(Files.readAllBytes(log()), StandardCharsets.UTF_8).strip();
        } catch (IOException e) {
            text = e.toString();
        }
        int error = text.lastIndexOf("ERROR");
        String tail = error >= 0
            ? text.substring(error, Math.min(text.length(), error + LOG_TAIL_CHARACTERS))
            : text.substring(Math.max(0, text.length() - LOG_TAIL_CHARACTERS));
        return plan.name() + " ended by itself with " + process.exitValue() + ": " + tail;
    }

    private Path log() {
        return plan.folder().resolve("server.log");
    }
}
