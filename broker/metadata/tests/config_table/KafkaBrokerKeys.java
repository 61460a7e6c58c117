// Prints kafka_broker_keys.tsv. Run with Kafka 4.3.1's kafka_2.13 and all that it depends on in the class path:
//   javac -cp 'jars/*' KafkaBrokerKeys.java && java -cp 'jars/*:.' KafkaBrokerKeys > kafka_broker_keys.tsv

import java.util.TreeMap;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.server.config.DynamicBrokerConfig;

public class KafkaBrokerKeys {
    public static void main(String[] arguments) {
        for (var key : new TreeMap<>(kafka.server.KafkaConfig.configDef().configKeys()).values()) {
            String value = "<none>";
            if (key.hasDefault()) {
                value = key.defaultValue == null ? "null" : ConfigDef.convertToString(key.defaultValue, key.type);
            }
            String dynamic = DynamicBrokerConfig.ALL_DYNAMIC_CONFIGS.contains(key.name) ? "DYN" : "";
            String internal = key.internalConfig ? "INTERNAL" : "";
            System.out.println(String.join("\t", key.name, key.type.toString(), value, dynamic, internal));
        }
    }
}
