package dev.foz.compat;

import java.lang.reflect.Field;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.RawTaggedField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.requests.RequestUtils;

/**
 * Prints requests and responses as Kafka's own classes write them. Each argument is an API: key:least:greatest version.
 * A line is: key, request or response, version, how it was filled, the frame without its length in hex.
 *
 * Values come from the names of the fields that they are in, so that two versions of a message differ only where their
 * schemas do, and the lines can be compressed. Which fields a version has is what Kafka's schema says.
 */
public final class Messages {
    /** How a message is filled. */
    enum Filling {
        /** As the class makes it. */
        plain,
        /** Every field has a value, arrays have two elements, text is not ASCII. */
        full,
        /** As full, and every structure has tagged fields that nobody knows. */
        tagged,
        /** Null wherever null may be. */
        nulls,
        /** As nulls, but structures are there, and arrays of them have one, so that nulls inside are reached. */
        inner_nulls,
        /** Text, bytes and arrays of nothing; arrays of structures have one element. */
        empty,
        /** Lengths that take two bytes as a varint. */
        many,
        /** The least and the greatest numbers. */
        extreme,
        /** Each value by itself: null or not, of any length, small and great; and others in each of these. */
        mixed_1,
        mixed_2,
        mixed_3,
        mixed_4;

        boolean isMixed() {
            return compareTo(mixed_1) >= 0;
        }
    }

    private static final int UNKNOWN_TAG = 10000;
    private static final int MANY = 130;
    /** About where the length of a length changes, and others. */
    private static final int[] MIXED_LENGTHS = {0, 1, 2, 7, 40, 126, 127, 128, 300};
    /** Of one to four bytes. */
    private static final String[] MIXED_LETTERS = {"a", "Z", "0", ".", "\0", "\u00e9", "\u6771", "\ud83d\ude00"};
    /** Brokers never say it in a Fetch response; controllers do. */
    private static final String OF_RAFT = "snapshot_id";

    private final Filling filling;

    private Messages(Filling filling) {
        this.filling = filling;
    }

    public static void main(String[] arguments) throws ReflectiveOperationException {
        for (String argument : arguments) {
            String[] words = argument.split(":");
            ApiMessageType api = ApiMessageType.fromApiKey(Short.parseShort(words[0]));
            int most = Integer.parseInt(words[2]);
            for (Filling filling : Filling.values()) {
                for (int v = Integer.parseInt(words[1]); v <= most; v++) {
                    new Messages(filling).request(api, (short) v);
                }
            }
            for (Filling filling : Filling.values()) {
                for (int v = Integer.parseInt(words[1]); v <= most; v++) {
                    new Messages(filling).response(api, (short) v);
                }
            }
        }
    }

    private void request(ApiMessageType api, short version) throws ReflectiveOperationException {
        short headerVersion = api.requestHeaderVersion(version);
        RequestHeaderData header = new RequestHeaderData();
        fill(header, RequestHeaderData.SCHEMAS[headerVersion], "header");
        header.setRequestApiKey(api.apiKey()).setRequestApiVersion(version);
        ApiMessage body = api.newRequest();
        fill(body, api.requestSchemas()[version], "request");
        print(api, "request", version, RequestUtils.serialize(header, headerVersion, body, version));
    }

    private void response(ApiMessageType api, short version) throws ReflectiveOperationException {
        short headerVersion = api.responseHeaderVersion(version);
        ResponseHeaderData header = new ResponseHeaderData();
        fill(header, ResponseHeaderData.SCHEMAS[headerVersion], "header");
        ApiMessage body = api.newResponse();
        fill(body, api.responseSchemas()[version], "response");
        print(api, "response", version, RequestUtils.serialize(header, headerVersion, body, version));
    }

    private void print(ApiMessageType api, String side, short version, ByteBuffer frame) {
        byte[] bytes = new byte[frame.remaining()];
        frame.get(bytes);
        System.out.println(
            api.apiKey() + "\t" + side + "\t" + version + "\t" + filling + "\t" + HexFormat.of().formatHex(bytes));
    }

    private void fill(Message message, Schema schema, String path) throws ReflectiveOperationException {
        if (filling == Filling.plain) {
            return;
        }
        for (BoundField bound : schema.fields()) {
            if (bound.def.type instanceof TaggedFields tagged) {
                for (var field : tagged.fields().values()) {
                    boolean isLeftOut = filling.isMixed() && drawn(path + "." + field.name + ".default", 3) == 0;
                    if (!OF_RAFT.equals(field.name) && !isLeftOut) {
                        set(message, field, path);
                    }
                }
                if (filling == Filling.tagged) {
                    message.unknownTaggedFields().add(new RawTaggedField(UNKNOWN_TAG, bytes(path + ".unknown")));
                    message.unknownTaggedFields().add(new RawTaggedField(UNKNOWN_TAG + 1, new byte[0]));
                }
            } else {
                set(message, bound.def, path);
            }
        }
    }

    private void set(Message message, org.apache.kafka.common.protocol.types.Field def, String path)
            throws ReflectiveOperationException {
        Field field = message.getClass().getDeclaredField(camelCase(def.name));
        field.setAccessible(true);
        field.set(message, value(def.type, field.getGenericType(), path + "." + def.name));
    }

    private Object value(org.apache.kafka.common.protocol.types.Type type, Type java, String path)
            throws ReflectiveOperationException {
        if (type.isNullable() && isNull(type, path)) {
            return null;
        }
        if (type instanceof Schema schema) {
            return structure(schema, (Class<?>) java, path);
        }
        if (elementOf(type) != null) {
            return elements(elementOf(type), java, path);
        }
        if (java == boolean.class) {
            return filling == Filling.extreme || (hash(path) & 1) == 1;
        }
        if (java == byte.class) {
            // Only these two are any.
            return path.endsWith(".isolation_level")
                ? (byte) (hash(path) & 1)
                : (byte) number(path, Byte.MIN_VALUE, Byte.MAX_VALUE);
        }
        if (java == short.class) {
            return path.endsWith(".error_code")
                ? Errors.values()[Math.floorMod(hash(path), Errors.values().length)].code()
                : (short) number(path, Short.MIN_VALUE, Short.MAX_VALUE);
        }
        if (java == int.class) {
            return type == org.apache.kafka.common.protocol.types.Type.UINT16
                ? (int) number(path, 0, 0xffff)
                : (int) number(path, Integer.MIN_VALUE, Integer.MAX_VALUE);
        }
        if (java == long.class) {
            return type == org.apache.kafka.common.protocol.types.Type.UNSIGNED_INT32
                ? number(path, 0, 0xffffffffL)
                : number(path, Long.MIN_VALUE, Long.MAX_VALUE);
        }
        if (java == double.class) {
            return filling == Filling.extreme ? -Double.MAX_VALUE : (double) hash(path) / 1024;
        }
        if (java == Uuid.class) {
            return switch (filling) {
                case extreme -> new Uuid(-1, -1);
                case empty -> Uuid.ZERO_UUID;
                case mixed_1, mixed_2, mixed_3, mixed_4 -> drawn(path, 4) == 0
                    ? Uuid.ZERO_UUID
                    : new Uuid(hash(path), hash(path + ".low"));
                default -> new Uuid(hash(path), hash(path + ".low"));
            };
        }
        if (java == String.class) {
            return switch (filling) {
                case empty -> "";
                case many -> "0123456789".repeat(path.contains("[") ? 1 : MANY / 10);
                case extreme -> "\0\t\uffff\ud83d\ude00";
                case mixed_1, mixed_2, mixed_3, mixed_4 -> mixedText(path);
                default -> "p\u00e9age-\u6771-" + Long.toHexString(hash(path));
            };
        }
        if (java == byte[].class) {
            return bytes(path);
        }
        if (java == ByteBuffer.class) {
            return ByteBuffer.wrap(bytes(path));
        }
        if (((Class<?>) java).isAssignableFrom(MemoryRecords.class)) {
            return MemoryRecords.readableRecords(ByteBuffer.wrap(bytes(path)));
        }
        throw new IllegalStateException(path + " is of an unknown type: " + java);
    }

    private boolean isNull(org.apache.kafka.common.protocol.types.Type type, String path) {
        // Kafka's broker answers with no records where there are none, never with null.
        if (path.startsWith("response.") && path.endsWith(".records")) {
            return false;
        }
        if (filling.isMixed()) {
            return drawn(path + ".null", 3) == 0;
        }
        boolean holdsStructures = type instanceof Schema || elementOf(type) instanceof Schema;
        return filling == Filling.nulls || (filling == Filling.inner_nulls && !holdsStructures);
    }

    private Object structure(Schema schema, Class<?> java, String path) throws ReflectiveOperationException {
        Message made = (Message) java.getDeclaredConstructor().newInstance();
        fill(made, schema, path);
        return made;
    }

    private Object elements(org.apache.kafka.common.protocol.types.Type element, Type java, String path)
            throws ReflectiveOperationException {
        Class<?> container = java instanceof Class<?> it ? it : (Class<?>) ((ParameterizedType) java).getRawType();
        Type inside = java instanceof ParameterizedType it
            ? it.getActualTypeArguments()[0]
            : ((ParameterizedType) container.getGenericSuperclass()).getActualTypeArguments()[0];
        // What numbers are in a list as.
        if (inside == Integer.class) inside = int.class;
        if (inside == Long.class) inside = long.class;
        if (inside == Short.class) inside = short.class;
        if (inside == Byte.class) inside = byte.class;
        @SuppressWarnings("unchecked")
        Collection<Object> elements = container == List.class
            ? new ArrayList<>()
            : (Collection<Object>) container.getDeclaredConstructor().newInstance();
        boolean isInside = path.contains("[");
        int count = switch (filling) {
            case empty, nulls, inner_nulls -> element instanceof Schema ? 1 : 0;
            // An array inside of another is short, or the message would be megabytes.
            case many -> isInside ? 1 : MANY;
            case mixed_1, mixed_2, mixed_3, mixed_4 -> drawn(path + ".count", 4);
            default -> 2;
        };
        for (int i = 0; i < count; i++) {
            elements.add(value(element, inside, path + "[" + (filling == Filling.many ? 0 : i) + "]"));
        }
        return elements;
    }

    /** What an array holds; null of what is none. */
    private static org.apache.kafka.common.protocol.types.Type elementOf(
            org.apache.kafka.common.protocol.types.Type type) {
        return type.arrayElementType().orElse(null);
    }

    private byte[] bytes(String path) {
        return switch (filling) {
            case empty, nulls, inner_nulls -> new byte[0];
            case many -> new byte[path.contains("[") ? 1 : MANY];
            case mixed_1, mixed_2, mixed_3, mixed_4 -> mixedBytes(path);
            default -> ByteBuffer.allocate(Long.BYTES).putLong(hash(path)).array();
        };
    }

    private byte[] mixedBytes(String path) {
        byte[] bytes = new byte[MIXED_LENGTHS[drawn(path + ".length", MIXED_LENGTHS.length)]];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = (byte) hash(path + i);
        }
        return bytes;
    }

    private String mixedText(String path) {
        int length = MIXED_LENGTHS[drawn(path + ".length", MIXED_LENGTHS.length)];
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < length; i++) {
            text.append(MIXED_LETTERS[drawn(path + i, MIXED_LETTERS.length)]);
        }
        return text.toString();
    }

    /** From 0 on, less than {@code bound}. */
    private int drawn(String path, int bound) {
        return (int) Long.remainderUnsigned(hash(path), bound);
    }

    private long number(String path, long least, long greatest) {
        long hash = hash(path);
        if (filling.isMixed()) {
            // As many small ones as great ones.
            hash >>= drawn(path + ".width", Long.SIZE);
            return greatest - least == -1 ? hash : least + Math.floorMod(hash - least, greatest - least + 1);
        }
        if (filling != Filling.extreme) {
            return least + Long.remainderUnsigned(hash, greatest - least == -1 ? -1 : greatest - least + 1);
        }
        return (hash & 1) == 0 ? least : greatest;
    }

    /** FNV-1a, mixed. */
    private long hash(String path) {
        String of = filling.isMixed() ? filling + path : path;
        long hash = 0xcbf29ce484222325L;
        for (byte next : of.getBytes(StandardCharsets.UTF_8)) {
            hash = (hash ^ next) * 0x100000001b3L;
        }
        hash = (hash ^ (hash >>> 32)) * 0x9e3779b97f4a7c15L;
        return hash ^ (hash >>> 29);
    }

    /** As the fields of the classes are written. */
    private static String camelCase(String name) {
        StringBuilder camel = new StringBuilder();
        boolean isUpper = false;
        for (char next : name.toCharArray()) {
            if (next != '_') {
                camel.append(isUpper ? Character.toUpperCase(next) : next);
            }
            isUpper = next == '_';
        }
        return camel.toString();
    }
}
