import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Produces messages of every kind and checks that they come back byte for byte.
 *
 * <p>A message is a function of its number: sizes from 0 bytes to 1 MB, absent keys and values,
 * headers, timestamps, each compression codec. So a consumer in another process, after whatever has
 * happened to the brokers in between, knows what it must find.
 *
 * <p>Usage: produce BOOTSTRAP TOPIC COUNT | consume BOOTSTRAP TOPIC COUNT |
 * produce-until-input-ends BOOTSTRAP TOPIC MESSAGES_PER_SECOND
 *
 * <p>The last one sends until its standard input ends, and says how many messages there were.
 */
public class Messages {
  static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};
  static final long FIRST_TIMESTAMP_MS = 1_700_000_000_000L;
  static final Duration SILENCE_MAX = Duration.ofSeconds(30);

  record Message(byte[] key, byte[] value, byte[] header, long timestampMs) {}

  static Message message(int number) {
    Random random = new Random(number);
    byte[] key = number % 3 == 0 ? null : ("key-" + number).getBytes(StandardCharsets.UTF_8);
    byte[] value = number % 11 == 0 ? null : bytes(random, size(number), number % 2 == 0);
    byte[] header = number % 5 == 1 ? null : bytes(random, number % 40, false);
    return new Message(key, value, header, FIRST_TIMESTAMP_MS + number);
  }

  static int size(int number) {
    if (number % 500 == 1) return 1_000_000;
    if (number % 50 == 1) return 20_000;
    if (number % 7 == 0) return 0;
    return number % 1000;
  }

  static byte[] bytes(Random random, int size, boolean compressible) {
    byte[] bytes = new byte[size];
    if (compressible) {
      Arrays.fill(bytes, (byte) random.nextInt());
    } else {
      random.nextBytes(bytes);
    }
    return bytes;
  }

  static byte[] numberHeader(int number) {
    return ByteBuffer.allocate(4).putInt(number).array();
  }

  public static void main(String[] arguments) throws Exception {
    String bootstrap = arguments[1];
    String topic = arguments[2];
    int number = Integer.parseInt(arguments[3]);
    switch (arguments[0]) {
      case "produce" -> produce(bootstrap, topic, number, 0);
      case "produce-until-input-ends" -> {
        endWithInput();
        produce(bootstrap, topic, Integer.MAX_VALUE, number);
      }
      case "consume" -> consume(bootstrap, topic, number);
      default -> throw new IllegalArgumentException(arguments[0]);
    }
  }

  static volatile boolean inputHasEnded = false;

  static void endWithInput() {
    Thread reader =
        new Thread(
            () -> {
              try {
                while (System.in.read() != -1) {}
              } catch (IOException ended) {
                // As good as its end.
              }
              inputHasEnded = true;
            });
    reader.setDaemon(true);
    reader.start();
  }

  /**
   * One producer for each codec; a message's number decides its producer and its partition. As fast as it goes where
   * perSecond is 0.
   */
  static void produce(String bootstrap, String topic, int most, long perSecond) throws Exception {
    List<Future<RecordMetadata>> sent = new ArrayList<>();
    List<KafkaProducer<byte[], byte[]>> producers = new ArrayList<>();
    for (String codec : CODECS) {
      Properties properties = new Properties();
      properties.put("bootstrap.servers", bootstrap);
      properties.put("compression.type", codec);
      properties.put("linger.ms", "5");
      properties.put("acks", "all");
      producers.add(
          new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer()));
    }
    int partitions = producers.get(0).partitionsFor(topic).size();
    long begun = System.nanoTime();
    for (int number = 0; number < most && !inputHasEnded; number++) {
      if (perSecond > 0) {
        long due = begun + 1_000_000_000L / perSecond * number;
        while (System.nanoTime() - due < 0) Thread.sleep(1);
      }
      Message message = message(number);
      int partition = number / CODECS.length % partitions;
      ProducerRecord<byte[], byte[]> record =
          new ProducerRecord<>(
              topic, partition, message.timestampMs(), message.key(), message.value());
      record.headers().add(new RecordHeader("number", numberHeader(number)));
      record.headers().add(new RecordHeader("any", message.header()));
      sent.add(producers.get(number % CODECS.length).send(record));
    }
    for (Future<RecordMetadata> future : sent) future.get();
    producers.forEach(KafkaProducer::close);
    System.out.println("acknowledged " + sent.size());
  }

  static void consume(String bootstrap, String topic, int count) {
    Properties properties = new Properties();
    properties.put("bootstrap.servers", bootstrap);
    properties.put("max.partition.fetch.bytes", "4000000");
    boolean[] seen = new boolean[count];
    int found = 0;
    Map<Integer, Integer> lastOfStream = new HashMap<>();
    try (KafkaConsumer<byte[], byte[]> consumer =
        new KafkaConsumer<>(
            properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
      List<TopicPartition> partitions = new ArrayList<>();
      for (PartitionInfo info : consumer.partitionsFor(topic)) {
        partitions.add(new TopicPartition(topic, info.partition()));
      }
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      long lastFound = System.nanoTime();
      while (found < count) {
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
          lastFound = System.nanoTime();
          int number = ByteBuffer.wrap(record.headers().lastHeader("number").value()).getInt();
          check(record, number);
          if (seen[number]) fail(number, "came twice");
          seen[number] = true;
          found++;
          // A producer's messages to one partition keep their order.
          int stream = record.partition() * CODECS.length + number % CODECS.length;
          Integer last = lastOfStream.put(stream, number);
          if (last != null && last > number) fail(number, "came after " + last);
        }
        if (System.nanoTime() - lastFound > SILENCE_MAX.toNanos()) {
          int missing = 0;
          while (seen[missing]) missing++;
          fail(missing, "is missing; " + found + " of " + count + " came");
        }
      }
    }
    System.out.println("verified " + count);
  }

  static void check(ConsumerRecord<byte[], byte[]> record, int number) {
    Message expected = message(number);
    Header any = record.headers().lastHeader("any");
    if (!Arrays.equals(record.key(), expected.key())) fail(number, "has another key");
    if (!Arrays.equals(record.value(), expected.value())) fail(number, "has another value");
    if (!Arrays.equals(any.value(), expected.header())) fail(number, "has another header");
    if (record.timestamp() != expected.timestampMs()) fail(number, "has another timestamp");
  }

  static void fail(int number, String what) {
    System.out.println("message " + number + " " + what);
    System.exit(1);
  }
}
