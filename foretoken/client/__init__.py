"""The client of a Foretoken server: needs grpcio, protobuf and numpy, nothing else.

``operations`` say what is sent and how a reply is read, as data; ``Client`` and ``AsyncClient``
send it, each in its own way.
"""

from foretoken.client.aio import AsyncClient, AsyncWatch
from foretoken.client.blocking import Client, Watch
from foretoken.client.describe import ModelInfo
from foretoken.client.predictions import Fitted, Prediction
from foretoken.client.watching import Outlook

__all__ = [
    "AsyncClient",
    "AsyncWatch",
    "Client",
    "Fitted",
    "ModelInfo",
    "Outlook",
    "Prediction",
    "Watch",
]
