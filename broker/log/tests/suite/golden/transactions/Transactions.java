// Makes the files beside it with Apache Kafka's own classes (kafka-tools 4.3.1 and what it needs):
//   java -cp '<jars>/*' Transactions.java <directory>
import java.io.File;
import java.util.Optional;
import java.util.Properties;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.storage.internals.log.*;

public class Transactions {
    static final long NOW = 1700000000000L;
    static LogSegment segment;
    static ProducerStateManager producers;
    static long offset = 0;

    public static void main(String[] args) throws Exception {
        File dir = new File(args[0]);
        dir.mkdirs();
        Properties properties = new Properties();
        properties.put("index.interval.bytes", "300");
        segment = LogSegment.open(dir, 0L, new LogConfig(properties), Time.SYSTEM, 0, false);
        producers = new ProducerStateManager(new TopicPartition("orders", 0), dir, 900000,
            new ProducerStateManagerConfig(86400000, true), Time.SYSTEM);
        // transaction.version 1: one epoch for all transactions, sequences go on.
        data(200, 3, 0, 2);
        data(200, 3, 2, 1);
        marker(200, 3, false, 7, 1);
        data(200, 3, 3, 1);
        // 2: each marker raises the epoch, sequences begin anew. Several are open at once.
        data(201, 0, 0, 3);
        marker(200, 3, true, 7, 1);
        data(202, 5, 0, 1);
        marker(201, 1, false, 7, 2);
        data(201, 1, 0, 1);
        marker(202, 6, false, 8, 2);
        marker(201, 2, true, 8, 2);
        // The answer was lost, and the coordinator has moved.
        marker(201, 2, true, 9, 2);
        // Of a producer that wrote nothing here, and of one that is fenced.
        marker(203, 4, false, 9, 1);
        data(204, 1, 0, 1);
        marker(204, 2, false, 9, 1);
        // Open at the end, one of them in the epoch that a marker began.
        data(202, 6, 0, 2);
        data(200, 3, 4, 1);
        data(202, 6, 2, 1);
        producers.takeSnapshot();
        segment.onBecomeInactiveSegment();
        segment.close();
    }

    static void data(long id, int epoch, int sequence, int count) throws Exception {
        SimpleRecord[] records = new SimpleRecord[count];
        for (int i = 0; i < count; i++)
            records[i] = new SimpleRecord(NOW + offset + i, null, ("value-" + (offset + i)).getBytes());
        append(MemoryRecords.withTransactionalRecords(offset, Compression.NONE, id, (short) epoch,
            sequence, 5, records), id, AppendOrigin.CLIENT, -1);
    }

    static void marker(long id, int epoch, boolean commit, int coordinatorEpoch, int version) throws Exception {
        ControlRecordType type = commit ? ControlRecordType.COMMIT : ControlRecordType.ABORT;
        append(MemoryRecords.withEndTransactionMarker(offset, NOW + offset, 5, id, (short) epoch,
            new EndTransactionMarker(type, coordinatorEpoch)), id, AppendOrigin.COORDINATOR, version);
    }

    /** As UnifiedLog does. */
    static void append(MemoryRecords records, long id, AppendOrigin origin, int version) throws Exception {
        for (RecordBatch batch : records.batches()) {
            ProducerAppendInfo info = producers.prepareUpdate(id, origin);
            Optional<CompletedTxn> completed = info.append(batch, Optional.empty(), (short) version);
            segment.append(batch.lastOffset(), records);
            producers.update(info);
            if (completed.isPresent()) {
                segment.updateTxnIndex(completed.get(), producers.lastStableOffset(completed.get()));
                producers.completeTxn(completed.get());
            }
            offset = batch.nextOffset();
            producers.updateMapEndOffset(offset);
        }
    }
}
