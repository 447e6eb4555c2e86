"""Sequences as a user of tritonclient has them: ``python triton_sequences.py ADDRESS MODEL``.

Prints one JSON object; imports nothing of Foretoken.
"""

import json
import queue
import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

VALUES = np.linspace(-1, 1, 24).reshape(12, 2)


def inputs(values) -> list:
    array = np.atleast_2d(values)
    tensor = triton.InferInput("values", array.shape, "FP64")
    tensor.set_data_from_numpy(array)
    return [tensor]


def unary(client, model: str, sequence) -> list:
    made = []
    for i, row in enumerate(VALUES):
        flags = {"sequence_start": i == 0, "sequence_end": i == len(VALUES) - 1}
        result = client.infer(model, inputs(row), sequence_id=sequence, **flags)
        made += result.as_numpy("y").tolist()
    return made


def streamed(client, model: str, sequences) -> dict:
    """Several sequences on one stream, side by side."""
    got = queue.Queue()
    client.start_stream(lambda result, error: got.put((result, error)))
    for i, row in enumerate(VALUES):
        flags = {"sequence_start": i == 0, "sequence_end": i == len(VALUES) - 1}
        for each in sequences:
            client.async_stream_infer(
                model, inputs(row), request_id=str(each), sequence_id=each, **flags
            )
    made = {str(each): [] for each in sequences}
    for _ in range(len(VALUES) * len(sequences)):
        result, error = got.get(timeout=30)
        if error is not None:
            raise error
        made[result.get_response().id] += result.as_numpy("y").tolist()
    client.stop_stream()
    return made


def refused(client, model: str) -> str:
    try:
        client.infer(model, inputs(VALUES[0]), sequence_id=99)
    except InferenceServerException as e:
        return str(e.status())
    return "OK"


def main(address: str, model: str) -> dict:
    client = triton.InferenceServerClient(address)
    config = client.get_model_config(model, as_json=True)["config"]
    return {
        "extensions": client.get_server_metadata(as_json=True)["extensions"],
        "batching": sorted(set(config) & {"sequence_batching", "dynamic_batching"}),
        "number": unary(client, model, 5),
        "string": unary(client, model, "five"),
        "stream": streamed(client, model, [1, 2, "three"]),
        "unknown": refused(client, model),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])))
