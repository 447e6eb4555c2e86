"""TLS of the gRPC port: certificates from files, read again when they have been renewed."""

from __future__ import annotations

from pathlib import Path

import grpc

from foretoken.errors import InvalidInput
from foretoken.server.settings import Settings

__all__ = ["credentials"]

_Stamp = tuple[tuple[int, int], ...]  # modification time and size of each file


def credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Credentials that the settings ask for, or None for a port without TLS.

    A renewed certificate is taken up by the next connection; one that cannot be read leaves the
    old one in use.

    Raises:
        InvalidInput: if a file cannot be read or is not PEM.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    files = [settings.tls_cert, settings.tls_key]
    files += [] if settings.tls_client_ca is None else [settings.tls_client_ca]
    stamp, configuration = _stamp(files), _configuration(files)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal stamp
        try:
            now = _stamp(files)
            if now == stamp:
                return None
            fresh = _configuration(files)
        except InvalidInput:
            return None
        stamp = now
        return fresh

    return grpc.dynamic_ssl_server_credentials(
        configuration, renewed, require_client_authentication=len(files) == 3
    )


def _configuration(files: list[Path]) -> grpc.ServerCertificateConfiguration:
    certificate, key, *ca = [_pem(path) for path in files]
    return grpc.ssl_server_certificate_configuration(
        [(key, certificate)], root_certificates=ca[0] if ca else None
    )


def _pem(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as e:
        raise InvalidInput(f"cannot read the TLS file {path}: {e.strerror}") from e
    if b"-----BEGIN " not in data:
        raise InvalidInput(f"the TLS file {path} is not PEM")
    return data


def _stamp(files: list[Path]) -> _Stamp:
    try:
        return tuple((s.st_mtime_ns, s.st_size) for s in (path.stat() for path in files))
    except OSError as e:
        raise InvalidInput(f"cannot read the TLS file {e.filename}: {e.strerror}") from e
