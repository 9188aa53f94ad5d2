"""Verifies finished shards: every checksum and every record."""

from __future__ import annotations

from jasper_tf.data.manifest.line import parse_line
from jasper_tf.data.manifest.manifest_file import ManifestFile
from jasper_tf.data.storage.shard_index import INDEX_NAME, MANIFEST_NAME, REPAIR_ADVICE, file_sha256, read_index
from jasper_tf.data.storage.shard_reader import load_record
from jasper_tf.errors import UserError
from jasper_tf.io.progress import Progress
from jasper_tf.io.remote import remote_name
from jasper_tf.io.thread_pool import map_in_order


def verify_shards(folder: str, workers: int) -> list[str]:
    """Reads every byte of a folder of shards: the checksums of all files, and every record that the manifest names.

    Args:
        folder: of shards.
        workers: threads.

    Returns:
        The faults, a line each; empty if there are none.

    Raises:
        UserError: `folder` holds no finished shards.
    """
    index = read_index(folder)
    if index is None:
        raise UserError(f"{folder}: no finished shards (no {INDEX_NAME} of shards); give the folder that `shard` wrote")
    try:
        manifest = ManifestFile(folder)
    except UserError as error:  # a file is missing or has another size: its content need not be read
        return [str(error)]
    named = [(MANIFEST_NAME, index.manifest_sha256), *((shard.file, shard.sha256) for shard in index.shards)]
    sums = map_in_order(lambda one: file_sha256(remote_name(folder, one[0])), named, workers)
    wrong = [file for (file, expected), found in zip(named, sums, strict=True) if found != expected]
    damage = f"damaged (not the checksum in {INDEX_NAME}); {REPAIR_ADVICE}"
    faults = [f"{remote_name(folder, file)}: {damage}" for file in wrong]

    def fault(numbered: tuple[int, int, bytes]) -> str:
        number, _, line = numbered
        try:
            utterance = parse_line(line, folder, "", files_exist=True)
            if utterance is None or utterance.record is None:
                return f"{manifest.path}:{number}: a line without a record; {REPAIR_ADVICE}"
            load_record(utterance.path, *utterance.record)
        except UserError as error:
            return str(error)
        return ""

    with Progress("verifying", index.utterances) as progress:
        for text in map_in_order(fault, manifest.lines(), workers):
            faults += [text] if text else []
            progress.advance()
        done = progress.done
    if done != index.utterances:
        faults.append(f"{manifest.path}: has {done} utterances, the index says {index.utterances}; {REPAIR_ADVICE}")
    return faults
