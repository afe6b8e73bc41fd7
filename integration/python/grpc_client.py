"""A proxyless gRPC client: grpc_client.py SERVICE RATE.

Calls xds:///SERVICE at RATE calls a second, configured by GRPC_XDS_BOOTSTRAP, and prints one line
a second: {"counts": {version: calls}, "errors": {status: calls}}.
"""

import collections
import json
import sys
import threading
import time

import grpc


def main():
    service, rate = sys.argv[1], int(sys.argv[2])
    counts, errors = collections.Counter(), collections.Counter()
    lock = threading.Lock()

    def record(call):
        with lock:
            if call.code() == grpc.StatusCode.OK:
                counts[call.result().decode()] += 1
            else:
                errors[call.code().name] += 1

    with grpc.insecure_channel("xds:///" + service) as channel:
        ask = channel.unary_unary("/checkout.Checkout/Buy")
        begin = time.monotonic()
        sent, seconds = 0, 0
        while True:
            ask.future(b"", timeout=5).add_done_callback(record)
            sent += 1
            time.sleep(max(0.0, begin + sent / rate - time.monotonic()))
            if time.monotonic() - begin >= seconds + 1:
                seconds += 1
                with lock:
                    line = {"counts": dict(counts), "errors": dict(errors)}
                    counts.clear()
                    errors.clear()
                print(json.dumps(line), flush=True)


main()
