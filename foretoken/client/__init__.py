"""The client of a Foretoken server: needs grpcio, protobuf and numpy, nothing else.

``operations`` say what is sent and how a reply is read, as data; ``Client`` and ``AsyncClient``
send it, each in its own way.
"""

from foretoken.client.aio import AsyncClient, AsyncWatch
from foretoken.client.aio_generation import AsyncGenerating
from foretoken.client.aio_session import AsyncSession
from foretoken.client.blocking import Client, Watch
from foretoken.client.blocking_generation import Generating
from foretoken.client.blocking_session import Session
from foretoken.client.describe import ModelInfo
from foretoken.client.outputs import Output
from foretoken.client.predictions import Fitted, Prediction
from foretoken.client.snapshots import Snapshot
from foretoken.client.watching import Outlook
from foretoken.embeddings import Embeddings

__all__ = [
    "AsyncClient",
    "AsyncGenerating",
    "AsyncSession",
    "AsyncWatch",
    "Client",
    "Embeddings",
    "Fitted",
    "Generating",
    "ModelInfo",
    "Outlook",
    "Output",
    "Prediction",
    "Session",
    "Snapshot",
    "Watch",
]
