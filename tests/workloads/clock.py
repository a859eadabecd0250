"""The host's clock, for guests that ask: each line received is answered with nanoseconds of CLOCK_MONOTONIC."""
import socketserver
import threading
import time


class Answer(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self):
        while self.rfile.readline():
            self.wfile.write(b"%d\n" % time.monotonic_ns())


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


def serve_clock():
    """Start answering; the port."""
    server = Server(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]
