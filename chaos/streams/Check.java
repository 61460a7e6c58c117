package dev.foz.chaos.streams;

import static dev.foz.chaos.streams.Words.*;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** At the end, when no more lines come: is each word counted, and no more often than it was sent? */
final class Check {
  private static final int TOLD_MAX = 10;

  static void check(Counts live) throws Exception {
    long untilUs = nowUs() + number("limit_s") * 1_000_000L;
    while (!live.complete() && nowUs() < untilUs) live.poll();
    compare("live", live.newest);
    List<TopicPartition> lines = partitionsOf(settings.get("lines"), partitions);
    awaitCommitted(lines, Counts.ends(live.consumer, lines, untilUs), untilUs);

    // Nothing is under way any more: what is there now stays.
    Counts again = new Counts("final");
    again.readToTheEnd(untilUs + 30_000_000);
    compare("final", again.newest);
    compare("changelog", changelog(untilUs + 60_000_000));
    long words = sent.values().stream().mapToLong(Long::longValue).sum();
    say("note " + acked + " lines, " + words + " words, " + again.records() + " counts");
  }

  static void compare(String name, Map<String, Long> counted) {
    TreeMap<String, Long> words = new TreeMap<>(sent);
    for (String word : counted.keySet()) words.putIfAbsent(word, 0L);
    int told = 0;
    for (Map.Entry<String, Long> word : words.entrySet()) {
      long count = counted.getOrDefault(word.getKey(), 0L);
      if (count == word.getValue()) continue;
      if (told++ < TOLD_MAX) {
        say("wrong " + name + ": " + word.getKey() + " is counted " + count + ", and was sent " + word.getValue());
      }
    }
    if (told > TOLD_MAX) say("wrong " + name + ": " + told + " words in all");
  }

  /** Offsets are committed in the transactions of the counts: what is counted is committed. */
  static void awaitCommitted(List<TopicPartition> lines, Map<TopicPartition, Long> ends, long untilUs)
      throws InterruptedException {
    Properties properties = client("committed");
    properties.put("request.timeout.ms", "5000");
    properties.put("default.api.timeout.ms", "10000");
    Object committed = "nothing";
    try (Admin admin = Admin.create(properties)) {
      while (true) {
        try {
          Map<TopicPartition, OffsetAndMetadata> answer =
              admin.listConsumerGroupOffsets(settings.get("application")).partitionsToOffsetAndMetadata().get();
          boolean all = true;
          for (TopicPartition partition : lines) {
            OffsetAndMetadata offset = answer.get(partition);
            all &= offset != null && offset.offset() == ends.get(partition);
          }
          if (all) return;
          committed = answer;
        } catch (ExecutionException error) {
          committed = error;
        }
        if (nowUs() > untilUs) {
          say("wrong committed: the lines end at " + ends + ", and committed is " + committed);
          return;
        }
        pause(200);
      }
    }
  }

  /** What a store would be restored to. */
  static Map<String, Long> changelog(long untilUs) {
    String topic = settings.get("application") + "-" + WordCount.STORE + "-changelog";
    Map<String, Long> counts = new HashMap<>();
    try (KafkaConsumer<String, Long> consumer = Counts.consumer("changelog")) {
      List<TopicPartition> all = partitionsOf(topic, partitions);
      consumer.assign(all);
      consumer.seekToBeginning(all);
      Map<TopicPartition, Long> ends = Counts.ends(consumer, all, untilUs);
      HashSet<TopicPartition> left = new HashSet<>(all);
      while (!left.isEmpty()) {
        if (nowUs() > untilUs) {
          say("wrong changelog: " + left + " cannot be read to the ends " + ends);
          break;
        }
        for (ConsumerRecord<String, Long> record : consumer.poll(Duration.ofMillis(200))) {
          if (record.value() == null) counts.remove(record.key());
          else counts.put(record.key(), record.value());
        }
        left.removeIf(partition -> consumer.position(partition, Duration.ofSeconds(10)) >= ends.get(partition));
      }
    }
    return counts;
  }

  static List<TopicPartition> partitionsOf(String topic, int count) {
    List<TopicPartition> partitions = new ArrayList<>();
    for (int partition = 0; partition < count; partition++) {
      partitions.add(new TopicPartition(topic, partition));
    }
    return partitions;
  }
}
