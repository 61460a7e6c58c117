package dev.foz.chaos;

import static dev.foz.chaos.Workload.*;

import java.util.Properties;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** How consumers and producers are configured. */
final class Clients {
  /** A client with a number of its own. */
  static int told(String name, boolean committed) {
    int client = nextClient.getAndIncrement();
    history.write(
        "client",
        "\"client\":" + client + ",\"name\":\"" + name + "\"" + (committed ? ",\"read_committed\":true" : ""));
    return client;
  }

  static KafkaConsumer<byte[], byte[]> consumer(Properties properties) {
    return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
  }

  static Properties consumerProperties(String name, String group, boolean committed) {
    Properties properties = client(name);
    if (committed) properties.put("isolation.level", "read_committed");
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
}
