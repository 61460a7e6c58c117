package dev.foz.chaos;

import static dev.foz.chaos.Workload.*;

import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.FeatureUpdate;
import org.apache.kafka.clients.admin.UpdateFeaturesOptions;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Transactional producers: some transactions are committed, some aborted, some left open, some are ended too late. */
final class Transactions {
  /** Unique in the history. */
  static final AtomicLong next = new AtomicLong(1);
  static final int SENDS_MAX = 5;
  static final int SENT_TOGETHER_MAX = 20;
  /** What is left open is aborted by its coordinator after that, so that it does not outlast the run. */
  static final int TIMEOUT_MS = 6_000;
  /** One that asks for so long is given up; what became of its transaction is not known. */
  static final long END_LIMIT_US = 60_000_000;

  /** Makes transaction.version what it is to be, before anybody has a transaction. */
  static void speak(int version) throws Exception {
    Properties properties = Clients.client("features");
    try (Admin admin = Admin.create(properties)) {
      long untilUs = nowUs() + 60_000_000;
      while (true) {
        try {
          short level = (short) version;
          var features = admin.describeFeatures().featureMetadata().get().finalizedFeatures();
          var now = features.get("transaction.version");
          if (now != null && now.maxVersionLevel() == level) return;
          boolean up = now == null || now.maxVersionLevel() < level;
          var type = up ? FeatureUpdate.UpgradeType.UPGRADE : FeatureUpdate.UpgradeType.SAFE_DOWNGRADE;
          var update = Map.of("transaction.version", new FeatureUpdate(level, type));
          admin.updateFeatures(update, new UpdateFeaturesOptions()).all().get();
        } catch (ExecutionException error) {
          if (nowUs() > untilUs) throw error;
          pause(200);
        }
      }
    }
  }

  /**
   * One transaction after the other until told to stop. Who is abandoned, or fails, is followed by another of the same
   * transactional id; who retires, by one of a new id: nothing that comes later mends what was kept of it.
   */
  static void produce(String name) {
    Random random = new Random(name.hashCode());
    Open abandoned = null;
    String id = null;
    while (producing) {
      int client = Clients.told(name, false);
      if (id == null) id = name + "-" + client;
      LateEnds late = new LateEnds(id);
      LateEnds.Held held = null;
      KafkaProducer<byte[], byte[]> producer = producer(id, client);
      try {
        init(producer);
        if (abandoned != null) abandoned.endTooLate();
        abandoned = null;
        while (producing && abandoned == null) {
          Open open = begin(producer, client, random);
          if (held != null) late.arrive(held);
          held = null;
          int what = random.nextInt(100);
          if (what >= 6 && random.nextInt(100) < 20) held = late.hold(producer, what >= 25);
          if (what < 5) abandoned = open;
          // Its coordinator aborts it meanwhile, mostly.
          if (what == 5) pause(TIMEOUT_MS + 1_000);
          boolean ended = what < 5 || (what < 25 ? open.abort() : open.commit());
          open.acks.flush();
          if (!ended) break;
          if (abandoned == null && random.nextInt(100) < 10) {
            id = null;
            break;
          }
          pause(random.nextInt(20));
        }
      } catch (Exception error) {
        History.note(name + ": " + error);
        pause(200);
      } finally {
        late.close();
        // Who abandoned one wants to end it when another has its id.
        if (abandoned == null || abandoned.producer != producer) producer.close(Duration.ZERO);
      }
    }
  }

  static Open begin(KafkaProducer<byte[], byte[]> producer, int client, Random random) {
    producer.beginTransaction();
    Open open = new Open(producer, client);
    int sends = 1 + random.nextInt(SENDS_MAX);
    for (int sent = 0; sent < sends; sent++) {
      TopicPartition partition = written.get(random.nextInt(written.size()));
      int count = 1 + random.nextInt(SENT_TOGETHER_MAX);
      Producers.send(producer, client, partition, count, ",\"transaction\":" + open.id, open.acks);
      pause(random.nextInt(20));
    }
    return open;
  }

  /** As often as it takes: a broker that is away is no reason to give up. */
  static void init(KafkaProducer<byte[], byte[]> producer) {
    long untilUs = nowUs() + END_LIMIT_US;
    while (true) {
      try {
        producer.initTransactions();
        return;
      } catch (TimeoutException error) {
        if (nowUs() > untilUs) throw error;
      }
    }
  }

  static KafkaProducer<byte[], byte[]> producer(String id, int client) {
    Properties properties = Producers.properties(id + "-" + client);
    properties.put("transactional.id", id);
    properties.put("transaction.timeout.ms", String.valueOf(TIMEOUT_MS));
    properties.put("max.block.ms", "10000");
    return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
  }

  /** A transaction that was begun. */
  static final class Open {
    final KafkaProducer<byte[], byte[]> producer;
    final int client;
    final long id = next.getAndIncrement();
    final Producers.Acks acks;
    boolean isCommitted;

    Open(KafkaProducer<byte[], byte[]> producer, int client) {
      this.producer = producer;
      this.client = client;
      acks = new Producers.Acks(client);
    }

    /** False: this producer is of no more use. */
    boolean commit() {
      step("committing");
      long untilUs = nowUs() + END_LIMIT_US;
      while (true) {
        try {
          producer.commitTransaction();
          acks.flush();
          step("committed");
          isCommitted = true;
          return true;
        } catch (TimeoutException error) {
          // Whether it is committed is not known yet, and may be asked again.
          if (nowUs() > untilUs) return unknown(error);
        } catch (KafkaException error) {
          // Nothing was committed where it may be aborted now.
          History.note("commit of " + id + ": " + error);
          return abort();
        }
      }
    }

    boolean abort() {
      step("aborting");
      long untilUs = nowUs() + END_LIMIT_US;
      while (true) {
        try {
          producer.abortTransaction();
          acks.flush();
          step("aborted");
          return true;
        } catch (TimeoutException error) {
          if (nowUs() > untilUs) return unknown(error);
        } catch (KafkaException error) {
          return unknown(error);
        }
      }
    }

    /** Another has the transactional id: that one's coordinator has aborted this. */
    void endTooLate() {
      step("committing");
      try {
        producer.commitTransaction();
        step("committed");
      } catch (KafkaException error) {
        History.note("late commit of " + id + ": " + error);
        step("aborted");
      }
      acks.flush();
      producer.close(Duration.ZERO);
    }

    private boolean unknown(KafkaException error) {
      History.note("end of " + id + ": " + error);
      acks.flush();
      step("unknown");
      return false;
    }

    private void step(String step) {
      history.write(
          "transaction",
          "\"client\":" + client + ",\"transaction\":" + id + ",\"step\":\"" + step + "\"");
    }
  }
}
