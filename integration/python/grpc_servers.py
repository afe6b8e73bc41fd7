"""Plain gRPC servers of one version: grpc_servers.py VERSION COUNT [FAILING].

Every unary method answers with the version's name, but for FAILING percent of the calls, which end
with UNAVAILABLE. Prints {"ports": [...]} once all listen.
"""

import concurrent.futures
import itertools
import json
import sys

import grpc


class Everything(grpc.GenericRpcHandler):
    def __init__(self, version, failing):
        self._version, self._failing = version, failing
        self._numbers = itertools.count()
        self._handler = grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request, context):
        # Spread over every hundred calls: 37 has no factor in common with 100.
        if next(self._numbers) * 37 % 100 < self._failing:
            context.abort(grpc.StatusCode.UNAVAILABLE, "as asked")
        return self._version

    def service(self, details):
        return self._handler


def main():
    version, count = sys.argv[1], int(sys.argv[2])
    failing = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    servers, ports = [], []
    for _ in range(count):
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=4))
        server.add_generic_rpc_handlers([Everything(version.encode(), failing)])
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        server.start()
        servers.append(server)
    print(json.dumps({"ports": ports}), flush=True)
    servers[0].wait_for_termination()


main()
