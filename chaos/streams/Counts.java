package dev.foz.chaos.streams;

import static dev.foz.chaos.streams.Words.*;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Committed counts, in the order of the log. Counted exactly once means: of each word there is 1, 2, 3 and so on, each
 * once. One that is left out was lost, one that comes again was counted twice or committed twice.
 */
final class Counts {
  private static final int TOLD_MAX = 10;

  final KafkaConsumer<String, Long> consumer;
  /** The newest count of each word. */
  final Map<String, Long> newest = new HashMap<>();
  private final AtomicLong records = new AtomicLong();
  private final String name;
  private final List<TopicPartition> topicPartitions = new ArrayList<>();
  private final AtomicLong wrong = new AtomicLong();
  private final AtomicLongArray lastReadUs = new AtomicLongArray(partitions);
  private volatile boolean reading = true;

  /** Begins at the begin. */
  Counts(String name) {
    this.name = name;
    for (int partition = 0; partition < partitions; partition++) {
      topicPartitions.add(new TopicPartition(settings.get("counts"), partition));
    }
    consumer = consumer(name);
    consumer.assign(topicPartitions);
    consumer.seekToBeginning(topicPartitions);
  }

  static KafkaConsumer<String, Long> consumer(String name) {
    return consumer(properties(name));
  }

  static KafkaConsumer<String, Long> consumer(Properties properties) {
    return new KafkaConsumer<>(properties, new StringDeserializer(), new LongDeserializer());
  }

  static Properties properties(String name) {
    Properties properties = client(name);
    properties.put("isolation.level", "read_committed");
    properties.put("enable.auto.commit", "false");
    // A position that the log does not have must show.
    properties.put("auto.offset.reset", "none");
    properties.put("fetch.max.wait.ms", "100");
    properties.put("request.timeout.ms", "5000");
    properties.put("default.api.timeout.ms", "10000");
    return properties;
  }

  void readAsTheyCome() {
    while (reading) poll();
  }

  /** From now on another thread may read. */
  void stop() {
    reading = false;
  }

  void poll() {
    try {
      for (ConsumerRecord<String, Long> record : consumer.poll(Duration.ofMillis(200))) {
        records.incrementAndGet();
        lastReadUs.set(record.partition(), nowUs());
        look(record);
      }
    } catch (org.apache.kafka.common.errors.RetriableException error) {
      System.err.println(name + ": " + error);
      pause(200);
    }
  }

  private void look(ConsumerRecord<String, Long> record) {
    long before = newest.getOrDefault(record.key(), 0L);
    newest.put(record.key(), record.value());
    if (record.value() == before + 1) return;
    if (wrong.incrementAndGet() > TOLD_MAX) return;
    say(
        "wrong " + name + ": " + record.key() + " is counted " + record.value() + " after " + before
            + ", at " + record.topic() + "-" + record.partition() + " offset " + record.offset()
            + " of leader epoch " + record.leaderEpoch().orElse(-1) + ", " + record.timestamp());
  }

  /** Reads to the ends that the partitions have now. */
  void readToTheEnd(long untilUs) {
    Map<TopicPartition, Long> ends = ends(consumer, topicPartitions, untilUs);
    for (TopicPartition partition : topicPartitions) {
      while (position(partition) < ends.get(partition)) {
        if (nowUs() > untilUs) {
          say("wrong " + name + ": " + partition + " cannot be read to its end " + ends.get(partition));
          return;
        }
        poll();
      }
    }
  }

  /** The last stable offsets. */
  static Map<TopicPartition, Long> ends(
      KafkaConsumer<?, ?> consumer, List<TopicPartition> partitions, long untilUs) {
    while (true) {
      try {
        return consumer.endOffsets(partitions);
      } catch (org.apache.kafka.common.errors.RetriableException error) {
        if (nowUs() > untilUs) throw error;
        pause(200);
      }
    }
  }

  private long position(TopicPartition partition) {
    try {
      return consumer.position(partition, Duration.ofSeconds(2));
    } catch (org.apache.kafka.common.errors.TimeoutException error) {
      return -1;
    }
  }

  boolean complete() {
    return newest.equals(sent);
  }

  long wrong() {
    return wrong.get();
  }

  long records() {
    return records.get();
  }

  long lastReadUs(int partition) {
    return lastReadUs.get(partition);
  }
}
