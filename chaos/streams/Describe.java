package dev.foz.chaos.streams;

import static dev.foz.chaos.streams.Words.*;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** How far everything is, on standard error: for people who look for what is stuck. */
final class Describe {
  static void describe() throws Exception {
    String application = settings.get("application");
    List<TopicPartition> all = new ArrayList<>();
    for (String topic :
        List.of(
            settings.get("lines"),
            application + "-words-repartition",
            application + "-" + WordCount.STORE + "-changelog",
            settings.get("counts"))) {
      all.addAll(Check.partitionsOf(topic, partitions));
    }
    Map<TopicPartition, Long> stable = ends(all, "read_committed");
    Map<TopicPartition, Long> ends = ends(all, "read_uncommitted");
    Properties properties = client("describe");
    properties.put("request.timeout.ms", "5000");
    properties.put("default.api.timeout.ms", "10000");
    try (Admin admin = Admin.create(properties)) {
      Map<TopicPartition, OffsetAndMetadata> committed =
          admin.listConsumerGroupOffsets(application).partitionsToOffsetAndMetadata().get();
      var producers = admin.describeProducers(all).all().get();
      for (TopicPartition partition : all) {
        OffsetAndMetadata offset = committed.get(partition);
        StringBuilder line = new StringBuilder("described " + partition);
        line.append(": stable up to ").append(stable.get(partition)).append(", ends at ").append(ends.get(partition));
        line.append(", committed is ").append(offset == null ? "nothing" : offset.offset());
        producers.get(partition).activeProducers().stream()
            .filter(producer -> producer.currentTransactionStartOffset().isPresent())
            .forEach(producer -> line.append("; open is ").append(producer));
        System.err.println(line);
      }
      System.err.println("described group: " + admin.describeConsumerGroups(List.of(application)).all().get());
    }
  }

  private static Map<TopicPartition, Long> ends(List<TopicPartition> partitions, String isolation) {
    Properties properties = Counts.properties("describe");
    properties.put("isolation.level", isolation);
    try (KafkaConsumer<String, Long> consumer = Counts.consumer(properties)) {
      return consumer.endOffsets(partitions);
    }
  }
}
