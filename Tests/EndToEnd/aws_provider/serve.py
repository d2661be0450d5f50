#!/usr/bin/env python3
"""Stands in for the AWS provider where its real one cannot be downloaded: serves the schema of
aws-N.json by Terraform's plug-in protocol 5, so that Terraform itself checks every argument,
block, type and reference. It creates nothing and asks nobody: only validation and mocked runs work.

Usage: serve.py SCHEMA (started by Terraform, with TF_DISABLE_PLUGIN_TLS=1).
"""

import json
import sys
import threading
from concurrent import futures

import grpc

NESTING = {"single": 1, "list": 2, "set": 3}


# Just enough of the wire format of Protocol Buffers to write a schema (tfplugin5.proto).


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def field(number, value):
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(int(value))


def attribute(name, description):
    flags = {"required": 4, "optional": 5, "computed": 6}
    return (
        field(1, name)
        + field(2, json.dumps(description["type"]))
        + b"".join(field(number, 1) for flag, number in flags.items() if description.get(flag))
    )


def nested(name, description):
    return (
        field(1, name)
        + field(2, block(description))
        + field(3, NESTING[description["nesting"]])
        + field(4, description["min"])
        + field(5, description["max"])
    )


def block(description):
    return b"".join(field(2, attribute(*item)) for item in description["attributes"].items()) + b"".join(
        field(3, nested(*item)) for item in description["blocks"].items()
    )


def schema(description):
    return field(2, block(description))


def entries(number, kinds):
    return b"".join(field(number, field(1, name) + field(2, schema(kind))) for name, kind in kinds.items())


def serve(path):
    with open(path) as file:
        kinds = json.load(file)
    answer = field(1, schema(kinds["provider"])) + entries(2, kinds["resources"]) + entries(3, kinds["data"])
    stopped = threading.Event()

    def shut_down(request, context):
        stopped.set()
        return b""

    def handlers(**methods):
        return {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}

    def empty(request, context):
        return b""

    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(
                "tfplugin5.Provider",
                handlers(
                    GetSchema=lambda request, context: answer,
                    # Request and answer are one field 1, the provider's configuration.
                    PrepareProviderConfig=lambda request, context: request,
                    ValidateResourceTypeConfig=empty,
                    ValidateDataSourceConfig=empty,
                    Configure=empty,
                    Stop=empty,
                ),
            ),
            grpc.method_handlers_generic_handler("plugin.GRPCController", handlers(Shutdown=shut_down)),
        ]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"1|5|tcp|127.0.0.1:{port}|grpc", flush=True)
    # A Terraform that died without a word must not leave this behind.
    stopped.wait(300)
    server.stop(0)


if __name__ == "__main__":
    serve(sys.argv[1])
