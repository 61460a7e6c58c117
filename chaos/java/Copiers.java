package dev.foz.chaos;

import static dev.foz.chaos.Workload.*;

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;

/** Consume-transform-produce: members of a group copy what was committed, each value once. */
final class Copiers {
  private static final String GROUP = "copiers";
  private static final long FINISH_LIMIT_US = 90_000_000;
  private static final int COPIED_TOGETHER_MAX = 500;
  /** Copied to their end, since nothing is written any more. */
  private static final Set<TopicPartition> finished = ConcurrentHashMap.newKeySet();
  private static volatile boolean copying = true;

  static void copy(String name) {
    while (copying) {
      int client = Clients.told(name, true);
      Properties properties = Clients.consumerProperties(name, GROUP, true);
      properties.put("max.poll.records", String.valueOf(COPIED_TOGETHER_MAX));
      try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(properties);
          KafkaProducer<byte[], byte[]> producer = Transactions.producer(name, client)) {
        Transactions.init(producer);
        consumer.subscribe(
            List.of(settings.get("transactions")), new Readers.Rebalances(consumer, client, GROUP));
        boolean usable = true;
        while (copying && usable) {
          ConsumerRecords<byte[], byte[]> polled = consumer.poll(Duration.ofMillis(200));
          if (!polled.isEmpty()) usable = copy(consumer, producer, client, polled);
          else if (!producing) finished(consumer);
        }
      } catch (Exception error) {
        History.note(name + ": " + error);
        pause(500);
      }
    }
  }

  /** In one transaction with their offsets. False: begin anew, from what is committed. */
  static boolean copy(
      KafkaConsumer<byte[], byte[]> consumer,
      KafkaProducer<byte[], byte[]> producer,
      int client,
      ConsumerRecords<byte[], byte[]> polled) {
    producer.beginTransaction();
    Transactions.Open open = new Transactions.Open(producer, client);
    Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
    for (TopicPartition partition : polled.partitions()) {
      List<ConsumerRecord<byte[], byte[]>> records = polled.records(partition);
      String text = Payloads.records(client, partition, records);
      history.write(
          "poll",
          History.fields(client, partition) + ",\"records\":" + text + ",\"transaction\":" + open.id);
      String sources =
          ",\"transaction\":" + open.id
              + ",\"sources\":{\"topic\":\"" + partition.topic() + "\",\"values\":" + Payloads.values(records) + "}";
      TopicPartition to = new TopicPartition(settings.get("copies"), partition.partition());
      Producers.send(producer, client, to, records.size(), sources, open.acks);
      offsets.put(partition, new OffsetAndMetadata(records.get(records.size() - 1).offset() + 1));
    }
    long askedUs = nowUs();
    boolean committed = false;
    try {
      producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
      committed = open.commit() && open.isCommitted;
    } catch (KafkaException error) {
      History.note("offsets of " + open.id + ": " + error);
      open.abort();
    }
    open.acks.flush();
    Readers.committed(client, GROUP, askedUs, offsets, committed ? "ok" : "unknown");
    return committed;
  }

  /** Whether all that is assigned is read to its end. */
  private static void finished(KafkaConsumer<byte[], byte[]> consumer) {
    Set<TopicPartition> assigned = consumer.assignment();
    Map<TopicPartition, Long> ends = consumer.endOffsets(assigned, Duration.ofSeconds(5));
    for (TopicPartition partition : assigned) {
      if (consumer.position(partition, Duration.ofSeconds(5)) >= ends.get(partition)) {
        finished.add(partition);
      }
    }
  }

  /** When nothing is produced any more: no transaction stays open, and everything is copied. */
  static void finish() {
    long untilUs = nowUs() + FINISH_LIMIT_US;
    boolean stable = FinalReader.awaitStable(written, untilUs);
    finished.clear();
    while (stable && !finished.containsAll(written) && nowUs() < untilUs) pause(50);
    boolean all = stable && finished.containsAll(written);
    copying = false;
    if (all) {
      String source = settings.get("transactions");
      history.write(
          "drained", "\"source\":\"" + source + "\",\"output\":\"" + settings.get("copies") + "\"");
    } else {
      say("not everything was copied: finished are " + finished);
    }
  }
}
