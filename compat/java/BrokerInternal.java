package dev.foz.compat;

import org.apache.kafka.test.NoRetryException;

/** A test asked for something inside a broker's process that no other process can know. */
final class BrokerInternal extends RuntimeException {
    private static final long serialVersionUID = 1;

    private BrokerInternal(String what) {
        super(what + " lives inside a broker's process");
    }

    /** Kafka's waitForCondition passes this one on at once. */
    static RuntimeException of(String what) {
        return new NoRetryException(new BrokerInternal(what));
    }
}
