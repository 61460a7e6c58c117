// Prints kafka_group_keys.tsv. Run with Kafka 4.3.1's kafka-group-coordinator and all that it depends on in the class path:
//   javac -cp 'jars/*' KafkaGroupKeys.java && java -cp 'jars/*:.' KafkaGroupKeys > kafka_group_keys.tsv

import java.util.TreeMap;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.coordinator.group.GroupConfig;

public class KafkaGroupKeys {
    public static void main(String[] arguments) {
        for (var key : new TreeMap<>(GroupConfig.CONFIG_DEF.configKeys()).values()) {
            String value = ConfigDef.convertToString(key.defaultValue, key.type);
            String synonym = GroupConfig.brokerSynonym(key.name).orElse("-");
            String least = String.valueOf(key.validator).replaceAll("^\\[(-?\\d+),\\.\\.\\.\\]$", "$1");
            least = least.matches("-?\\d+") ? least : "-";
            System.out.println(String.join("\t", key.name, key.type.toString(), value, least, synonym));
        }
    }
}
