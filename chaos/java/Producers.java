package dev.foz.chaos;

import static dev.foz.chaos.Workload.*;

import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Idempotent producers, and what they are told. */
final class Producers {
  /** Sends at its share of the rate until told to stop; a producer that failed once is made anew. */
  static void produce(String name) {
    double perMicro = number("rate") / (double) number("producers") / 1e6;
    // Some milliseconds' worth goes to one partition: one line of the history.
    long dueMin = Math.max(1, (long) (perMicro * 5_000));
    // Enough to keep every partition busy, few enough to be remembered while one has no leader.
    long inFlightMax = Math.max(1000, number("rate"));
    while (producing) {
      int client = Clients.told(name, false);
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
          TopicPartition partition = plain.get(next++ % plain.size());
          int index = indexes.get(partition);
          sent += share;
          // What a partition without leader misses is not made up for later.
          if (inFlight.get(index) > inFlightMax / plain.size()) {
            acks.flushOld();
            if (next % plain.size() == 0) pause(1);
            continue;
          }
          send(producer, client, partition, share, "", acks);
        }
        // Closing waits for what is in flight, up to the delivery time-out.
        producer.close(Duration.ofMillis(number("delivery_timeout_ms") + 5_000));
      } catch (Exception error) {
        History.note(name + ": " + error);
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
      String fields,
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
    history.write("send", History.fields(client, partition) + ",\"values\":[" + values + "]" + fields);
    for (int at = 0; at < count; at++) {
      long value = first + at;
      ProducerRecord<byte[], byte[]> record =
          new ProducerRecord<>(
              partition.topic(), partition.partition(), null, Payloads.payload(partition, value));
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
    return new KafkaProducer<>(properties(name), new ByteArraySerializer(), new ByteArraySerializer());
  }

  static Properties properties(String name) {
    Properties properties = Clients.client(name);
    properties.put("acks", "all");
    properties.put("enable.idempotence", "true");
    properties.put("delivery.timeout.ms", settings.get("delivery_timeout_ms"));
    properties.put("request.timeout.ms", settings.get("request_timeout_ms"));
    properties.put("max.block.ms", "60000");
    properties.put("linger.ms", "5");
    properties.put("batch.size", "32768");
    properties.put("buffer.memory", "67108864");
    return properties;
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
      String text = History.quote(error.getClass().getSimpleName() + ": " + error.getMessage());
      history.write(
          "fail",
          History.fields(client, of) + ",\"values\":[" + value + "],\"error\":" + text + ",\"definite\":false");
    }

    synchronized void flushOld() {
      if (count > 0 && nowUs() - sinceUs > ACK_LINE_US_MAX) flush();
    }

    synchronized void flush() {
      if (count == 0) return;
      history.write(
          "ack",
          History.fields(client, partition) + ",\"values\":[" + values + "],\"offsets\":[" + offsets + "]");
      values.setLength(0);
      offsets.setLength(0);
      count = 0;
    }
  }
}
