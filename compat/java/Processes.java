package dev.foz.compat;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** Starts processes that die with this one, however it dies. */
final class Processes {
    /** The signal of setpriv goes out when the thread that forked ends, so that one never does. */
    private static final ExecutorService FORKING = Executors.newSingleThreadExecutor(work -> {
        Thread thread = new Thread(work, "foz-compat-fork");
        thread.setDaemon(true);
        return thread;
    });

    private Processes() {
    }

    /** Before the first test, since each test is asked which threads it left behind. */
    static void prepare() throws InterruptedException, ExecutionException {
        FORKING.submit(() -> { }).get();
    }

    static Process spawn(ProcessBuilder builder) throws IOException, InterruptedException {
        List<String> words = new ArrayList<>(List.of("setpriv", "--pdeathsig", "KILL", "--"));
        words.addAll(builder.command());
        builder.command(words);
        try {
            return FORKING.submit(builder::start).get();
        } catch (ExecutionException e) {
            throw new IOException("cannot run " + words, e.getCause());
        }
    }
}
