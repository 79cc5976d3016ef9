"""The file of a backup: a tar with `manifest.json`, an RDB file for each primary, and SHA256SUMS of all of these."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec

from queueing.errors import BackupError
from queueing.jobs import State

FORMAT = 1
MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024

_PART = re.compile(r"primary-[1-9][0-9]{0,3}\.rdb")

Count = Annotated[int, msgspec.Meta(ge=0)]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """An RDB file of the archive; `server` is the name and version of the server it is of."""

    name: str
    server: str
    sha256: str
    bytes: Count


class QueueContent(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of a queue; `faults` are jobs whose record and places do not agree."""

    queue: str
    part: str
    generation: str | None
    counts: dict[State, Count]
    faults: Count = 0


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is. It has all that was accepted until `created_at`, of the clock of the first server."""

    format: int
    created_at: Annotated[datetime, msgspec.Meta(tz=True)]
    database: Count
    parts: Sequence[Part]
    queues: Sequence[QueueContent]

    @property
    def id(self) -> str:
        """What distinguishes this backup from any other."""
        return hashlib.sha256(_text_of(self)).hexdigest()


class _Format(msgspec.Struct):
    format: int


def write_archive(file: BinaryIO, manifest: Manifest, parts: Sequence[Path]) -> None:
    """Write an archive; `parts` are the files of the manifest's parts."""
    text = _text_of(manifest)
    with tarfile.open(fileobj=file, mode="w") as archive:
        _add(archive, MANIFEST, io.BytesIO(text), len(text), manifest)
        for part, path in zip(manifest.parts, parts, strict=True):
            with path.open("rb") as source:
                _add(archive, part.name, source, part.bytes, manifest)
        sums = _sums_of(manifest).encode()
        _add(archive, SUMS, io.BytesIO(sums), len(sums), manifest)


def _add(archive: tarfile.TarFile, name: str, source: BinaryIO, size: int, manifest: Manifest) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(manifest.created_at.timestamp())
    archive.addfile(member, source)


def _text_of(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def _sums_of(manifest: Manifest) -> str:
    """Return what `sha256sum --check` reads."""
    sums = {MANIFEST: manifest.id} | {part.name: part.sha256 for part in manifest.parts}
    return "".join(f"{digest}  {name}\n" for name, digest in sums.items())


def read_archive(path: Path, folder: Path) -> tuple[Manifest, list[Path]]:
    """Write the parts of an archive into `folder` and return its manifest and them; all sums have been checked.

    Raises BackupError for what is damaged, no archive of ours, or of a later release.
    """
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            manifest = _read_manifest(archive)
            parts = [_extract(archive, part, folder / part.name) for part in manifest.parts]
            _check_sums(archive, manifest)
    except (tarfile.TarError, KeyError, ValueError, msgspec.MsgspecError) as error:
        raise BackupError(f"{path} is no backup, or it is damaged: {error}") from None
    return manifest, parts


def _read_manifest(archive: tarfile.TarFile) -> Manifest:
    text = _read(archive, MANIFEST)
    found = msgspec.json.decode(text, type=_Format).format
    if found != FORMAT:
        raise BackupError(f"the backup has format {found}; this release reads format {FORMAT}")
    manifest = msgspec.json.decode(text, type=Manifest)
    if _text_of(manifest) != text or not all(_PART.fullmatch(part.name) for part in manifest.parts):
        raise ValueError(f"{MANIFEST} was changed")
    return manifest


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    """Return a small member."""
    member = archive.getmember(name)
    source = archive.extractfile(member) if member.size <= MAX_MANIFEST_BYTES else None
    if source is None:
        raise ValueError(f"{name} is no file of its kind")
    return source.read()


def _extract(archive: tarfile.TarFile, part: Part, path: Path) -> Path:
    source = archive.extractfile(part.name)
    if source is None or archive.getmember(part.name).size != part.bytes:
        raise ValueError(f"{part.name} has not {part.bytes} bytes")
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
        while piece := source.read(CHUNK_BYTES):
            target.write(piece)
            digest.update(piece)
    if digest.hexdigest() != part.sha256:
        raise ValueError(f"{part.name} does not have its checksum")
    return path


def _check_sums(archive: tarfile.TarFile, manifest: Manifest) -> None:
    if _read(archive, SUMS) != _sums_of(manifest).encode():
        raise ValueError(f"{MANIFEST} does not have its checksum")
