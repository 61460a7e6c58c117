package dev.foz.chaos.streams;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Sends lines of words, knows how often each was sent, and reads what a word count makes of them.
 *
 * <p>Arguments are name=value: bootstrap, lines, counts (topics), partitions (of each), rate (lines a second), seed,
 * request_timeout_ms, delivery_timeout_ms, application (of the word count), limit_s (for counts to become complete).
 *
 * <p>Standard output has a line of figures every 50 ms, and a line for all that is wrong. Standard input takes "stop"
 * (send no more; answers "quiet" when all is acknowledged), "check" (wait for the last count, and look at everything
 * once more; answers "checked"), "describe" (write down how far everything is; answers "described") and "end".
 */
public class Words {
  static final int FIGURES_MS = 50;
  static final int WORDS = 300;
  static final int WORDS_OF_A_LINE_MAX = 5;
  static final int IN_FLIGHT_MAX = 300;

  static Map<String, String> settings;
  static int partitions;
  /** How often each word was sent; complete when the producer is quiet. */
  static final Map<String, Long> sent = new HashMap<>();
  static final AtomicLong acked = new AtomicLong();
  static final AtomicLong failed = new AtomicLong();
  static AtomicLongArray inFlight;
  static AtomicLongArray lastAckUs;
  static volatile boolean producing = true;

  public static void main(String[] arguments) throws Exception {
    settings = WordCount.settings(arguments);
    partitions = number("partitions");
    inFlight = new AtomicLongArray(partitions);
    lastAckUs = new AtomicLongArray(partitions);
    Counts live = new Counts("live");
    Thread producer = start("producer", Words::produce);
    Thread reader = start("reader", live::readAsTheyCome);
    start("figures", () -> printFigures(live));

    BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
    for (String command = commands.readLine(); command != null; command = commands.readLine()) {
      switch (command) {
        case "stop" -> {
          producing = false;
          long before = live.records();
          producer.join();
          say("note " + before + " counts were read before everything was healed");
          say("quiet");
        }
        case "check" -> {
          live.stop();
          reader.join();
          try {
            Check.check(live);
          } catch (Exception error) {
            error.printStackTrace();
            say("wrong check: " + error);
          }
          say("checked");
        }
        case "describe" -> {
          try {
            Describe.describe();
          } catch (Exception error) {
            error.printStackTrace();
          }
          say("described");
        }
        // Threads that hang on a dead broker must not keep the process alive.
        case "end" -> Runtime.getRuntime().halt(0);
        default -> say("unknown command " + command);
      }
    }
    // The one who gave commands is gone.
    Runtime.getRuntime().halt(1);
  }

  static void produce() {
    Random random = new Random(Long.parseLong(settings.get("seed")));
    double perMicro = number("rate") / 1e6;
    long startedUs = nowUs();
    long lines = 0;
    try (KafkaProducer<String, String> producer = producer()) {
      while (producing) {
        if (lines >= (nowUs() - startedUs) * perMicro) {
          pause(1);
          continue;
        }
        int partition = (int) (lines++ % partitions);
        // What a partition without leader misses is not made up for later.
        if (inFlight.get(partition) >= IN_FLIGHT_MAX) continue;
        send(producer, partition, line(random));
      }
      producer.flush();
    }
  }

  static void send(KafkaProducer<String, String> producer, int partition, String line) {
    for (String word : line.split(" ")) sent.merge(word, 1L, Long::sum);
    inFlight.incrementAndGet(partition);
    producer.send(
        new ProducerRecord<>(settings.get("lines"), partition, null, line),
        (metadata, error) -> {
          inFlight.decrementAndGet(partition);
          if (error == null) {
            acked.incrementAndGet();
            lastAckUs.set(partition, nowUs());
          } else {
            // Whether it is in the log nobody knows: no count can be right or wrong any more.
            failed.incrementAndGet();
            say("a line failed: " + error);
          }
        });
  }

  /** Some words come often, most come rarely. */
  static String line(Random random) {
    StringBuilder line = new StringBuilder();
    int words = 1 + random.nextInt(WORDS_OF_A_LINE_MAX);
    for (int at = 0; at < words; at++) {
      if (at > 0) line.append(' ');
      line.append("word-").append(random.nextInt(1 + random.nextInt(WORDS)));
    }
    return line.toString();
  }

  static KafkaProducer<String, String> producer() {
    Properties properties = client("words");
    properties.put("acks", "all");
    properties.put("enable.idempotence", "true");
    properties.put("delivery.timeout.ms", settings.get("delivery_timeout_ms"));
    properties.put("request.timeout.ms", settings.get("request_timeout_ms"));
    properties.put("max.block.ms", settings.get("delivery_timeout_ms"));
    properties.put("linger.ms", "5");
    return new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer());
  }

  static Properties client(String name) {
    Properties properties = new Properties();
    properties.put("bootstrap.servers", settings.get("bootstrap"));
    properties.put("client.id", name);
    // What waits on the client's side is not the broker's time to recover.
    properties.put("retry.backoff.ms", "20");
    properties.put("retry.backoff.max.ms", "100");
    properties.put("reconnect.backoff.ms", "20");
    properties.put("reconnect.backoff.max.ms", "200");
    properties.put("socket.connection.setup.timeout.ms", "1000");
    properties.put("socket.connection.setup.timeout.max.ms", "2000");
    properties.put("enable.metrics.push", "false");
    return properties;
  }

  /** figures TIME ACKED FAILED WRONG IN_FLIGHT:LAST_ACK for each partition, those of lines before those of counts. */
  static void printFigures(Counts counts) {
    while (true) {
      StringBuilder line = new StringBuilder("figures ");
      line.append(nowUs()).append(' ').append(acked).append(' ').append(failed).append(' ');
      line.append(counts.wrong());
      for (int partition = 0; partition < partitions; partition++) {
        line.append(' ').append(inFlight.get(partition)).append(':').append(lastAckUs.get(partition));
      }
      for (int partition = 0; partition < partitions; partition++) {
        line.append(" 0:").append(counts.lastReadUs(partition));
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
                error.printStackTrace();
                say("broken " + name + " " + error);
              }
            },
            name);
    thread.setDaemon(true);
    thread.start();
    return thread;
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
