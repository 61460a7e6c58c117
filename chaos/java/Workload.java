import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Idempotent producers and consumers in one process, which write down all that they see.
 *
 * <p>Arguments are name=value: bootstrap, history (the file), topics (name:partitions, commas between), rate
 * (records a second, all producers together), producers, group_members, bytes (of a record's value), racks
 * (of the brokers, commas between), request_timeout_ms, delivery_timeout_ms.
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
        partitions.add(new TopicPartition(name, index));
      }
    }
    payloadBytes = Math.max(16, number("bytes"));
    inFlight = new AtomicLongArray(partitions.size());
    lastAckUs = new AtomicLongArray(partitions.size());
    history = new History(Path.of(settings.get("history")));

    List<Thread> producers = new ArrayList<>();
    for (int index = 0; index < number("producers"); index++) {
      String name = "producer-" + index;
      producers.add(start(name, () -> produce(name)));
    }
    List<Thread> consumers = new ArrayList<>();
    consumers.add(start("reader", Workload::readAssigned));
    consumers.add(start("prober", Workload::probeEnds));
    for (int index = 0; index < number("group_members"); index++) {
      String name = "member-" + index;
      consumers.add(start(name, () -> readInGroup(name)));
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
          consuming = false;
          for (Thread consumer : consumers) consumer.join(30_000);
          drain();
          for (String rack : settings.get("racks").split(",")) drainThrough(rack);
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

  // Producers.

  /** Sends at its share of the rate until told to stop; a producer that failed once is made anew. */
  static void produce(String name) {
    double perMicro = number("rate") / (double) number("producers") / 1e6;
    // Some milliseconds' worth goes to one partition: one line of the history.
    long dueMin = Math.max(1, (long) (perMicro * 5_000));
    // Enough to keep every partition busy, few enough to be remembered while one has no leader.
    long inFlightMax = Math.max(1000, number("rate"));
    while (producing) {
      int client = nextClient.getAndIncrement();
      history.write("client", "\"client\":" + client + ",\"name\":\"" + name + "\"");
      Acks acks = new Acks(client);
      try (KafkaProducer<byte[], byte[]> producer = producer(name + "-" + client)) {
        long startedUs = nowUs();
        long sent = 0;
        int next = 0;
        while (producing && !acks.failed) {
          long due = Math.min((long) ((nowUs() - startedUs) * perMicro) - sent, LINE_RECORDS_MAX);
          if (due < dueMin) {
            acks.flushOld();
            pause(1);
            continue;
          }
          int share = (int) due;
          TopicPartition partition = partitions.get(next++ % partitions.size());
          int index = indexes.get(partition);
          sent += share;
          // What a partition without leader misses is not made up for later.
          if (inFlight.get(index) > inFlightMax / partitions.size()) {
            acks.flushOld();
            if (next % partitions.size() == 0) pause(1);
            continue;
          }
          send(producer, client, partition, share, acks);
        }
        // Closing waits for what is in flight, up to the delivery time-out.
        producer.close(Duration.ofMillis(number("delivery_timeout_ms") + 5_000));
      } catch (Exception error) {
        note(name + ": " + error);
        pause(200);
      }
      acks.flush();
    }
  }

  static void send(
      KafkaProducer<byte[], byte[]> producer,
      int client,
      TopicPartition partition,
      int count,
      Acks acks) {
    int index = indexes.get(partition);
    // One counter for the topic: nobody else gets these numbers.
    long first = counters.get(partition.topic()).getAndAdd(count);
    StringBuilder values = new StringBuilder(count * 8);
    for (int at = 0; at < count; at++) {
      if (at > 0) values.append(',');
      values.append(first + at);
    }
    inFlight.addAndGet(index, count);
    history.write("send", fields(client, partition) + ",\"values\":[" + values + "]");
    for (int at = 0; at < count; at++) {
      long value = first + at;
      ProducerRecord<byte[], byte[]> record =
          new ProducerRecord<>(
              partition.topic(), partition.partition(), null, payload(partition, value));
      try {
        producer.send(
            record,
            (metadata, error) -> {
              inFlight.decrementAndGet(index);
              if (error == null) acks.acknowledged(partition, index, value, metadata.offset());
              else acks.failed(partition, value, error);
            });
      } catch (Exception error) {
        inFlight.decrementAndGet(index);
        acks.failed(partition, value, error);
      }
    }
  }

  static KafkaProducer<byte[], byte[]> producer(String name) {
    Properties properties = client(name);
    properties.put("acks", "all");
    properties.put("enable.idempotence", "true");
    properties.put("delivery.timeout.ms", settings.get("delivery_timeout_ms"));
    properties.put("request.timeout.ms", settings.get("request_timeout_ms"));
    properties.put("max.block.ms", "60000");
    properties.put("linger.ms", "5");
    properties.put("batch.size", "32768");
    properties.put("buffer.memory", "67108864");
    return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
  }

  /** Acknowledgements of one producer, gathered into lines. */
  static class Acks {
    final int client;
    volatile boolean failed;
    TopicPartition partition;
    long sinceUs;
    int count;
    final StringBuilder values = new StringBuilder();
    final StringBuilder offsets = new StringBuilder();

    Acks(int client) {
      this.client = client;
    }

    synchronized void acknowledged(TopicPartition of, int index, long value, long offset) {
      acked.incrementAndGet();
      if (!of.equals(partition) || count >= LINE_RECORDS_MAX) flush();
      if (count == 0) {
        partition = of;
        sinceUs = nowUs();
        lastAckUs.set(index, sinceUs);
      } else {
        values.append(',');
        offsets.append(',');
      }
      values.append(value);
      offsets.append(offset);
      count++;
    }

    synchronized void failed(TopicPartition of, long value, Exception error) {
      failed = true;
      Workload.failed.incrementAndGet();
      flush();
      // Whether any of it reached a log is not known: never definite.
      String text = quote(error.getClass().getSimpleName() + ": " + error.getMessage());
      history.write(
          "fail",
          fields(client, of) + ",\"values\":[" + value + "],\"error\":" + text + ",\"definite\":false");
    }

    synchronized void flushOld() {
      if (count > 0 && nowUs() - sinceUs > ACK_LINE_US_MAX) flush();
    }

    synchronized void flush() {
      if (count == 0) return;
      history.write(
          "ack",
          fields(client, partition) + ",\"values\":[" + values + "],\"offsets\":[" + offsets + "]");
      values.setLength(0);
      offsets.setLength(0);
      count = 0;
    }
  }

  // Consumers.

  /** Reads every partition as it grows. */
  static void readAssigned() {
    int client = nextClient.getAndIncrement();
    history.write("client", "\"client\":" + client + ",\"name\":\"reader\"");
    try (KafkaConsumer<byte[], byte[]> consumer = consumer("reader", null)) {
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      assignment("assigned", client, partitions);
      while (consuming) {
        poll(consumer, client);
      }
    }
  }

  /** Reads as a member of a group, and commits about every second. */
  static void readInGroup(String name) {
    while (consuming) {
      int client = nextClient.getAndIncrement();
      history.write("client", "\"client\":" + client + ",\"name\":\"" + name + "\"");
      try (KafkaConsumer<byte[], byte[]> consumer = consumer(name, "chaos")) {
        consumer.subscribe(counters.keySet(), new Rebalances(consumer, client));
        long committedUs = nowUs();
        while (consuming) {
          poll(consumer, client);
          if (nowUs() - committedUs > 1_000_000) {
            commit(consumer, client);
            committedUs = nowUs();
          }
        }
      } catch (Exception error) {
        note(name + ": " + error);
        pause(500);
      }
    }
  }

  static class Rebalances implements ConsumerRebalanceListener {
    final KafkaConsumer<byte[], byte[]> consumer;
    final int client;

    Rebalances(KafkaConsumer<byte[], byte[]> consumer, int client) {
      this.consumer = consumer;
      this.client = client;
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
      assignment("revoked", client, revoked);
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
      assignment("assigned", client, assigned);
      long askedUs = nowUs();
      try {
        Map<TopicPartition, OffsetAndMetadata> committed =
            consumer.committed(new java.util.HashSet<>(assigned), Duration.ofSeconds(5));
        for (TopicPartition partition : assigned) {
          OffsetAndMetadata offset = committed.get(partition);
          history.write(
              "committed_offset",
              "\"asked_us\":" + askedUs + "," + fields(client, partition)
                  + ",\"group\":\"chaos\",\"offset\":" + (offset == null ? "null" : offset.offset()));
        }
      } catch (Exception error) {
        note("committed: " + error);
      }
    }
  }

  static void commit(KafkaConsumer<byte[], byte[]> consumer, int client) {
    Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
    for (TopicPartition partition : consumer.assignment()) {
      try {
        offsets.put(
            partition, new OffsetAndMetadata(consumer.position(partition, Duration.ofSeconds(2))));
      } catch (Exception error) {
        note("position: " + error);
      }
    }
    if (offsets.isEmpty()) return;
    long askedUs = nowUs();
    String outcome = "ok";
    try {
      consumer.commitSync(offsets, Duration.ofSeconds(10));
    } catch (CommitFailedException | RebalanceInProgressException error) {
      outcome = "failed";
    } catch (Exception error) {
      outcome = "unknown";
    }
    for (Map.Entry<TopicPartition, OffsetAndMetadata> entry : offsets.entrySet()) {
      history.write(
          "offset_commit",
          "\"asked_us\":" + askedUs + "," + fields(client, entry.getKey())
              + ",\"group\":\"chaos\",\"offset\":" + entry.getValue().offset()
              + ",\"outcome\":\"" + outcome + "\"");
    }
  }

  /** Asks where each partition ends, over and over: that must never go back. */
  static void probeEnds() {
    int client = nextClient.getAndIncrement();
    history.write("client", "\"client\":" + client + ",\"name\":\"prober\"");
    try (KafkaConsumer<byte[], byte[]> consumer = consumer("prober", null)) {
      while (consuming) {
        for (TopicPartition partition : partitions) {
          if (!consuming) return;
          long askedUs = nowUs();
          try {
            long end =
                consumer.endOffsets(List.of(partition), Duration.ofSeconds(3)).get(partition);
            history.write(
                "end_offset",
                "\"asked_us\":" + askedUs + "," + fields(client, partition) + ",\"offset\":" + end);
          } catch (Exception error) {
            pause(100);
          }
        }
        pause(100);
      }
    }
  }

  static void poll(KafkaConsumer<byte[], byte[]> consumer, int client) {
    ConsumerRecords<byte[], byte[]> polled;
    try {
      polled = consumer.poll(Duration.ofMillis(200));
    } catch (org.apache.kafka.common.errors.InterruptException error) {
      throw error;
    } catch (Exception error) {
      // A damaged batch, for one: the consumer does not get past it, which the final read shows, too.
      note("poll: " + error);
      pause(500);
      return;
    }
    for (TopicPartition partition : polled.partitions()) {
      List<ConsumerRecord<byte[], byte[]>> records = polled.records(partition);
      for (int from = 0; from < records.size(); from += LINE_RECORDS_MAX) {
        int to = Math.min(records.size(), from + LINE_RECORDS_MAX);
        String text = records(client, partition, records.subList(from, to));
        history.write("poll", fields(client, partition) + ",\"records\":" + text);
      }
    }
  }

  /** Reads each partition from its begin to the end that it has now. */
  static void drain() {
    int client = nextClient.getAndIncrement();
    history.write("client", "\"client\":" + client + ",\"name\":\"final\"");
    try (KafkaConsumer<byte[], byte[]> consumer = consumer("final", null)) {
      for (TopicPartition partition : partitions) {
        long begin = bound(consumer, partition, true);
        long end = bound(consumer, partition, false);
        consumer.assign(List.of(partition));
        consumer.seek(partition, begin);
        long position = begin;
        List<ConsumerRecord<byte[], byte[]>> chunk = new ArrayList<>();
        while (position < end) {
          try {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
              if (record.offset() < end) chunk.add(record);
            }
            position = Math.min(end, consumer.position(partition, Duration.ofSeconds(10)));
          } catch (Exception error) {
            note("final read of " + partition + " at " + position + ": " + error);
            pause(1000);
          }
          if (chunk.size() >= DRAIN_RECORDS_MAX || position >= end) {
            finalRead(client, partition, begin, position, chunk);
            begin = position;
            chunk.clear();
          }
        }
        // An empty partition was read, too.
        if (end == begin && begin == 0) finalRead(client, partition, 0, 0, chunk);
      }
    }
  }

  /**
   * Reads everything once more, from the replicas in this rack where brokers let followers be read
   * (KIP-392): so each replica's bytes are looked at.
   */
  static void drainThrough(String rack) {
    int client = nextClient.getAndIncrement();
    history.write("client", "\"client\":" + client + ",\"name\":\"final-" + rack + "\"");
    Properties properties = consumerProperties("final-" + rack, null);
    properties.put("client.rack", rack);
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(properties)) {
      Map<TopicPartition, Long> ends = new HashMap<>();
      for (TopicPartition partition : partitions) {
        ends.put(partition, bound(consumer, partition, false));
      }
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      assignment("assigned", client, partitions);
      while (!ends.isEmpty()) {
        poll(consumer, client);
        ends.entrySet()
            .removeIf(
                entry -> {
                  try {
                    Duration limit = Duration.ofSeconds(5);
                    return consumer.position(entry.getKey(), limit) >= entry.getValue();
                  } catch (Exception error) {
                    note("position: " + error);
                    return false;
                  }
                });
      }
    }
  }

  static void finalRead(
      int client,
      TopicPartition partition,
      long begin,
      long end,
      List<ConsumerRecord<byte[], byte[]>> chunk) {
    history.write(
        "final_read",
        "\"topic\":\"" + partition.topic() + "\",\"partition\":" + partition.partition()
            + ",\"begin_offset\":" + begin + ",\"end_offset\":" + end
            + ",\"records\":" + records(client, partition, chunk));
  }

  static long bound(KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition, boolean begin) {
    while (true) {
      try {
        Duration limit = Duration.ofSeconds(10);
        Map<TopicPartition, Long> offsets =
            begin
                ? consumer.beginningOffsets(List.of(partition), limit)
                : consumer.endOffsets(List.of(partition), limit);
        return offsets.get(partition);
      } catch (Exception error) {
        note("bounds of " + partition + ": " + error);
        pause(500);
      }
    }
  }

  static KafkaConsumer<byte[], byte[]> consumer(String name, String group) {
    return consumer(consumerProperties(name, group));
  }

  static KafkaConsumer<byte[], byte[]> consumer(Properties properties) {
    return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
  }

  static Properties consumerProperties(String name, String group) {
    Properties properties = client(name);
    if (group != null) {
      properties.put("group.id", group);
      properties.put("session.timeout.ms", "10000");
      properties.put("heartbeat.interval.ms", "1000");
    }
    properties.put("enable.auto.commit", "false");
    // A position that the log does not have shows as a jump in the history.
    properties.put("auto.offset.reset", "earliest");
    properties.put("fetch.max.wait.ms", "100");
    properties.put("max.poll.records", "5000");
    properties.put("request.timeout.ms", "5000");
    properties.put("default.api.timeout.ms", "10000");
    return properties;
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

  // Payloads.

  /** Made of topic, partition and value alone, so that a reader can check it. */
  static byte[] payload(TopicPartition partition, long value) {
    byte[] bytes = new byte[payloadBytes];
    Arrays.fill(bytes, (byte) (value * 31 + 7));
    ByteBuffer.wrap(bytes)
        .putLong(value)
        .putInt(partition.partition())
        .putInt(partition.topic().hashCode());
    return bytes;
  }

  /** The arrays of the history for these records; what has another payload goes into lines of its own. */
  static String records(
      int client, TopicPartition partition, List<ConsumerRecord<byte[], byte[]>> records) {
    StringBuilder offsets = new StringBuilder();
    StringBuilder values = new StringBuilder();
    StringBuilder epochs = new StringBuilder();
    boolean epochsKnown = true;
    String comma = "";
    for (ConsumerRecord<byte[], byte[]> record : records) {
      byte[] bytes = record.value();
      Long value = bytes == null || bytes.length < 16 ? null : ByteBuffer.wrap(bytes).getLong();
      if (value == null || !Arrays.equals(bytes, payload(partition, value))) {
        mismatches.incrementAndGet();
        history.write(
            "payload_mismatch",
            fields(client, partition) + ",\"offset\":" + record.offset()
                + (value == null || value < 0 ? "" : ",\"value\":" + value)
                + ",\"detail\":\"the bytes are not those of this partition and value\"");
        continue;
      }
      Optional<Integer> epoch = record.leaderEpoch();
      epochsKnown &= epoch.isPresent();
      offsets.append(comma).append(record.offset());
      values.append(comma).append(value.longValue());
      epochs.append(comma).append(epoch.orElse(-1).intValue());
      comma = ",";
    }
    String text = "{\"offsets\":[" + offsets + "],\"values\":[" + values + "]";
    return epochsKnown ? text + ",\"leader_epochs\":[" + epochs + "]}" : text + "}";
  }

  // The history and the figures.

  /** Lines in the order of their time. */
  static class History {
    private final BufferedWriter writer;

    History(Path path) throws IOException {
      writer = Files.newBufferedWriter(path);
    }

    synchronized void write(String kind, String fields) {
      try {
        writer.write("{\"" + kind + "\":{\"t_us\":" + nowUs() + "," + fields + "}}\n");
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }

    synchronized void close() throws IOException {
      writer.close();
    }
  }

  static void assignment(String kind, int client, Collection<TopicPartition> given) {
    for (String topic : counters.keySet()) {
      List<Integer> numbers = new ArrayList<>();
      for (TopicPartition partition : given) {
        if (partition.topic().equals(topic)) numbers.add(partition.partition());
      }
      if (numbers.isEmpty()) continue;
      Collections.sort(numbers);
      history.write(
          kind, "\"client\":" + client + ",\"topic\":\"" + topic + "\",\"partitions\":" + numbers);
    }
  }

  static String fields(int client, TopicPartition partition) {
    return "\"client\":" + client + ",\"topic\":\"" + partition.topic()
        + "\",\"partition\":" + partition.partition();
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

  static void note(String text) {
    history.write("note", "\"text\":" + quote(text));
  }

  static String quote(String text) {
    StringBuilder quoted = new StringBuilder("\"");
    for (char letter : String.valueOf(text).toCharArray()) {
      if (letter == '"' || letter == '\\') quoted.append('\\').append(letter);
      else quoted.append(letter < ' ' ? ' ' : letter);
    }
    return quoted.append('"').toString();
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
                note(name + " ended: " + error);
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
