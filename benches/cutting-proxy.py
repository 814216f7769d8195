#!/usr/bin/env python3
"""Passes connections on to a server on this machine, and cuts each one when so many bytes have come from the server.
Usage: cutting-proxy.py SERVER-PORT BYTES (0: never). Prints the port it listens on; at its end, by SIGTERM, the bytes and the cuts."""
import signal
import socket
import sys
import threading

server, most = int(sys.argv[1]), int(sys.argv[2])
total = cuts = 0
lock = threading.Lock()


def serve(client):
    global total, cuts
    upstream = socket.create_connection(("127.0.0.1", server))

    def send():
        try:
            while data := client.recv(1 << 16):
                upstream.sendall(data)
        except OSError:
            pass

    threading.Thread(target=send, daemon=True).start()
    buffer, left, cut = bytearray(1 << 20), most or float("inf"), False
    view = memoryview(buffer)
    try:
        while count := upstream.recv_into(buffer):
            count = int(min(count, left))
            client.sendall(view[:count])
            left -= count
            with lock:
                total += count
            if left == 0:
                cut = True
                break
    except OSError:
        pass
    if cut:
        with lock:
            cuts += 1
    for end in (client, upstream):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        end.close()


def end(*_):
    print(total, cuts, flush=True)
    sys.exit(0)


signal.signal(signal.SIGTERM, end)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
