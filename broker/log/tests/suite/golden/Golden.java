// Makes the files beside it with Apache Kafka's own classes (kafka-tools 4.3.1 and what it needs):
//   java -cp '<jars>/*' Golden.java <directory>
import java.io.File;
import java.util.Optional;
import java.util.Properties;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.storage.internals.log.*;

public class Golden {
    public static void main(String[] args) throws Exception {
        File dir = new File(args[0]);
        dir.mkdirs();
        Properties properties = new Properties();
        properties.put("index.interval.bytes", "300");
        LogConfig config = new LogConfig(properties);
        LogSegment segment = LogSegment.open(dir, 0L, config, Time.SYSTEM, 0, false);
        ProducerStateManager producers = new ProducerStateManager(
            new TopicPartition("orders", 0), dir, 900000,
            new ProducerStateManagerConfig(86400000, false), Time.SYSTEM);
        long offset = 0;
        int[] sequences = new int[3];
        for (int n = 0; n < 40; n++) {
            SimpleRecord[] records = new SimpleRecord[1 + n % 4];
            for (int i = 0; i < records.length; i++) {
                // Times fall now and then, within a batch and from batch to batch.
                long timestamp = 1700000000000L + n * 10 - (n % 5) * 15 + i;
                byte[] key = i % 2 == 0 ? null : ("k" + i).getBytes();
                records[i] = new SimpleRecord(timestamp, key, ("value-" + n + "-" + i).getBytes());
            }
            long id = 100 + n % 3;
            MemoryRecords batch = MemoryRecords.withIdempotentRecords((byte) 2, offset,
                Compression.NONE, id, (short) 1, sequences[n % 3], 5, records);
            sequences[n % 3] += records.length;
            offset += records.length;
            segment.append(offset - 1, batch);
            for (RecordBatch one : batch.batches()) {
                ProducerAppendInfo info = producers.prepareUpdate(id, AppendOrigin.CLIENT);
                info.append(one, Optional.empty());
                producers.update(info);
                producers.updateMapEndOffset(offset);
            }
        }
        producers.takeSnapshot();
        segment.onBecomeInactiveSegment();
        segment.close();
    }
}
