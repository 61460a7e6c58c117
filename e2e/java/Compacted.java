import java.time.Duration;
import java.util.ArrayList;
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
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Writes the same keys again and again, and checks what a compacted topic keeps of them.
 *
 * <p>What is the newest value of a key follows from the count. A fifth of the keys is deleted at the end. What is written
 * after that, of one key, closes the segments, for the newest one is never compacted.
 *
 * <p>Usage: produce BOOTSTRAP TOPIC COUNT | consume BOOTSTRAP TOPIC COUNT MOST
 *
 * <p>The last one reads the topic from its beginning until there are no more than MOST records in it.
 */
public class Compacted {
  static final int PARTITIONS = 2;
  static final int KEYS = 500;
  static final String[] CODECS = {"none", "lz4", "zstd"};
  static final String FILLER = "filler";
  static final int FILLER_BYTES = 1_000;
  static final int FILLERS = 2_500;
  static final Duration PATIENCE = Duration.ofSeconds(100);

  static boolean isDeletion(int number, int count) {
    return number >= count - KEYS && number % 5 == 0;
  }

  static String key(int number) {
    return "key-" + number % KEYS;
  }

  public static void main(String[] arguments) throws Exception {
    String bootstrap = arguments[1];
    String topic = arguments[2];
    int count = Integer.parseInt(arguments[3]);
    switch (arguments[0]) {
      case "produce" -> produce(bootstrap, topic, count);
      case "consume" -> consume(bootstrap, topic, count, Integer.parseInt(arguments[4]));
      default -> throw new IllegalArgumentException(arguments[0]);
    }
  }

  /** A round of all keys by one codec, the next by the next: each is acknowledged before the next begins. */
  static void produce(String bootstrap, String topic, int count) throws Exception {
    List<KafkaProducer<String, String>> producers = new ArrayList<>();
    for (String codec : CODECS) {
      Properties properties = new Properties();
      properties.put("bootstrap.servers", bootstrap);
      properties.put("compression.type", codec);
      properties.put("linger.ms", "5");
      properties.put("acks", "all");
      producers.add(
          new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer()));
    }
    for (int first = 0; first < count; first += KEYS) {
      KafkaProducer<String, String> producer = producers.get(first / KEYS % CODECS.length);
      List<Future<RecordMetadata>> sent = new ArrayList<>();
      for (int number = first; number < first + KEYS; number++) {
        String value = isDeletion(number, count) ? null : number + " " + "v".repeat(number % 90);
        sent.add(
            producer.send(
                new ProducerRecord<>(topic, number % PARTITIONS, key(number), value)));
      }
      for (Future<RecordMetadata> future : sent) future.get();
    }
    Random random = new Random(1);
    for (int filler = 0; filler < FILLERS * PARTITIONS; filler++) {
      StringBuilder value = new StringBuilder();
      while (value.length() < FILLER_BYTES) value.append((char) ('a' + random.nextInt(26)));
      producers
          .get(0)
          .send(new ProducerRecord<>(topic, filler % PARTITIONS, FILLER, value.toString()));
    }
    producers.forEach(KafkaProducer::close);
    System.out.println("acknowledged " + count);
  }

  static void consume(String bootstrap, String topic, int count, int most) throws Exception {
    Properties properties = new Properties();
    properties.put("bootstrap.servers", bootstrap);
    List<TopicPartition> partitions = new ArrayList<>();
    for (int partition = 0; partition < PARTITIONS; partition++) {
      partitions.add(new TopicPartition(topic, partition));
    }
    long begun = System.nanoTime();
    try (KafkaConsumer<String, String> consumer =
        new KafkaConsumer<>(properties, new StringDeserializer(), new StringDeserializer())) {
      consumer.assign(partitions);
      int records = read(consumer, partitions, count);
      while (records > most) {
        if (System.nanoTime() - begun > PATIENCE.toNanos()) {
          fail("there are still " + records + " records, more than " + most);
        }
        Thread.sleep(2_000);
        records = read(consumer, partitions, count);
      }
      System.out.println("kept " + records);
    }
  }

  /** From the beginning to the end: how many records there are. */
  static int read(
      KafkaConsumer<String, String> consumer, List<TopicPartition> partitions, int count) {
    Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
    consumer.seekToBeginning(partitions);
    Map<String, Integer> newest = new HashMap<>();
    long[] next = new long[PARTITIONS];
    int records = 0;
    long begun = System.nanoTime();
    while (partitions.stream().anyMatch(it -> consumer.position(it) < ends.get(it))) {
      if (System.nanoTime() - begun > PATIENCE.toNanos()) fail("the end is not reached");
      for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofSeconds(1))) {
        records++;
        if (record.offset() < next[record.partition()]) fail(record + " is out of order");
        next[record.partition()] = record.offset() + 1;
        if (record.key().equals(FILLER)) continue;
        if (record.value() == null) {
          newest.remove(record.key());
          continue;
        }
        int number = Integer.parseInt(record.value().split(" ")[0]);
        if (!key(number).equals(record.key())) fail(record + " has the value of another key");
        // Without gaps, an offset is the number of the partition's records before it.
        if (record.offset() != number / PARTITIONS) fail(record + " has another offset");
        newest.put(record.key(), number);
      }
    }
    for (int number = count - KEYS; number < count; number++) {
      Integer expected = isDeletion(number, count) ? null : number;
      Integer found = newest.get(key(number));
      if (!java.util.Objects.equals(found, expected)) {
        fail(key(number) + " is " + found + ", not " + expected);
      }
    }
    return records;
  }

  static void fail(String what) {
    System.out.println(what);
    System.exit(1);
  }
}
