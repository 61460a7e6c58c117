package dev.foz.chaos;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;
import org.apache.kafka.common.TopicPartition;

/**
 * Idempotent producers and consumers in one process, which write down all that they see.
 *
 * <p>Arguments are name=value: bootstrap, history (the file), topics (name:partitions, commas between), rate
 * (records a second, all producers together), producers, group_members, bytes (of a record's value), racks
 * (of the brokers, commas between), request_timeout_ms, delivery_timeout_ms. With transaction_version (1 or 2) there
 * are transactions, too: transactional_producers write to the topic transactions, and copiers copy it to the topic
 * copies; both topics stand last among the topics.
 *
 * <p>The history has one JSON object a line, as the crate foz-judge says. Standard output has one line of
 * figures every 50 ms. Standard input takes "stop" (send no more; answers "quiet" when nothing is in flight),
 * "drain" (read every partition from begin to end, through each rack; answers "drained") and "end".
 */
public class Workload {
  static final int LINE_RECORDS_MAX = 2000;
  static final int DRAIN_RECORDS_MAX = 5000;
  static final long ACK_LINE_US_MAX = 2_000;
  static final int FIGURES_MS = 50;

  static Map<String, String> settings = new HashMap<>();
  static List<TopicPartition> partitions = new ArrayList<>();
  /** Those of them that are written without transactions. */
  static List<TopicPartition> plain = new ArrayList<>();
  /** What transactions write, and what others make of it. */
  static List<TopicPartition> written = new ArrayList<>();
  static List<TopicPartition> copies = new ArrayList<>();
  static Map<TopicPartition, Integer> indexes = new HashMap<>();
  static Map<String, AtomicLong> counters = new HashMap<>();
  static AtomicInteger nextClient = new AtomicInteger(1);
  static AtomicLong acked = new AtomicLong();
  static AtomicLong failed = new AtomicLong();
  static AtomicLong mismatches = new AtomicLong();
  /** By index of the partition. */
  static AtomicLongArray inFlight;
  static AtomicLongArray lastAckUs;
  static volatile boolean producing = true;
  static volatile boolean consuming = true;
  static History history;
  static int payloadBytes;

  public static void main(String[] arguments) throws Exception {
    for (String argument : arguments) {
      int at = argument.indexOf('=');
      settings.put(argument.substring(0, at), argument.substring(at + 1));
    }
    for (String topic : settings.get("topics").split(",")) {
      String name = topic.substring(0, topic.indexOf(':'));
      int count = Integer.parseInt(topic.substring(topic.indexOf(':') + 1));
      counters.put(name, new AtomicLong());
      for (int index = 0; index < count; index++) {
        indexes.put(new TopicPartition(name, index), partitions.size());
        TopicPartition partition = new TopicPartition(name, index);
        partitions.add(partition);
        if (name.equals(settings.get("transactions"))) written.add(partition);
        else if (name.equals(settings.get("copies"))) copies.add(partition);
        else plain.add(partition);
      }
    }
    payloadBytes = Math.max(16, number("bytes"));
    inFlight = new AtomicLongArray(partitions.size());
    lastAckUs = new AtomicLongArray(partitions.size());
    history = new History(Path.of(settings.get("history")));

    List<Thread> producers = new ArrayList<>();
    List<Thread> copiers = new ArrayList<>();
    if (!written.isEmpty()) Transactions.speak(number("transaction_version"));
    for (int index = 0; index < number("producers"); index++) {
      String name = "producer-" + index;
      producers.add(start(name, () -> Producers.produce(name)));
    }
    List<Thread> consumers = new ArrayList<>();
    consumers.add(start("reader", () -> Readers.readAssigned("reader", partitions, false)));
    consumers.add(start("prober", () -> Readers.probeEnds("prober", partitions, false)));
    if (!written.isEmpty()) {
      for (int index = 0; index < number("transactional_producers"); index++) {
        String name = "transactional-" + index;
        producers.add(start(name, () -> Transactions.produce(name)));
      }
      for (int index = 0; index < number("copiers"); index++) {
        String name = "copier-" + index;
        copiers.add(start(name, () -> Copiers.copy(name)));
      }
      String reader = "committed-reader";
      consumers.add(start(reader, () -> Readers.readAssigned(reader, transactional(), true)));
      String prober = "committed-prober";
      consumers.add(start(prober, () -> Readers.probeEnds(prober, transactional(), true)));
    }
    for (int index = 0; index < number("group_members"); index++) {
      String name = "member-" + index;
      consumers.add(start(name, () -> Readers.readInGroup(name)));
    }
    Thread figures = new Thread(Workload::printFigures, "figures");
    figures.setDaemon(true);
    figures.start();

    BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
    for (String command = commands.readLine(); command != null; command = commands.readLine()) {
      switch (command) {
        case "stop" -> {
          producing = false;
          for (Thread producer : producers) producer.join();
          say("quiet");
        }
        case "drain" -> {
          if (!written.isEmpty()) Copiers.finish();
          for (Thread copier : copiers) copier.join(30_000);
          if (!written.isEmpty()) FinalReader.awaitStable(copies, nowUs() + 60_000_000);
          consuming = false;
          for (Thread consumer : consumers) consumer.join(30_000);
          FinalReader.drain(plain, false);
          if (!written.isEmpty()) FinalReader.drain(transactional(), true);
          for (String rack : settings.get("racks").split(",")) {
            FinalReader.drainThrough(rack, partitions, false);
            if (!written.isEmpty()) FinalReader.drainThrough(rack, transactional(), true);
          }
          say("drained");
        }
        case "end" -> {
          history.close();
          // Threads that hang on a dead broker must not keep the process alive.
          Runtime.getRuntime().halt(0);
        }
        default -> say("unknown command " + command);
      }
    }
    // The one who gave commands is gone.
    Runtime.getRuntime().halt(1);
  }

  /** figures TIME ACKED FAILED MISMATCHES IN_FLIGHT:LAST_ACK for each partition. */
  static void printFigures() {
    while (true) {
      StringBuilder line = new StringBuilder("figures ");
      line.append(nowUs()).append(' ').append(acked).append(' ').append(failed).append(' ');
      line.append(mismatches);
      for (int index = 0; index < partitions.size(); index++) {
        line.append(' ').append(inFlight.get(index)).append(':').append(lastAckUs.get(index));
      }
      say(line.toString());
      pause(FIGURES_MS);
    }
  }

  static synchronized void say(String line) {
    System.out.println(line);
    System.out.flush();
  }

  static Thread start(String name, Runnable work) {
    Thread thread =
        new Thread(
            () -> {
              try {
                work.run();
              } catch (Throwable error) {
                History.note(name + " ended: " + error);
                say("broken " + name + " " + error);
              }
            },
            name);
    thread.setDaemon(true);
    thread.start();
    return thread;
  }

  static List<TopicPartition> transactional() {
    List<TopicPartition> both = new ArrayList<>(written);
    both.addAll(copies);
    return both;
  }

  static int number(String setting) {
    return Integer.parseInt(settings.get(setting));
  }

  /** The clock that never goes back, which the runner reads too. */
  static long nowUs() {
    return System.nanoTime() / 1000;
  }

  static void pause(long ms) {
    try {
      Thread.sleep(ms);
    } catch (InterruptedException error) {
      throw new RuntimeException(error);
    }
  }
}
