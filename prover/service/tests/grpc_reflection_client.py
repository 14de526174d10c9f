"""Submits a job and fetches a valid proof, knowing nothing of the API but what server reflection tells.

    python grpc_reflection_client.py HOST:PORT circuits/{uuid} INPUT.json
"""

import json
import sys
import uuid

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


class Service:
    """The methods of a service as functions from keyword arguments to a message."""

    def __init__(self, channel, pool, name):
        self._methods = {}
        for method in pool.FindServiceByName(name).methods:
            request = message_factory.GetMessageClass(method.input_type)
            response = message_factory.GetMessageClass(method.output_type)
            kind = "stream" if method.server_streaming else "unary"
            factory = getattr(channel, f"unary_{kind}")
            call = factory(
                f"/{name}/{method.name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=response.FromString,
            )
            self._methods[method.name] = (request, call)

    def __getattr__(self, name):
        request, call = self._methods[name]
        return lambda **fields: call(request(**fields), timeout=120)


def main(address, circuit, input_path):
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = database.get_services()
        for wanted in ("zkinfer.v1.Artifacts", "zkinfer.v1.Circuits", "zkinfer.v1.Jobs", "grpc.health.v1.Health"):
            assert wanted in services, f"{wanted} is not in {services}"
        pool = descriptor_pool.DescriptorPool(database)
        jobs = Service(channel, pool, "zkinfer.v1.Jobs")

        with open(input_path, "rb") as file:
            data = file.read()
        job = jobs.CreateJob(circuit=circuit, inline_input=data, request_id=str(uuid.uuid4()))
        states = pool.FindEnumTypeByName("zkinfer.v1.Job.State").values_by_name
        seen = []
        for event in jobs.WatchJobs(names=[job.name]):
            seen.append(event.WhichOneof("event"))
        assert seen[0] == "snapshot", seen
        job = jobs.WaitJob(name=job.name)
        assert job.state == states["SUCCEEDED"].number, job
        proof = jobs.GetProof(job=job.name)
        checked = jobs.VerifyProof(circuit=circuit, proof=proof.data, public_values=proof.public_values)
        assert checked.valid, checked.reason
        changed = bytes([proof.public_values[0], *proof.public_values[1:-1], proof.public_values[-1] ^ 1])
        lie = jobs.VerifyProof(circuit=circuit, proof=proof.data, public_values=changed)
        assert not lie.valid and lie.reason, lie
        try:
            jobs.GetJob(name=f"jobs/{uuid.uuid4()}")
            raise AssertionError("an unknown job was found")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error
        print(json.dumps({"job": job.name, "proof_bytes": len(proof.data), "valid": True}))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
