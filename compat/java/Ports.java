package dev.foz.compat;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;

/**
 * Ports of loopback that are free. They stay a node's while it is down, so they are below those that the kernel gives to
 * clients, and no two runs beside each other choose from the same.
 */
final class Ports {
    private static final int FIRST = Integer.getInteger("foz.compat.port.first", 20_000);
    private static final int COUNT = Integer.getInteger("foz.compat.port.count", 1_000);
    private static int next = 0;

    private Ports() {
    }

    static synchronized int free() {
        for (int tries = 0; tries < COUNT; tries++) {
            int port = FIRST + next;
            next = (next + 1) % COUNT;
            try (ServerSocket socket = new ServerSocket(port, 1, InetAddress.getLoopbackAddress())) {
                return socket.getLocalPort();
            } catch (IOException taken) {
                continue;
            }
        }
        throw new IllegalStateException("no free port from " + FIRST + " to " + (FIRST + COUNT - 1));
    }
}
