"""The signature that proves a webhook of ours: known answers, rotation, files that cannot be used."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from connectors.reporting.webhook_signature import SigningSecrets
from schemas.errors import SettingsInvalid
from tests.contract.webhook_server import SECRET, SECRET_2

#: the example of the specification's libraries
ID, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", datetime.fromtimestamp(1614265330, UTC), b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    return file


def test_the_known_answer(file: Path) -> None:
    headers = SigningSecrets(file).headers(ID, AT, BODY)
    assert headers == {"webhook-id": ID, "webhook-timestamp": "1614265330", "webhook-signature": SIGNATURE}


def test_the_formula_of_the_specification(file: Path) -> None:
    """HMAC-SHA256 over id.timestamp.body, computed without the library; the body is UTF-8 and not only ASCII."""
    body = '{"中心靜脈導管": "ü"}'.encode()
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = hmac.new(key, b"%b.1614265330.%b" % (ID.encode(), body), hashlib.sha256).digest()
    assert SigningSecrets(file).headers(ID, AT, body)["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


def test_the_time_zone_of_the_clock_does_not_matter(file: Path) -> None:
    there = AT.astimezone(timezone(timedelta(hours=8)))
    assert SigningSecrets(file).headers(ID, there, BODY)["webhook-signature"] == SIGNATURE


def test_two_secrets_give_two_signatures_and_each_proves_it(file: Path) -> None:
    secrets = SigningSecrets(file)
    file.write_text(f"{SECRET_2}\n{SECRET}\n")
    headers = secrets.headers(ID, datetime.now(UTC), BODY)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (SECRET, SECRET_2):
        assert Webhook(secret).verify(BODY, headers) == {"test": 2432232314}


@pytest.mark.parametrize("content", ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_***", "schlüssel"])
def test_a_file_that_cannot_be_used(file: Path, content: str) -> None:
    secrets = SigningSecrets(file)
    file.write_text(content)
    with pytest.raises(SettingsInvalid, match="secret_file") as caught:
        SigningSecrets(file)
    assert content not in str(caught.value) or not content.removeprefix("whsec_")
    # one that is just being written: the last good one stays in use
    assert secrets.headers(ID, AT, BODY)["webhook-signature"] == SIGNATURE


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="cannot be read: No such file"):
        SigningSecrets(tmp_path / "none")


def test_a_secret_without_padding(file: Path) -> None:
    file.write_text(SECRET_2.rstrip("="))
    headers = SigningSecrets(file).headers(ID, datetime.now(UTC), BODY)
    Webhook(SECRET_2).verify(BODY, headers)
