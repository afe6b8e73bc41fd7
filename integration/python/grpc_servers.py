"""Plain gRPC servers of one version: grpc_servers.py VERSION COUNT.

Every unary method answers with the version's name. Prints {"ports": [...]} once all listen.
"""

import concurrent.futures
import json
import sys

import grpc


class Everything(grpc.GenericRpcHandler):
    def __init__(self, version):
        self._handler = grpc.unary_unary_rpc_method_handler(lambda request, context: version)

    def service(self, details):
        return self._handler


def main():
    version, count = sys.argv[1], int(sys.argv[2])
    servers, ports = [], []
    for _ in range(count):
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=4))
        server.add_generic_rpc_handlers([Everything(version.encode())])
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        server.start()
        servers.append(server)
    print(json.dumps({"ports": ports}), flush=True)
    servers[0].wait_for_termination()


main()
