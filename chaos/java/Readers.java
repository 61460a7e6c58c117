package dev.foz.chaos;

import static dev.foz.chaos.Workload.*;

import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;

/** Consumers while the faults are on. */
final class Readers {
  /** Reads these partitions as they grow. */
  static void readAssigned(String name, List<TopicPartition> assigned, boolean committed) {
    int client = Clients.told(name, committed);
    try (KafkaConsumer<byte[], byte[]> consumer =
        Clients.consumer(Clients.consumerProperties(name, null, committed))) {
      consumer.assign(assigned);
      consumer.seekToBeginning(assigned);
      History.assignment("assigned", client, assigned);
      while (consuming) {
        poll(consumer, client);
      }
    }
  }

  /** Reads as a member of a group, and commits about every second. */
  static void readInGroup(String name) {
    while (consuming) {
      int client = Clients.told(name, false);
      try (KafkaConsumer<byte[], byte[]> consumer =
          Clients.consumer(Clients.consumerProperties(name, "chaos", false))) {
        consumer.subscribe(counters.keySet(), new Rebalances(consumer, client, "chaos"));
        long committedUs = nowUs();
        while (consuming) {
          poll(consumer, client);
          if (nowUs() - committedUs > 1_000_000) {
            commit(consumer, client);
            committedUs = nowUs();
          }
        }
      } catch (Exception error) {
        History.note(name + ": " + error);
        pause(500);
      }
    }
  }

  static class Rebalances implements ConsumerRebalanceListener {
    final KafkaConsumer<byte[], byte[]> consumer;
    final int client;
    final String group;

    Rebalances(KafkaConsumer<byte[], byte[]> consumer, int client, String group) {
      this.consumer = consumer;
      this.client = client;
      this.group = group;
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
      History.assignment("revoked", client, revoked);
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
      History.assignment("assigned", client, assigned);
      long askedUs = nowUs();
      try {
        Map<TopicPartition, OffsetAndMetadata> committed =
            consumer.committed(new java.util.HashSet<>(assigned), Duration.ofSeconds(5));
        for (TopicPartition partition : assigned) {
          OffsetAndMetadata offset = committed.get(partition);
          history.write(
              "committed_offset",
              "\"asked_us\":" + askedUs + "," + History.fields(client, partition)
                  + ",\"group\":\"" + group + "\",\"offset\":" + (offset == null ? "null" : offset.offset()));
        }
      } catch (Exception error) {
        History.note("committed: " + error);
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
        History.note("position: " + error);
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
    committed(client, "chaos", askedUs, offsets, outcome);
  }

  /** What became of a commit of offsets. */
  static void committed(
      int client,
      String group,
      long askedUs,
      Map<TopicPartition, OffsetAndMetadata> offsets,
      String outcome) {
    for (Map.Entry<TopicPartition, OffsetAndMetadata> entry : offsets.entrySet()) {
      history.write(
          "offset_commit",
          "\"asked_us\":" + askedUs + "," + History.fields(client, entry.getKey())
              + ",\"group\":\"" + group + "\",\"offset\":" + entry.getValue().offset()
              + ",\"outcome\":\"" + outcome + "\"");
    }
  }

  /** Asks where each of these ends, over and over: that must never go back. */
  static void probeEnds(String name, List<TopicPartition> asked, boolean committed) {
    int client = Clients.told(name, committed);
    try (KafkaConsumer<byte[], byte[]> consumer =
        Clients.consumer(Clients.consumerProperties(name, null, committed))) {
      while (consuming) {
        for (TopicPartition partition : asked) {
          if (!consuming) return;
          long askedUs = nowUs();
          try {
            long end =
                consumer.endOffsets(List.of(partition), Duration.ofSeconds(3)).get(partition);
            history.write(
                "end_offset",
                "\"asked_us\":" + askedUs + "," + History.fields(client, partition) + ",\"offset\":" + end
                    + (committed ? ",\"read_committed\":true" : ""));
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
      History.note("poll: " + error);
      pause(500);
      return;
    }
    for (TopicPartition partition : polled.partitions()) {
      List<ConsumerRecord<byte[], byte[]>> records = polled.records(partition);
      for (int from = 0; from < records.size(); from += LINE_RECORDS_MAX) {
        int to = Math.min(records.size(), from + LINE_RECORDS_MAX);
        String text = Payloads.records(client, partition, records.subList(from, to));
        history.write("poll", History.fields(client, partition) + ",\"records\":" + text);
      }
    }
  }
}
