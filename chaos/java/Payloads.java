package dev.foz.chaos;

import static dev.foz.chaos.Workload.*;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;

/** Values and their bytes. */
final class Payloads {
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
            History.fields(client, partition) + ",\"offset\":" + record.offset()
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

  /** What these records stand for. */
  static String values(List<ConsumerRecord<byte[], byte[]>> records) {
    StringBuilder values = new StringBuilder("[");
    String comma = "";
    for (ConsumerRecord<byte[], byte[]> record : records) {
      values.append(comma).append(ByteBuffer.wrap(record.value()).getLong());
      comma = ",";
    }
    return values.append(']').toString();
  }
}
