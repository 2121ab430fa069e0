"""`radstream model serve` as a process, with a real Orthanc and a folder of objects, asked as with curl."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests

from connectors.decoding_worker import decode
from models.registry import PACKAGES, load
from schemas.errors import SettingsInvalid
from schemas.findings import DEMONSTRATION
from schemas.identifiers import SOPInstanceUID
from schemas.ports import Prediction, Radiograph
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from streams.model_settings import RemoteSettings
from streams.remotes import remote_network
from streams.serving.answers import ServedFindings
from streams.settings import ArchiveSettings, ObjectSettings, ServingSettings, Settings
from tests.contract.orthanc_archive import orthanc_archive
from tests.contract.remote_package import SERVER, remote_package
from tests.contract.serve_process import Serving, model_serve

pytestmark = pytest.mark.service

ACCESSION, TOKEN = "SERVED-1", "t0ken"
FILM = copy_of(CHEST, accession_number=ACCESSION, patient_id="P-1")
INFER = "/v2/models/chest-nodule/versions/2/infer"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    (folder / "token").write_text(TOKEN)
    (folder / "objects" / "films").mkdir(parents=True)
    (folder / "objects" / "films" / "one.dcm").write_bytes(FILM)
    (folder / "secret").write_bytes(FILM)
    return folder


@pytest.fixture(scope="module")
def settings(folder: Path, orthanc_url: str) -> Settings:
    return Settings(
        archive=ArchiveSettings(dicomweb_url=f"{orthanc_url}/dicom-web", orthanc_url=None),
        objects=ObjectSettings(url=str(folder / "objects")),
        serving=ServingSettings(token_file=folder / "token"),
    )


@pytest.fixture(scope="module")
def serving(settings: Settings, folder: Path) -> Iterator[Serving]:
    with model_serve(settings, folder / "log") as serving:
        yield serving


def _ask(serving: Serving, **said: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {TOKEN}", **said.pop("headers", {})}
    return requests.post(f"{serving.url}{INFER}", headers=headers, timeout=60, **said)


def _named(serving: Serving, name: str, value: str) -> requests.Response:
    return _ask(serving, json={"inputs": [{"name": name, "shape": [1], "datatype": "BYTES", "data": [value]}]})


def _findings(answer: requests.Response) -> ServedFindings:
    assert answer.ok, answer.text
    told = answer.json()
    assert (told["model_name"], told["model_version"]) == ("chest-nodule", "2")
    [document] = [one["data"][0] for one in told["outputs"] if one["name"] == "findings"]
    return ServedFindings.model_validate_json(document)


def radiograph_of(part10: bytes) -> Radiograph:
    uid = SOPInstanceUID(pydicom.dcmread(io.BytesIO(part10), stop_before_pixels=True).SOPInstanceUID)
    return decode(part10, uid, 10**8)


def test_it_says_where_it_answers_and_what_it_is(serving: Serving) -> None:
    assert serving.said[0].startswith(f"{serving.url}/v2 answers for chest-nodule (version 2)")
    assert serving.said[1] == DEMONSTRATION


async def test_the_same_findings_wherever_the_image_is(serving: Serving, settings: Settings, orthanc_url: str) -> None:
    with closing(orthanc_archive(orthanc_url)) as archive:
        await archive.store([FILM])
        [image] = (await archive.describe(study_uid_of(ACCESSION))).images
    url = (
        f"{settings.archive.dicomweb_url}/studies/{study_uid_of(ACCESSION)}"
        f"/series/{image.series_instance_uid}/instances/{image.sop_instance_uid}"
    )
    said = _findings(_ask(serving, data=FILM, headers={"Inference-Header-Content-Length": "0"}))
    assert said.image is not None and said.image.sop_instance_uid == image.sop_instance_uid
    assert len(said.findings) >= 2, "masses of RG1"
    for other in (
        _named(serving, "dicom", base64.b64encode(FILM).decode()),
        _named(serving, "url", url),
        _named(serving, "key", "films/one.dcm"),
    ):
        assert _findings(other) == said


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("key", "../secret", "input key: is no name"),
        ("key", "films/none.dcm", "input key: there is no such object"),
        ("url", "http://127.0.0.1:1/studies/1.2/series/1.2/instances/1.2", "input url: is no instance of the archive"),
        ("url", "{dicomweb}/studies/1.2/series/1.2/instances/1.2", "input url: the archive does not give this instance"),
    ],
)
def test_what_is_not_for_whoever_asks(serving: Serving, settings: Settings, name: str, value: str, why: str) -> None:
    answer = _named(serving, name, value.replace("{dicomweb}", settings.archive.dicomweb_url))
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(why)


@pytest.mark.parametrize("binary", [False, True])
async def test_a_package_whose_model_is_another_radstream(
    serving: Serving, settings: Settings, tmp_path: Path, binary: bool
) -> None:
    """The same card, self-test, findings: only the numbers come from there."""
    remotes = {SERVER: RemoteSettings(url=serving.url, token_file=settings.serving.token_file)}
    package = remote_package(PACKAGES / "chest-nodule" / "2", tmp_path, model_name="chest-nodule.network", binary=binary)
    film = radiograph_of(FILM)
    with (
        closing(load(PACKAGES / "chest-nodule" / "2")) as here,
        closing(load(package, remote=partial(remote_network, remotes=remotes))) as there,
    ):
        [expected], [said] = here.predict_all([film]), there.predict_all([film])
    assert isinstance(expected, Prediction) and isinstance(said, Prediction)
    assert said.image.probability == pytest.approx(expected.image.probability, abs=1e-6)
    assert [one.region for one in said.findings] == [one.region for one in expected.findings]
    with pytest.raises(SettingsInvalid, match="no server gpu in RADSTREAM_MODELS__REMOTES; there are cpu"):
        load(package, remote=partial(remote_network, remotes={"cpu": remotes[SERVER]}))


def test_without_the_token(serving: Serving) -> None:
    assert requests.post(f"{serving.url}{INFER}", data=FILM, timeout=60).status_code == 401
    assert requests.get(f"{serving.url}/v2/health/ready", timeout=60).ok


def test_term_answers_what_is_in_flight(settings: Settings, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        with model_serve(settings, tmp_path / "log") as serving:
            asked = [pool.submit(_ask, serving, data=FILM, headers={"Inference-Header-Content-Length": "0"}) for _ in range(4)]
            assert asked[0].result(60).ok  # the others are in it by now
        answers = [one.result(60) for one in asked]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({json.dumps(answer.json()["outputs"]) for answer in answers}) == 1
