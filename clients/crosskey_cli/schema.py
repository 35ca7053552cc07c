"""Applies and reads schemas over gRPC."""

import grpc

from crosskey import errors
from crosskey.v1 import admin_pb2, admin_pb2_grpc

APPLY_SECONDS = 120.0
READ_SECONDS = 10.0


def apply_schema(address: str, schema_sql: str) -> admin_pb2.ApplySchemaResponse:
    """Apply a schema through the router at `address`; the errors of Admin.ApplySchema as CrosskeyError."""
    with grpc.insecure_channel(address) as channel:
        try:
            request = admin_pb2.ApplySchemaRequest(sql=schema_sql)
            return admin_pb2_grpc.AdminStub(channel).ApplySchema(request, timeout=APPLY_SECONDS)
        except grpc.RpcError as error:
            raise errors.from_rpc_error(error) from None


def table_names(address: str) -> list[str]:
    """Return the tables of the schema in force, by name; none if no schema is."""
    with grpc.insecure_channel(address) as channel:
        stub = admin_pb2_grpc.AdminStub(channel)
        try:
            schema = stub.DescribeSchema(admin_pb2.DescribeSchemaRequest(), timeout=READ_SECONDS)
        except grpc.RpcError as error:
            failure = errors.from_rpc_error(error)
            if isinstance(failure, errors.SchemaNotLoaded):
                return []
            raise failure from None
    return [table.table for table in schema.tables]
