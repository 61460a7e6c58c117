package dev.foz.chaos;

import static dev.foz.chaos.Workload.*;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/** Everything read back at the end. */
final class FinalReader {
  /** Reads each of these from its begin to the end that it has now. */
  static void drain(List<TopicPartition> drained, boolean committed) {
    int client = Clients.told("final", committed);
    try (KafkaConsumer<byte[], byte[]> consumer =
        Clients.consumer(Clients.consumerProperties("final", null, committed))) {
      for (TopicPartition partition : drained) {
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
            History.note("final read of " + partition + " at " + position + ": " + error);
            pause(1000);
          }
          if (chunk.size() >= DRAIN_RECORDS_MAX || position >= end) {
            finalRead(client, partition, begin, position, chunk, committed);
            begin = position;
            chunk.clear();
          }
        }
        // An empty partition was read, too.
        if (end == begin && begin == 0) finalRead(client, partition, 0, 0, chunk, committed);
      }
    }
  }

  /**
   * Reads these once more, from the replicas in this rack where brokers let followers be read
   * (KIP-392): so each replica's bytes are looked at.
   */
  static void drainThrough(String rack, List<TopicPartition> drained, boolean committed) {
    int client = Clients.told("final-" + rack, committed);
    Properties properties = Clients.consumerProperties("final-" + rack, null, committed);
    properties.put("client.rack", rack);
    try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(properties)) {
      Map<TopicPartition, Long> ends = new HashMap<>();
      for (TopicPartition partition : drained) {
        ends.put(partition, bound(consumer, partition, false));
      }
      consumer.assign(drained);
      consumer.seekToBeginning(drained);
      History.assignment("assigned", client, drained);
      while (!ends.isEmpty()) {
        Readers.poll(consumer, client);
        ends.entrySet()
            .removeIf(
                entry -> {
                  try {
                    Duration limit = Duration.ofSeconds(5);
                    return consumer.position(entry.getKey(), limit) >= entry.getValue();
                  } catch (Exception error) {
                    History.note("position: " + error);
                    return false;
                  }
                });
      }
    }
  }

  /** Until no transaction is open in these: the last stable offset is the end. False: one stays open. */
  static boolean awaitStable(List<TopicPartition> asked, long untilUs) {
    try (KafkaConsumer<byte[], byte[]> all =
            Clients.consumer(Clients.consumerProperties("ends", null, false));
        KafkaConsumer<byte[], byte[]> stable =
            Clients.consumer(Clients.consumerProperties("stable-ends", null, true))) {
      for (TopicPartition partition : asked) {
        long end = bound(all, partition, false);
        long stableEnd = bound(stable, partition, false);
        while (stableEnd < end) {
          if (nowUs() > untilUs) {
            say("a transaction stays open: " + partition + " is stable up to " + stableEnd + " of " + end);
            return false;
          }
          pause(100);
          stableEnd = bound(stable, partition, false);
        }
      }
      return true;
    }
  }

  static void finalRead(
      int client,
      TopicPartition partition,
      long begin,
      long end,
      List<ConsumerRecord<byte[], byte[]>> chunk,
      boolean committed) {
    history.write(
        "final_read",
        "\"topic\":\"" + partition.topic() + "\",\"partition\":" + partition.partition()
            + ",\"begin_offset\":" + begin + ",\"end_offset\":" + end
            + ",\"records\":" + Payloads.records(client, partition, chunk)
            + (committed ? ",\"read_committed\":true" : ""));
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
        History.note("bounds of " + partition + ": " + error);
        pause(500);
      }
    }
  }
}
