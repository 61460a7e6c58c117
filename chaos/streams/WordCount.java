package dev.foz.chaos.streams;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;

/**
 * Counts words exactly once: from lines through a repartition topic into a store with a changelog, and each new
 * count into the output. It runs until it is killed.
 *
 * <p>Arguments are name=value: bootstrap, application, client, lines, counts (topics), state (a folder).
 */
public class WordCount {
  static final String STORE = "counts";

  public static void main(String[] arguments) {
    Map<String, String> settings = settings(arguments);
    KafkaStreams streams =
        new KafkaStreams(topology(settings.get("lines"), settings.get("counts")), properties(settings));
    streams.setUncaughtExceptionHandler(
        error -> {
          // The runner counts these lines.
          System.err.println("thread replaced: " + error);
          error.printStackTrace();
          return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
    streams.start();
  }

  static Topology topology(String lines, String counts) {
    StreamsBuilder builder = new StreamsBuilder();
    builder.stream(lines, Consumed.with(Serdes.String(), Serdes.String()))
        .flatMapValues(line -> Arrays.asList(line.split(" ")))
        .groupBy((key, word) -> word, Grouped.with("words", Serdes.String(), Serdes.String()))
        .count(Materialized.as(STORE))
        .toStream()
        .to(counts, Produced.with(Serdes.String(), Serdes.Long()));
    return builder.build();
  }

  static Properties properties(Map<String, String> settings) {
    Properties properties = new Properties();
    properties.put(StreamsConfig.APPLICATION_ID_CONFIG, settings.get("application"));
    properties.put(StreamsConfig.CLIENT_ID_CONFIG, settings.get("client"));
    properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, settings.get("bootstrap"));
    properties.put(StreamsConfig.STATE_DIR_CONFIG, settings.get("state"));
    properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 3);
    properties.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
    properties.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.LongSerde.class);
    // Every count goes out, so that one that is missing or doubled shows.
    properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
    // One that was killed is missed soon; the least that brokers allow.
    properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), 6_000);
    properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG), 1_000);
    // A transaction has records for most of its life: whoever is killed leaves some that must not count.
    properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 500);
    properties.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 5);
    // A broker that does not answer is given up soon.
    properties.put(StreamsConfig.REQUEST_TIMEOUT_MS_CONFIG, 3_000);
    properties.put("reconnect.backoff.max.ms", "200");
    properties.put("socket.connection.setup.timeout.ms", "1000");
    properties.put("socket.connection.setup.timeout.max.ms", "2000");
    properties.put("enable.metrics.push", "false");
    return properties;
  }

  static Map<String, String> settings(String[] arguments) {
    Map<String, String> settings = new HashMap<>();
    for (String argument : arguments) {
      int at = argument.indexOf('=');
      settings.put(argument.substring(0, at), argument.substring(at + 1));
    }
    return settings;
  }
}
