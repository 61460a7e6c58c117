// Prints golden.txt with Apache Kafka's own classes:
//   java -cp '<jars>/*' Golden.java > golden.txt
// The jars, of Kafka 4.3.1: kafka-clients and its test jar (classifier test), kafka-group-coordinator,
// kafka-group-coordinator-api, kafka-coordinator-common, kafka-transaction-coordinator, kafka-server-common,
// and slf4j-api.
// A line is: label, version, bytes in hex. The Rust files beside this one have the same values.
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Set;
import java.nio.ByteBuffer;
import org.apache.kafka.clients.consumer.internals.ConsumerProtocol;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.utils.LogContext;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.coordinator.common.runtime.CoordinatorRecord;
import org.apache.kafka.coordinator.group.GroupCoordinatorRecordHelpers;
import org.apache.kafka.coordinator.group.GroupCoordinatorRecordSerde;
import org.apache.kafka.coordinator.group.OffsetAndMetadata;
import org.apache.kafka.coordinator.group.classic.ClassicGroup;
import org.apache.kafka.coordinator.group.classic.ClassicGroupMember;
import org.apache.kafka.coordinator.group.classic.ClassicGroupState;
import org.apache.kafka.coordinator.group.generated.*;
import org.apache.kafka.coordinator.group.modern.MemberState;
import org.apache.kafka.coordinator.group.modern.consumer.ConsumerGroupMember;
import org.apache.kafka.coordinator.group.modern.consumer.ResolvedRegularExpression;
import org.apache.kafka.coordinator.transaction.TransactionLog;
import org.apache.kafka.coordinator.transaction.TransactionMetadata;
import org.apache.kafka.coordinator.transaction.TransactionState;
import org.apache.kafka.coordinator.transaction.TxnTransitMetadata;
import org.apache.kafka.coordinator.transaction.generated.*;
import org.apache.kafka.server.common.TransactionVersion;

public class Golden {
    static final Uuid ID = new Uuid(0x0102030405060708L, 0x090a0b0c0d0e0f10L);

    public static void main(String[] args) {
        clients();
        group();
        transaction();
        tests();
    }

    static void clients() {
        line("ControlRecordTypeSchema abort", 0, bytes(ControlRecordType.ABORT.recordKey()));
        line("ControlRecordTypeSchema commit", 0, bytes(ControlRecordType.COMMIT.recordKey()));
        body("EndTxnMarker full", 0, new EndTxnMarker().setCoordinatorEpoch(7));
        line("EndTxnMarker written", 0,
            bytes(new EndTransactionMarker(ControlRecordType.COMMIT, 258).serializeValue()));
        for (int v = 0; v <= 3; v++) {
            ConsumerProtocolSubscription subscription = new ConsumerProtocolSubscription()
                .setTopics(List.of("orders", "p\u00e9ages"))
                .setUserData(ByteBuffer.wrap(new byte[] {1, 2, 3}));
            if (v >= 1) {
                subscription.ownedPartitions().add(new ConsumerProtocolSubscription.TopicPartition()
                    .setTopic("orders").setPartitions(List.of(0, 5)));
            }
            if (v >= 2) subscription.setGenerationId(9);
            if (v >= 3) subscription.setRackId("rack-1");
            prefixed("ConsumerProtocolSubscription full", v, subscription);
            prefixed("ConsumerProtocolSubscription empty", v, new ConsumerProtocolSubscription());
            ConsumerProtocolAssignment assignment = new ConsumerProtocolAssignment()
                .setUserData(ByteBuffer.wrap(new byte[] {4}));
            assignment.assignedPartitions().add(new ConsumerProtocolAssignment.TopicPartition()
                .setTopic("orders").setPartitions(List.of(3, 1)));
            prefixed("ConsumerProtocolAssignment full", v, assignment);
            prefixed("ConsumerProtocolAssignment empty", v, new ConsumerProtocolAssignment());
        }
        for (int v = 1; v <= 11; v++) {
            ListOffsetsRequestData.ListOffsetsPartition asked = new ListOffsetsRequestData.ListOffsetsPartition()
                .setPartitionIndex(3).setTimestamp(-6);
            if (v >= 4) asked.setCurrentLeaderEpoch(5);
            ListOffsetsRequestData request = new ListOffsetsRequestData().setReplicaId(-1)
                .setTopics(List.of(new ListOffsetsRequestData.ListOffsetsTopic()
                    .setName("orders").setPartitions(List.of(asked))));
            if (v >= 2) request.setIsolationLevel((byte) 1);
            if (v >= 10) request.setTimeoutMs(30000);
            body("ListOffsetsRequest full", v, request);
            ListOffsetsResponseData.ListOffsetsPartitionResponse told =
                new ListOffsetsResponseData.ListOffsetsPartitionResponse()
                    .setPartitionIndex(3).setErrorCode((short) 6).setTimestamp(1700000000123L).setOffset(42);
            if (v >= 4) told.setLeaderEpoch(5);
            ListOffsetsResponseData response = new ListOffsetsResponseData()
                .setTopics(List.of(new ListOffsetsResponseData.ListOffsetsTopicResponse()
                    .setName("orders").setPartitions(List.of(told))));
            if (v >= 2) response.setThrottleTimeMs(11);
            body("ListOffsetsResponse full", v, response);
        }
        for (int v = 2; v <= 10; v++) {
            OffsetCommitRequestData.OffsetCommitRequestPartition one =
                new OffsetCommitRequestData.OffsetCommitRequestPartition()
                    .setPartitionIndex(0).setCommittedOffset(42).setCommittedMetadata("m\u00e9");
            OffsetCommitRequestData.OffsetCommitRequestPartition two =
                new OffsetCommitRequestData.OffsetCommitRequestPartition()
                    .setPartitionIndex(1).setCommittedOffset(-1).setCommittedMetadata(null);
            if (v >= 6) one.setCommittedLeaderEpoch(8);
            OffsetCommitRequestData.OffsetCommitRequestTopic topic =
                new OffsetCommitRequestData.OffsetCommitRequestTopic().setPartitions(List.of(one, two));
            if (v >= 10) topic.setTopicId(ID); else topic.setName("orders");
            OffsetCommitRequestData request = new OffsetCommitRequestData().setGroupId("g")
                .setGenerationIdOrMemberEpoch(3).setMemberId("m-1").setTopics(List.of(topic));
            if (v >= 7) request.setGroupInstanceId("i-1");
            if (v <= 4) request.setRetentionTimeMs(60000);
            body("OffsetCommitRequest full", v, request);
            OffsetCommitResponseData.OffsetCommitResponseTopic answered =
                new OffsetCommitResponseData.OffsetCommitResponseTopic().setPartitions(List.of(
                    new OffsetCommitResponseData.OffsetCommitResponsePartition()
                        .setPartitionIndex(1).setErrorCode((short) 100)));
            if (v >= 10) answered.setTopicId(ID); else answered.setName("orders");
            OffsetCommitResponseData response = new OffsetCommitResponseData().setTopics(List.of(answered));
            if (v >= 3) response.setThrottleTimeMs(11);
            body("OffsetCommitResponse full", v, response);
        }
        for (int v = 1; v <= 10; v++) {
            OffsetFetchRequestData request = new OffsetFetchRequestData();
            OffsetFetchResponseData response = new OffsetFetchResponseData();
            if (v <= 7) {
                request.setGroupId("g").setTopics(List.of(new OffsetFetchRequestData.OffsetFetchRequestTopic()
                    .setName("orders").setPartitionIndexes(List.of(0, 2))));
                OffsetFetchResponseData.OffsetFetchResponsePartition partition =
                    new OffsetFetchResponseData.OffsetFetchResponsePartition()
                        .setPartitionIndex(2).setCommittedOffset(42).setMetadata("m").setErrorCode((short) 88);
                if (v >= 5) partition.setCommittedLeaderEpoch(8);
                response.setTopics(List.of(new OffsetFetchResponseData.OffsetFetchResponseTopic()
                    .setName("orders").setPartitions(List.of(partition))));
                if (v >= 2) response.setErrorCode((short) 14);
                if (v >= 2) {
                    body("OffsetFetchRequest of all topics", v,
                        new OffsetFetchRequestData().setGroupId("g").setTopics(null));
                }
            } else {
                OffsetFetchRequestData.OffsetFetchRequestTopics topic =
                    new OffsetFetchRequestData.OffsetFetchRequestTopics().setPartitionIndexes(List.of(0, 2));
                OffsetFetchResponseData.OffsetFetchResponseTopics told =
                    new OffsetFetchResponseData.OffsetFetchResponseTopics().setPartitions(List.of(
                        new OffsetFetchResponseData.OffsetFetchResponsePartitions()
                            .setPartitionIndex(2).setCommittedOffset(42).setCommittedLeaderEpoch(8)
                            .setMetadata(null).setErrorCode((short) 88)));
                if (v >= 10) topic.setTopicId(ID); else topic.setName("orders");
                if (v >= 10) told.setTopicId(ID); else told.setName("orders");
                OffsetFetchRequestData.OffsetFetchRequestGroup group =
                    new OffsetFetchRequestData.OffsetFetchRequestGroup().setGroupId("g").setTopics(List.of(topic));
                if (v >= 9) group.setMemberId("m-1").setMemberEpoch(4);
                request.setGroups(List.of(group,
                    new OffsetFetchRequestData.OffsetFetchRequestGroup().setGroupId("all").setTopics(null)));
                response.setGroups(List.of(new OffsetFetchResponseData.OffsetFetchResponseGroup()
                    .setGroupId("g").setTopics(List.of(told)).setErrorCode((short) 113)));
            }
            if (v >= 7) request.setRequireStable(true);
            if (v >= 3) response.setThrottleTimeMs(11);
            body("OffsetFetchRequest full", v, request);
            body("OffsetFetchResponse full", v, response);
        }
        for (int v = 1; v <= 5; v++) {
            DescribeLogDirsRequestData request = new DescribeLogDirsRequestData();
            request.setTopics(new DescribeLogDirsRequestData.DescribableLogDirTopicCollection());
            request.topics().add(new DescribeLogDirsRequestData.DescribableLogDirTopic()
                .setTopic("orders").setPartitions(List.of(0, 2)));
            body("DescribeLogDirsRequest full", v, request);
            body("DescribeLogDirsRequest of all topics", v, new DescribeLogDirsRequestData().setTopics(null));
            DescribeLogDirsResponseData.DescribeLogDirsResult result =
                new DescribeLogDirsResponseData.DescribeLogDirsResult()
                    .setErrorCode((short) 56).setLogDir("/data/0")
                    .setTopics(List.of(new DescribeLogDirsResponseData.DescribeLogDirsTopic()
                        .setName("orders").setPartitions(List.of(
                            new DescribeLogDirsResponseData.DescribeLogDirsPartition()
                                .setPartitionIndex(2).setPartitionSize(1L << 40).setOffsetLag(7)
                                .setIsFutureKey(true)))));
            if (v >= 4) result.setTotalBytes(1L << 41).setUsableBytes(1L << 39);
            if (v >= 5) result.setIsCordoned(true);
            DescribeLogDirsResponseData response = new DescribeLogDirsResponseData()
                .setThrottleTimeMs(11).setResults(List.of(result));
            if (v >= 3) response.setErrorCode((short) 31);
            body("DescribeLogDirsResponse full", v, response);
        }
        for (int v = 1; v <= 2; v++) {
            WriteTxnMarkersRequestData.WritableTxnMarker marker = new WriteTxnMarkersRequestData.WritableTxnMarker()
                .setProducerId(4711).setProducerEpoch((short) 12).setTransactionResult(true)
                .setTopics(List.of(new WriteTxnMarkersRequestData.WritableTxnMarkerTopic()
                    .setName("orders").setPartitionIndexes(List.of(0, 2))))
                .setCoordinatorEpoch(6);
            if (v >= 2) marker.setTransactionVersion((byte) 2);
            body("WriteTxnMarkersRequest full", v, new WriteTxnMarkersRequestData().setMarkers(List.of(marker)));
            body("WriteTxnMarkersResponse full", v, new WriteTxnMarkersResponseData().setMarkers(List.of(
                new WriteTxnMarkersResponseData.WritableTxnMarkerResult().setProducerId(4711)
                    .setTopics(List.of(new WriteTxnMarkersResponseData.WritableTxnMarkerTopicResult()
                        .setName("orders").setPartitions(List.of(
                            new WriteTxnMarkersResponseData.WritableTxnMarkerPartitionResult()
                                .setPartitionIndex(2).setErrorCode((short) 47))))))));
        }
    }

    static void group() {
        key("LegacyOffsetCommitKey", new LegacyOffsetCommitKey().setGroup("g").setTopic("orders").setPartition(7));
        for (int v = 0; v <= 4; v++) {
            OffsetCommitValue offset = new OffsetCommitValue().setOffset(42).setMetadata("m\u00e9")
                .setCommitTimestamp(1700000000123L);
            if (v == 1) offset.setExpireTimestamp(1700000009999L);
            if (v >= 3) offset.setLeaderEpoch(5);
            if (v >= 4) offset.setTopicId(ID);
            prefixed("OffsetCommitValue full", v, offset);
            prefixed("OffsetCommitValue empty", v, new OffsetCommitValue());
            GroupMetadataValue.MemberMetadata member = new GroupMetadataValue.MemberMetadata()
                .setMemberId("m-1").setClientId("c").setClientHost("/10.0.0.2").setSessionTimeout(45000)
                .setSubscription(new byte[] {1, 2, 3}).setAssignment(new byte[] {9});
            if (v >= 1) member.setRebalanceTimeout(300000);
            if (v >= 3) member.setGroupInstanceId("i-1");
            GroupMetadataValue group = new GroupMetadataValue().setProtocolType("consumer").setGeneration(3)
                .setProtocol("range").setLeader("m-1").setMembers(List.of(member));
            if (v >= 2) group.setCurrentStateTimestamp(1700000000500L);
            prefixed("GroupMetadataValue full", v, group);
            prefixed("GroupMetadataValue empty", v, new GroupMetadataValue().setProtocol(null).setLeader(null));
        }
        record("offset", GroupCoordinatorRecordHelpers.newOffsetCommitRecord("g", "orders", 7,
            new OffsetAndMetadata(42, OptionalInt.of(5), "m\u00e9", 1700000000123L, OptionalLong.empty(), ID)));
        record("expiring offset", GroupCoordinatorRecordHelpers.newOffsetCommitRecord("g", "orders", 7,
            new OffsetAndMetadata(42, OptionalInt.of(5), "m\u00e9", 1700000000123L,
                OptionalLong.of(1700000009999L), ID)));
        ClassicGroup classic = new ClassicGroup(new LogContext(), "g", ClassicGroupState.STABLE, Time.SYSTEM, 3,
            Optional.of("consumer"), Optional.of("range"), Optional.of("m-1"), Optional.of(1700000000500L));
        JoinGroupRequestData.JoinGroupRequestProtocolCollection protocols =
            new JoinGroupRequestData.JoinGroupRequestProtocolCollection();
        protocols.add(new JoinGroupRequestData.JoinGroupRequestProtocol()
            .setName("range").setMetadata(new byte[] {1, 2, 3}));
        classic.add(new ClassicGroupMember("m-1", Optional.of("i-1"), "c", "/10.0.0.2", 300000, 45000,
            "consumer", protocols));
        record("classic group",
            GroupCoordinatorRecordHelpers.newGroupMetadataRecord(classic, Map.of("m-1", new byte[] {9})));
        ClassicGroup empty = new ClassicGroup(new LogContext(), "g", ClassicGroupState.EMPTY, Time.SYSTEM, 4,
            Optional.of("consumer"), Optional.empty(), Optional.empty(), Optional.empty());
        record("empty classic group", GroupCoordinatorRecordHelpers.newGroupMetadataRecord(empty, Map.of()));
        record("classic group tombstone", GroupCoordinatorRecordHelpers.newGroupMetadataTombstoneRecord("g"));

        ConsumerGroupMember member = new ConsumerGroupMember.Builder("m-1")
            .setInstanceId("i-1").setRackId("rack-1").setClientId("c").setClientHost("/10.0.0.2")
            .setSubscribedTopicNames(List.of("orders", "p\u00e9ages")).setSubscribedTopicRegex("o.*")
            .setServerAssignorName("uniform").setRebalanceTimeoutMs(300000)
            .setState(MemberState.UNREVOKED_PARTITIONS).setMemberEpoch(8).setPreviousMemberEpoch(7)
            .setAssignedPartitions(Map.of(ID, new java.util.TreeMap<>(Map.of(0, 4, 5, 8))))
            .setPartitionsPendingRevocation(Map.of(ID, new java.util.TreeMap<>(Map.of(9, 3))))
            .build();
        record("consumer group epoch", GroupCoordinatorRecordHelpers.newConsumerGroupEpochRecord("g", 10, -12345678901L));
        record("consumer group epoch without hash",
            GroupCoordinatorRecordHelpers.newConsumerGroupEpochRecord("g", 10, 0));
        record("member", GroupCoordinatorRecordHelpers.newConsumerGroupMemberSubscriptionRecord("g", member));
        record("classic member", GroupCoordinatorRecordHelpers.newConsumerGroupMemberSubscriptionRecord("g",
            new ConsumerGroupMember.Builder("m-1").setClientId("c").setClientHost("/10.0.0.2")
                .setSubscribedTopicNames(List.of("orders")).setRebalanceTimeoutMs(300000)
                .setClassicMemberMetadata(new ConsumerGroupMemberMetadataValue.ClassicMemberMetadata()
                    .setSessionTimeoutMs(45000).setSupportedProtocols(List.of(
                        new ConsumerGroupMemberMetadataValue.ClassicProtocol()
                            .setName("range").setMetadata(new byte[] {1, 2}))))
                .build()));
        prefixed("member of nothing", 0, new ConsumerGroupMemberMetadataValue());
        record("target epoch", GroupCoordinatorRecordHelpers.newConsumerGroupTargetAssignmentMetadataRecord(
            "g", 10, 1700000000123L));
        record("target epoch without time",
            GroupCoordinatorRecordHelpers.newConsumerGroupTargetAssignmentMetadataRecord("g", 10, 0));
        record("target", GroupCoordinatorRecordHelpers.newConsumerGroupTargetAssignmentRecord(
            "g", "m-1", Map.of(ID, new java.util.TreeSet<>(Set.of(0, 5)))));
        record("current", GroupCoordinatorRecordHelpers.newConsumerGroupCurrentAssignmentRecord("g", member));
        record("no current", GroupCoordinatorRecordHelpers.newConsumerGroupCurrentAssignmentRecord("g",
            new ConsumerGroupMember.Builder("m-1").setState(MemberState.STABLE).setMemberEpoch(1).build()));
        prefixed("current without epochs", 0, new ConsumerGroupCurrentMemberAssignmentValue()
            .setMemberEpoch(1).setAssignedPartitions(List.of(
                new ConsumerGroupCurrentMemberAssignmentValue.TopicPartitions()
                    .setTopicId(ID).setPartitions(List.of(1)),
                new ConsumerGroupCurrentMemberAssignmentValue.TopicPartitions()
                    .setTopicId(ID).setPartitions(List.of(2)).setAssignmentEpochs(null))));
        record("regex", GroupCoordinatorRecordHelpers.newConsumerGroupRegularExpressionRecord("g", "o.*",
            new ResolvedRegularExpression(Set.of("orders"), 99, 1700000000123L)));
        record("old metadata tombstone",
            GroupCoordinatorRecordHelpers.newConsumerGroupSubscriptionMetadataTombstoneRecord("g"));
        prefixed("ConsumerGroupPartitionMetadataValue full", 0, new ConsumerGroupPartitionMetadataValue()
            .setTopics(List.of(new ConsumerGroupPartitionMetadataValue.TopicMetadata()
                .setTopicId(ID).setTopicName("orders").setNumPartitions(2)
                .setPartitionMetadata(List.of(new ConsumerGroupPartitionMetadataValue.PartitionMetadata()
                    .setPartition(1).setRacks(List.of("rack-1", "rack-2")))))));
    }

    static void transaction() {
        line("TransactionLogKey", 0, TransactionLog.keyToBytes("tx-1"));
        for (TransactionVersion version : TransactionVersion.values()) {
            int v = version.transactionLogValueVersion();
            // 0 knows no client version.
            TransactionVersion client = v == 0 ? TransactionVersion.TV_0 : version;
            TransactionMetadata metadata = new TransactionMetadata("tx-1", 4711, 4710, 4712, (short) 12, (short) 11,
                60000, TransactionState.PREPARE_COMMIT,
                new java.util.LinkedHashSet<>(List.of(new TopicPartition("orders", 3))),
                1700000000100L, 1700000000123L, client);
            line("transaction at " + version, v, TransactionLog.valueToBytes(metadata.prepareNoTransit(), version));
            TransactionMetadata empty = new TransactionMetadata("tx-1", 4711, -1, -1, (short) 0, (short) -1,
                60000, TransactionState.EMPTY, Set.of(), -1, 1700000000123L, client);
            line("empty transaction at " + version, v, TransactionLog.valueToBytes(empty.prepareNoTransit(), version));
        }
        prefixed("transaction with every tag", 1, new TransactionLogValue().setProducerId(4711)
            .setPreviousProducerId(4710).setNextProducerId(4712).setProducerEpoch((short) 32767)
            .setNextProducerEpoch((short) 1).setTransactionTimeoutMs(60000).setTransactionStatus((byte) 4)
            .setTransactionPartitions(List.of()).setTransactionLastUpdateTimestampMs(1700000000123L)
            .setTransactionStartTimestampMs(1700000000100L).setClientTransactionVersion((short) 2));
        prefixed("transaction of nothing", 0, new TransactionLogValue());
        prefixed("transaction of nothing", 1, new TransactionLogValue());
    }

    // Kafka's own test messages have what the others lack.
    static void tests() {
        for (int v = 0; v <= 2; v++) {
            SimpleExampleMessageData example = new SimpleExampleMessageData()
                .setMyCommonStruct(new SimpleExampleMessageData.TestCommonStruct().setFoo(-1).setBar(2));
            if (v == 0) example.setMyNullableString(null);
            body("SimpleExampleMessage plain", v, example);
            if (v == 0) continue;
            example.setProcessId(ID).setMyTaggedIntArray(List.of(1, -2)).setMyNullableString("n")
                .setMyInt16((short) -3).setMyFloat64(0.5).setMyString("s").setMyBytes(new byte[] {7})
                .setTaggedUuid(ID).setTaggedLong(-4).setMyUint16(65535).setMyUint32(4294967295L);
            if (v == 1) {
                example.setZeroCopyByteBuffer(ByteBuffer.wrap(new byte[] {8}))
                    .setNullableZeroCopyByteBuffer(null).setMyBytes(null);
            } else {
                example.setTaggedLongFlexibleVersionSubset(6)
                    .setMyStruct(new SimpleExampleMessageData.MyStruct().setStructId(5).setArrayInStruct(List.of(
                        new SimpleExampleMessageData.StructArray().setArrayFieldId(9))))
                    .setMyTaggedStruct(new SimpleExampleMessageData.TaggedStruct().setStructId("t"));
            }
            body("SimpleExampleMessage full", v, example);
        }
        for (int v = 0; v <= 2; v++) {
            body("NullableStructMessage plain", v, new NullableStructMessageData());
            NullableStructMessageData full = new NullableStructMessageData()
                .setNullableStruct(new NullableStructMessageData.MyStruct().setMyString("a").setMyInt(1))
                .setNullableStruct2(new NullableStructMessageData.MyStruct2().setMyString("b").setMyInt(2));
            NullableStructMessageData nulls = new NullableStructMessageData();
            if (v >= 1) {
                full.setNullableStruct3(new NullableStructMessageData.MyStruct3().setMyString("c").setMyInt(3))
                    .setNullableStruct4(new NullableStructMessageData.MyStruct4().setMyString("d").setMyInt(4));
                nulls.setNullableStruct2(null).setNullableStruct4(null);
            }
            body("NullableStructMessage full", v, full);
            body("NullableStructMessage nulls", v, nulls);
            SimpleArraysMessageData.StructArray goat = new SimpleArraysMessageData.StructArray();
            SimpleArraysMessageData arrays = new SimpleArraysMessageData().setSheep(List.of(5, -6));
            if (v >= 1) arrays.setGoats(List.of(goat.setColor((byte) -7)));
            if (v >= 2) goat.setName("g");
            body("SimpleArraysMessage full", v, arrays);
        }
    }

    static void key(String label, ApiMessage key) {
        line(label, 0, MessageUtil.toCoordinatorTypePrefixedBytes(key));
    }

    static void prefixed(String label, int version, Message message) {
        line(label, version, MessageUtil.toVersionPrefixedBytes((short) version, message));
    }

    static void body(String label, int version, Message message) {
        line(label, version, bytes(MessageUtil.toByteBufferAccessor(message, (short) version).buffer()));
    }

    static void record(String label, CoordinatorRecord record) {
        GroupCoordinatorRecordSerde serde = new GroupCoordinatorRecordSerde();
        line("key of " + label, 0, serde.serializeKey(record));
        byte[] value = serde.serializeValue(record);
        if (value != null) line(label, record.value().version(), value);
    }

    static byte[] bytes(ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return bytes;
    }

    static void line(String label, int version, byte[] bytes) {
        System.out.println(label + "\t" + version + "\t" + HexFormat.of().formatHex(bytes));
    }
}
