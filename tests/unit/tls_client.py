"""What every client of a web server does with certificates. Subclasses say how theirs asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from connectors.tls import CertificateFiles
from schemas.errors import Unavailable
from tests.unit.certificates import Authority, Pair
from tests.unit.http_peer import Handler, http_peer


class TlsClientContract:
    #: when the server cannot be trusted, or does not trust us
    unavailable: type[Unavailable]

    @staticmethod
    def good(handler: Handler) -> None:
        """What `ask` asks for."""
        raise NotImplementedError

    @staticmethod
    async def ask(url: str, ca: Path | None, shown: Pair | None = None) -> None:
        """`ca` signs the server's certificate; `shown` is ours."""
        raise NotImplementedError

    @pytest.fixture
    def hospital(self, tmp_path_factory: pytest.TempPathFactory) -> Authority:
        return Authority(tmp_path_factory.mktemp("hospital"), "hospital")

    @pytest.fixture
    def stranger(self, tmp_path_factory: pytest.TempPathFactory) -> Authority:
        return Authority(tmp_path_factory.mktemp("stranger"), "stranger")

    @pytest.fixture
    def server(self, hospital: Authority) -> CertificateFiles:
        pair = hospital.sign("server")
        return CertificateFiles(pair.certificate, pair.key)

    async def test_tls_with_the_hospitals_own_authority(
        self, server: CertificateFiles, hospital: Authority, stranger: Authority
    ) -> None:
        with http_peer(self.good, server.context()) as url:
            await self.ask(url, hospital.certificate)
            for ca in (stranger.certificate, None):
                with pytest.raises(self.unavailable, match="TLS: .*certificate.*check the certificates"):
                    await self.ask(url, ca)

    async def test_tls_is_not_spoken_to_one_who_does_not(self, hospital: Authority) -> None:
        with http_peer(self.good) as url, pytest.raises(self.unavailable, match="TLS"):
            await self.ask(url.replace("http:", "https:"), hospital.certificate)

    async def test_mutual_tls(self, server: CertificateFiles, hospital: Authority, stranger: Authority) -> None:
        with http_peer(self.good, replace(server, client_ca=hospital.certificate).context()) as url:
            await self.ask(url, hospital.certificate, hospital.sign("radstream"))
            for shown in (stranger.sign("radstream"), None):
                with pytest.raises(self.unavailable):
                    await self.ask(url, hospital.certificate, shown)
