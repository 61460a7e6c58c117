package dev.foz.chaos;

import static dev.foz.chaos.Workload.*;

import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.message.EndTxnRequestData;
import org.apache.kafka.common.requests.AbstractRequest;
import org.apache.kafka.common.requests.ApiVersionsRequest;
import org.apache.kafka.common.requests.EndTxnRequest;
import org.apache.kafka.common.requests.RequestHeader;
import org.apache.kafka.common.utils.ProducerIdAndEpoch;

/**
 * Copies of EndTxn that come late. Jepsen found it in Bufstream and in Kafka's protocol before transaction.version 2: a
 * client gives up a connection, asks again over another, begins its next transaction, and then the first copy arrives.
 *
 * <p>Here it arrives over a connection that is older than those of the producer, at every broker, since the network
 * does not ask who coordinates now.
 */
final class LateEnds {
  private static final int ANSWER_MS = 100;

  /** Not yet arrived: it ends the transaction that has been ended already. */
  record Held(EndTxnRequestData data) {}

  private final String transactionalId;
  private final List<Socket> connections = new ArrayList<>();

  /** To be made before the producer. */
  LateEnds(String transactionalId) {
    this.transactionalId = transactionalId;
    for (String address : settings.get("bootstrap").split(",")) {
      int colon = address.lastIndexOf(':');
      Socket socket = new Socket();
      try {
        socket.setSoTimeout(ANSWER_MS);
        int port = Integer.parseInt(address.substring(colon + 1));
        socket.connect(new InetSocketAddress(address.substring(0, colon), port), 500);
        connections.add(socket);
        // A connection counts from when it is accepted, and clients hear something before they go on.
        send(socket, new ApiVersionsRequest.Builder().build((short) 0));
        listen(socket);
      } catch (IOException error) {
        connections.remove(socket);
      }
    }
  }

  /** What the producer is about to ask. */
  Held hold(KafkaProducer<?, ?> producer, boolean committed) throws ReflectiveOperationException {
    var field = KafkaProducer.class.getDeclaredField("transactionManager");
    field.setAccessible(true);
    Object manager = field.get(producer);
    var method = manager.getClass().getDeclaredMethod("producerIdAndEpoch");
    method.setAccessible(true);
    ProducerIdAndEpoch now = (ProducerIdAndEpoch) method.invoke(manager);
    return new Held(
        new EndTxnRequestData()
            .setTransactionalId(transactionalId)
            .setProducerId(now.producerId)
            .setProducerEpoch(now.epoch)
            .setCommitted(committed));
  }

  /** Now they arrive. */
  void arrive(Held held) {
    boolean second = number("transaction_version") == 2;
    short version = (short) (second ? 5 : 4);
    EndTxnRequest request = new EndTxnRequest.Builder(held.data(), second).build(version);
    for (Socket socket : connections) {
      try {
        send(socket, request);
      } catch (IOException error) {
        // Its broker is gone, or has closed it, as it should.
      }
    }
    for (Socket socket : connections) listen(socket);
  }

  void close() {
    for (Socket socket : connections) {
      try {
        socket.close();
      } catch (IOException error) {
        // It is gone.
      }
    }
  }

  private void send(Socket socket, AbstractRequest request) throws IOException {
    RequestHeader header =
        new RequestHeader(request.apiKey(), request.version(), "late-" + transactionalId, 1);
    ByteBuffer bytes = request.serializeWithHeader(header);
    ByteBuffer frame = ByteBuffer.allocate(4 + bytes.remaining());
    frame.putInt(bytes.remaining()).put(bytes);
    socket.getOutputStream().write(frame.array());
  }

  /** Whatever is answered. */
  private static void listen(Socket socket) {
    try {
      InputStream input = socket.getInputStream();
      byte[] answer = new byte[4096];
      input.read(answer);
    } catch (IOException error) {
      // Nothing came in time, or it is closed.
    }
  }
}
