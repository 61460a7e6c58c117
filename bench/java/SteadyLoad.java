import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * One idempotent producer that writes at a steady rate until it is killed. Arguments: bootstrap servers,
 * topic, records a second, bytes of a record, how many keys are written in turn (0: records have none).
 *
 * <p>Kafka's perf tool tells percentiles of a whole run only; what happens in the middle of one needs each
 * record. A line for each thing seen, times in milliseconds since 1970:
 *
 * <ul>
 *   <li>{@code written DUE LATENCY_US}: acknowledged. The latency counts from when it was due, so that records
 *       that could not be sent because those before them hung are not forgotten.
 *   <li>{@code failed DUE WHY}: given up.
 *   <li>{@code in-sync NOW LEAST}: the fewest replicas in sync that a partition of the topic has.
 * </ul>
 */
final class SteadyLoad {
  private static final long IN_SYNC_INTERVAL_MS = 200;

  private static final PrintStream out =
      new PrintStream(new java.io.BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 16));

  public static void main(String[] arguments) {
    String topic = arguments[1];
    Properties properties = new Properties();
    properties.put("bootstrap.servers", arguments[0]);
    properties.put("acks", "all");
    properties.put("enable.idempotence", "true");
    // Above the linger and any pause, so that a broker that is gone is noticed and none else given up.
    properties.put("request.timeout.ms", "10000");
    Thread watcher = new Thread(() -> watch(properties, topic));
    watcher.setDaemon(true);
    watcher.start();
    write(properties, topic, Long.parseLong(arguments[2]), Integer.parseInt(arguments[3]), Integer.parseInt(arguments[4]));
  }

  private static void write(Properties properties, String topic, long rate, int recordBytes, int keys) {
    byte[] value = new byte[recordBytes];
    new java.util.Random(1).nextBytes(value);
    ByteArraySerializer serializer = new ByteArraySerializer();
    try (KafkaProducer<byte[], byte[]> producer =
        new KafkaProducer<>(properties, serializer, serializer)) {
      producer.partitionsFor(topic);
      long startedMs = System.currentTimeMillis();
      long startedNs = System.nanoTime();
      for (long sent = 0; ; sent++) {
        long afterNs = sent * 1_000_000_000L / rate;
        while (System.nanoTime() - startedNs < afterNs) {
          LockSupport.parkNanos(500_000);
        }
        producer.send(
            new ProducerRecord<>(topic, key(sent, keys), value),
            (metadata, error) -> {
              long dueMs = startedMs + afterNs / 1_000_000;
              if (error == null) {
                long latencyUs = (System.nanoTime() - startedNs - afterNs) / 1000;
                print("written " + dueMs + " " + latencyUs);
              } else {
                print("failed " + dueMs + " " + error);
              }
            });
      }
    }
  }

  /** Far from the one before: keys that are written in a row would all be in the same batch of a compacted log. */
  private static byte[] key(long sent, int keys) {
    return keys == 0 ? null : Long.toString(sent * 7919 % keys).getBytes();
  }

  private static void watch(Properties properties, String topic) {
    try (Admin admin = Admin.create(properties)) {
      while (true) {
        try {
          TopicDescription description =
              admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
          int least =
              description.partitions().stream().mapToInt(it -> it.isr().size()).min().orElse(0);
          print("in-sync " + System.currentTimeMillis() + " " + least);
        } catch (java.util.concurrent.ExecutionException error) {
          // A broker that has just gone; another one knows.
        }
        // Also writes out what is printed. Nobody reads any more: the bench has gone.
        if (out.checkError()) System.exit(1);
        Thread.sleep(IN_SYNC_INTERVAL_MS);
      }
    } catch (InterruptedException error) {
      throw new IllegalStateException(error);
    }
  }

  private static void print(String line) {
    synchronized (out) {
      out.println(line);
    }
  }
}
