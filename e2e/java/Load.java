import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * A steady load, and what its clients feel: one producer with the client's defaults (acks=all, idempotence), three
 * consumer groups that each read everything.
 *
 * <p>First it finds out how much the cluster can carry, by sending as fast as it goes while all groups read; then it
 * sends half of that. From the moment that the groups have caught up the load is steady: the file STEADY is made, and
 * the load goes on until somebody removes it. Each record carries its number in its partition, so a consumer sees what
 * was lost, what stands twice and what changed places.
 *
 * <p>Prints a line `second EPOCH_S ACKNOWLEDGED P99_MS MAX_MS` for each second, a line `group NAME READ LOST DOUBLED`
 * for each group, and last `total RATE SENT FAILED`.
 *
 * <p>Usage: BOOTSTRAP TOPIC STEADY [RECORDS_PER_SECOND]
 */
public class Load {
  static final int RECORD_BYTES = 1024;
  static final int GROUPS = 3;
  /** To one partition, as many as fill a batch: so does the client's own partitioner (KIP-480). */
  static final int RECORDS_IN_A_ROW = 16;

  static final long MEASURED_S = 14;
  /** Of them, the first ones warm up the clients and the brokers. */
  static final long WARM_UP_S = 8;

  /** As far behind as this a group may be that reads what comes. */
  static final long CAUGHT_UP_RECORDS = 10_000;

  static final Duration SILENCE_MAX = Duration.ofSeconds(60);

  static final AtomicLong acknowledged = new AtomicLong();
  static final AtomicInteger failed = new AtomicInteger();
  /** What the first of them said, and when. */
  static final Queue<String> failures = new ConcurrentLinkedQueue<>();

  static final int FAILURES_SAID = 10;
  static final Latencies latencies = new Latencies();

  public static void main(String[] arguments) throws Exception {
    // A group that ended would look like one that is far behind.
    Thread.setDefaultUncaughtExceptionHandler(
        (thread, error) -> {
          error.printStackTrace();
          Runtime.getRuntime().halt(1);
        });
    String bootstrap = arguments[0];
    String topic = arguments[1];
    Path steady = Path.of(arguments[2]);
    Producing producing = new Producing(bootstrap, topic);
    List<Group> groups = new ArrayList<>();
    for (int number = 0; number < GROUPS; number++) {
      Group group = new Group(bootstrap, topic, topic + "-group-" + number, producing);
      group.start();
      groups.add(group);
    }
    long rate =
        arguments.length > 3 ? Long.parseLong(arguments[3]) : producing.atFullSpeed(groups) / 2;
    System.err.println("sends " + rate + " records of " + RECORD_BYTES + " bytes a second");
    producing.atRate(rate, groups, steady);
    producing.close();
    for (Group group : groups) group.join();
    for (Group group : groups) {
      System.out.println(
          "group " + group.name + " " + group.read + " " + group.lost + " " + group.doubled);
    }
    System.out.println("total " + rate + " " + producing.sent + " " + failed);
    // Last, below what the clients themselves said meanwhile.
    failures.forEach(System.err::println);
    System.exit(0);
  }

  static class Producing {
    final KafkaProducer<byte[], byte[]> producer;
    final String topic;
    /** How many records were sent to each partition. */
    final long[] next;

    /** Only the main thread sends; groups look at it. */
    volatile long sent;

    volatile boolean isDone;

    Producing(String bootstrap, String topic) {
      Properties properties = new Properties();
      properties.put("bootstrap.servers", bootstrap);
      properties.put("linger.ms", "5");
      this.producer =
          new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
      this.topic = topic;
      this.next = new long[producer.partitionsFor(topic).size()];
    }

    /** Records a second that are written while all groups read. */
    long atFullSpeed(List<Group> groups) throws InterruptedException {
      long begun = System.nanoTime();
      long warm = begun + WARM_UP_S * 1_000_000_000L;
      long end = begun + MEASURED_S * 1_000_000_000L;
      while (System.nanoTime() < warm) send();
      long before = acknowledged.get();
      while (System.nanoTime() < end) send();
      long rate = (acknowledged.get() - before) / (MEASURED_S - WARM_UP_S);
      producer.flush();
      return rate;
    }

    boolean haveCaughtUp(List<Group> groups) {
      for (Group group : groups) if (sent - group.read > CAUGHT_UP_RECORDS) return false;
      return true;
    }

    void atRate(long rate, List<Group> groups, Path steady)
        throws IOException, InterruptedException {
      boolean isSteady = false;
      long begun = System.nanoTime();
      long paced = 0;
      long second = 0;
      while (true) {
        long elapsed = System.nanoTime() - begun;
        long due = (long) (elapsed / 1e9 * rate);
        while (paced < due) {
          send();
          paced++;
        }
        if (elapsed / 1_000_000_000L > second) {
          second = elapsed / 1_000_000_000L;
          if (isSteady) {
            latencies.print();
            if (!Files.exists(steady)) return;
          } else if (haveCaughtUp(groups)) {
            latencies.take();
            Files.createFile(steady);
            isSteady = true;
          }
        }
        Thread.sleep(1);
      }
    }

    void send() {
      int partition = (int) (sent / RECORDS_IN_A_ROW % next.length);
      byte[] value = new byte[RECORD_BYTES];
      ByteBuffer.wrap(value).putLong(next[partition]++);
      sent++;
      long begun = System.nanoTime();
      producer.send(
          new ProducerRecord<>(topic, partition, null, value),
          (metadata, error) -> {
            if (error == null) {
              acknowledged.incrementAndGet();
              latencies.add(System.nanoTime() - begun);
            } else {
              if (failed.incrementAndGet() <= FAILURES_SAID) {
                failures.add(Instant.now() + " to partition " + partition + ": " + error);
              }
            }
          });
    }

    void close() {
      producer.close();
      latencies.print();
      isDone = true;
    }
  }

  /** Of one second. */
  static class Latencies {
    private long[] nanos = new long[1 << 16];
    private int count;

    synchronized void add(long latency) {
      if (count == nanos.length) nanos = Arrays.copyOf(nanos, 2 * count);
      nanos[count++] = latency;
    }

    synchronized long[] take() {
      long[] taken = Arrays.copyOf(nanos, count);
      count = 0;
      return taken;
    }

    void print() {
      long[] taken = take();
      Arrays.sort(taken);
      double p99 = taken.length == 0 ? 0 : taken[(int) ((taken.length - 1) * 0.99)] / 1e6;
      double max = taken.length == 0 ? 0 : taken[taken.length - 1] / 1e6;
      long epochS = System.currentTimeMillis() / 1000;
      System.out.printf("second %d %d %.1f %.1f%n", epochS, taken.length, p99, max);
    }
  }

  /** A consumer group of one member, which reads everything there is. */
  static class Group extends Thread {
    final Properties properties = new Properties();
    final String topic;
    final String name;
    final Producing producing;

    /** By partition: the number that comes next, and the offset of the record before it. */
    final long[] expected;

    final long[] lastOffset;
    /** Only this thread counts; the main thread looks. */
    volatile long read;

    long lost;
    long doubled;

    Group(String bootstrap, String topic, String name, Producing producing) {
      this.topic = topic;
      this.name = name;
      this.producing = producing;
      this.expected = new long[producing.next.length];
      this.lastOffset = new long[producing.next.length];
      Arrays.fill(lastOffset, -1);
      properties.put("bootstrap.servers", bootstrap);
      properties.put("group.id", name);
      properties.put("auto.offset.reset", "earliest");
      // Behind by much, each of the groups would hold the default of 50 MiB from every broker.
      properties.put("fetch.max.bytes", Integer.toString(4 << 20));
    }

    @Override
    public void run() {
      long lastRead = System.nanoTime();
      try (KafkaConsumer<byte[], byte[]> consumer =
          new KafkaConsumer<>(
              properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
        consumer.subscribe(List.of(topic));
        while (true) {
          for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
            lastRead = System.nanoTime();
            take(record);
          }
          boolean hasAll = producing.isDone && Arrays.equals(expected, producing.next);
          if (hasAll) return;
          if (producing.isDone && System.nanoTime() - lastRead > SILENCE_MAX.toNanos()) {
            for (int i = 0; i < expected.length; i++) {
              lost += Math.max(0, producing.next[i] - expected[i]);
            }
            return;
          }
        }
      }
    }

    private void take(ConsumerRecord<byte[], byte[]> record) {
      int partition = record.partition();
      // Delivered again after the group's offsets went back: the same record.
      if (record.offset() <= lastOffset[partition]) return;
      lastOffset[partition] = record.offset();
      long number = ByteBuffer.wrap(record.value()).getLong();
      if (number < expected[partition]) {
        doubled++;
        return;
      }
      lost += number - expected[partition];
      expected[partition] = number + 1;
      read++;
    }
  }
}
