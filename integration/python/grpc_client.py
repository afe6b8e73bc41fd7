"""A proxyless gRPC client: grpc_client.py RATE CALLS SERVICE...

Calls each xds:///SERVICE at RATE calls a second, in all CALLS times (0: for ever), configured by
GRPC_XDS_BOOTSTRAP, and prints one line a second for each: {"service": name, "counts": {version: calls}, "errors": {status: calls}}.
"""

import collections
import json
import sys
import threading
import time

import grpc


class Target:
    def __init__(self, service):
        self.service = service
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.errors = collections.Counter()
        channel = grpc.insecure_channel("xds:///" + service)
        self.ask = channel.unary_unary("/checkout.Checkout/Buy")

    def call(self):
        self.ask.future(b"", timeout=5).add_done_callback(self.record)

    def record(self, call):
        with self.lock:
            if call.code() == grpc.StatusCode.OK:
                self.counts[call.result().decode()] += 1
            else:
                self.errors[call.code().name] += 1

    def line(self):
        with self.lock:
            counts, errors = dict(self.counts), dict(self.errors)
            self.counts.clear()
            self.errors.clear()
        return json.dumps({"service": self.service, "counts": counts, "errors": errors})


def main():
    rate = int(sys.argv[1])
    calls = int(sys.argv[2])
    targets = [Target(service) for service in sys.argv[3:]]
    begin = time.monotonic()
    sent, seconds = 0, 0
    while True:
        if calls == 0 or sent < calls:
            for target in targets:
                target.call()
        sent += 1
        time.sleep(max(0.0, begin + sent / rate - time.monotonic()))
        if time.monotonic() - begin >= seconds + 1:
            seconds += 1
            for target in targets:
                print(target.line(), flush=True)


main()
