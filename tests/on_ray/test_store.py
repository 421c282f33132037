"""Results through a bucket: the protocol of S3, spoken to a server of moto on this machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pfl_simulations.environment import versions
from p2pfl_simulations.studies import on_ray
from p2pfl_simulations.studies.cells import CellEnd, CellJob, is_whole, pack, run_into
from p2pfl_simulations.studies.settings import StudyError

SCENARIO: dict[str, Any] = {
    "peers": 4,
    "rounds": 1,
    "learning": {"task": "integers"},
    "averaging": {"algorithm": "dsgd"},
    "evaluation": {"baselines": []},
}


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    given = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "of-a-test",
        "AWS_SECRET_ACCESS_KEY": "of-a-test",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }
    with pytest.MonkeyPatch.context() as patches:
        for name, value in given.items():
            patches.setenv(name, value)
        import boto3

        place = {"LocationConstraint": "eu-central-1"}
        boto3.client("s3").create_bucket(Bucket="studies", CreateBucketConfiguration=place)
        try:
            yield "s3://studies/of-a-test"
        finally:
            server.stop()


def job_of(seed: int) -> CellJob:
    document = {**SCENARIO, "seed": seed}
    return CellJob(f"cell-{seed}", f"digest-{seed}", document, None, 1, False, versions())


def taken(jobs: list[CellJob], cells: Path, store: str) -> tuple[list[str], list[CellEnd]]:
    ends: list[CellEnd] = []
    left = on_ray._from_store(jobs, cells, store, ends.append)
    return [it.name for it in left], ends


def test_cells_go_through_a_bucket(bucket: str, tmp_path: Path) -> None:
    """One that came after the bucket was looked at is found, as are those of an earlier sweep."""
    jobs, cells = [job_of(1), job_of(2)], tmp_path / "cells"
    cells.mkdir()
    assert taken(jobs, cells, bucket) == (["cell-1", "cell-2"], [])
    assert list(cells.iterdir()) == []
    assert run_into(jobs[0], tmp_path / "there") == ""
    packed = pack(tmp_path / "there")
    on_ray._put(bucket, "cell-1", packed)
    assert taken(jobs, cells, bucket) == (["cell-2"], [CellEnd("cell-1", "", "store")])
    assert is_whole(cells / "cell-1", "digest-1")
    assert on_ray._names_in(bucket) == {"cell-1.tar"}  # Nothing half written stays.
    import boto3

    # As another machine does: what fsspec remembers here knows nothing of it.
    key = "of-a-test/cell-2.tar"
    boto3.client("s3").put_object(Bucket="studies", Key=key, Body=packed)
    assert on_ray._get(bucket, "cell-2") == packed


def test_a_cell_that_was_torn_in_a_bucket_runs_again(bucket: str, tmp_path: Path) -> None:
    job, cells = job_of(3), tmp_path / "cells"
    cells.mkdir()
    assert run_into(job, tmp_path / "there") == ""
    record = tmp_path / "there" / "summary.json"
    packed = pack(tmp_path / "there").replace(record.read_bytes()[:40], b"x" * 40)
    on_ray._put(bucket, "cell-3", packed)
    assert taken([job], cells, bucket) == (["cell-3"], [])


def test_a_bucket_that_is_not_there_is_one_line(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    fsspec.filesystem("s3").clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StudyError, match=f"--store {bucket}: "):
        taken([job_of(1)], tmp_path, bucket)
    fsspec.filesystem("s3").clear_instance_cache()
