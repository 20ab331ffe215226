"""Registers the source of targets `file`: a list of replicas in a file, looked at once a second."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from gateway import BuildContext, Extension, TargetDocument, TargetListener, TargetSource, hookimpl
from gateway.errors import ConfigError

LOOK_SECONDS = 1.0
MAX_FILE_BYTES = 4 * 1024 * 1024

Stamp = tuple[int, int, int]


class FileSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`path`: a YAML or JSON file with a list of replicas, relative to the working directory."""

    path: Path


class FileSource:
    """One file."""

    def __init__(self, settings: FileSettings) -> None:
        self._path = settings.path

    def now(self) -> TargetDocument:
        """Read it; see `ImmediateSource.now`."""
        try:
            with self._path.open("rb") as stream:
                raw = stream.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be read: {error.strerror}") from error
        if len(raw) > MAX_FILE_BYTES:
            raise ConfigError(f"{self._path}: longer than {MAX_FILE_BYTES} bytes")
        try:
            return TargetDocument(raw.decode(), str(self._path), reads_environment=True)
        except UnicodeDecodeError as error:
            raise ConfigError(f"{self._path}: not UTF-8 at byte {error.start}") from error

    async def run(self, listener: TargetListener) -> None:
        """Look for changes; see `TargetSource.run`."""
        seen: Stamp | None = None
        while True:
            stamp = self._stamp()
            if stamp is None or stamp != seen:
                # Before it is read, so that a change meanwhile is seen the next time; and what is gone is said by `now`.
                seen = stamp
                listener.found(self.now())
            await listener.pause(LOOK_SECONDS)

    def _stamp(self) -> Stamp | None:
        """What changes when the file does, replaced ones included."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


def _build(settings: FileSettings, _: BuildContext) -> TargetSource:
    return FileSource(settings)


@hookimpl
def moegate_target_sources() -> Iterable[Extension[TargetSource]]:
    """Register the source."""
    return [Extension("file", FileSettings, _build)]
