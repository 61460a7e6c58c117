package dev.foz.chaos;

import static dev.foz.chaos.Workload.*;

import java.io.BufferedWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import org.apache.kafka.common.TopicPartition;

/** Lines in the order of their time. */
final class History {
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
}
