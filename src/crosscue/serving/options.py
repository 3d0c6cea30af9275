"""Options of `crosscue serve`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crosscue.errors import OptionError
from crosscue.serving.keys import Keys
from crosscue.serving.security import Rules, rate_of


@dataclass(frozen=True)
class ServeOptions:
    """Options of `crosscue serve`."""

    run: str | None = None
    """Run folder, export folder or method whose embeddings are served without any collection."""
    host: str = "127.0.0.1"
    """Address to listen on. The default is reachable from this machine alone; another one needs --keys."""
    port: int = 7878
    """Port to listen on; 0 takes a free one and prints it."""
    keys: Path | None = None
    """File of keys, one `name sha256` a line. `crosscue serve key NAME --keys FILE` adds a key and prints it once."""
    open_to_everyone: bool = False
    """True: the server needs no keys although other machines reach it."""
    secret_file: Path | None = None
    """File whose content signs the cookies of the page. Default the file of keys: servers with one file take each other's cookies.
    With a file of its own, a new key ends no session."""
    hosts: str = ""
    """Names under which other machines reach the server, separated by commas. Addresses in numbers always work."""
    cors: str = ""
    """Origins whose pages may send requests, such as https://example.org, separated by commas. Default: none."""
    rate: str = ""
    """Most requests of one key or address, such as 20/second. Default: no limit. Each replica counts for itself."""
    replica: bool = False
    """True: this server is one of several over one collection. It writes nothing but marks; `crosscue index` runs elsewhere."""
    runtime: str = "auto"
    """`onnx` for exports, `torch` for runs; `auto` takes the one that fits."""
    precision: str = "auto"
    """dtype of the towers; see `crosscue index --help`."""
    device: str | None = None
    """Device, such as cpu or cuda; default the GPU if there is one."""
    threads: int | None = None
    """Most threads of an export; default all cores."""
    open: bool = False
    """True: the page is opened in the browser of this machine."""
    log_queries: bool = False
    """True: the texts of queries enter the log. They are private, so the default leaves them out."""
    access_log: Literal["requests", "none"] = "requests"
    """`requests`: one line a request. `none`: warnings and errors alone."""

    def __post_init__(self) -> None:
        """Checks that the server is not open by accident.

        Raises:
            OptionError: the port is impossible, other machines can reach the server and no keys are set, or a secret has no keys.
        """
        if not 0 <= self.port <= 65535:
            raise OptionError(f"--port {self.port}: choose a port from 0 to 65535.")
        if not self.loopback and self.keys is None and not self.open_to_everyone:
            raise OptionError(
                f"--host {self.host}: other machines could search without a key. Make keys (crosscue serve key NAME "
                "--keys keys.txt) and add --keys keys.txt, or add --open_to_everyone."
            )
        if self.secret_file is not None and self.keys is None:
            raise OptionError("--secret_file signs cookies, and without keys there are none. Add --keys keys.txt.")

    @property
    def loopback(self) -> bool:
        """True if this machine alone reaches the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def alone(self) -> bool:
        """True if people of this machine alone search. Keys, names of hosts and replicas mean a proxy, and people elsewhere."""
        return self.loopback and self.keys is None and not self.hosts and not self.replica

    def rules(self) -> Rules:
        """Returns the rules of the guard.

        Raises:
            OptionError: the file of keys, the secret or the rate is wrong.
        """
        return Rules(
            keys=Keys.read(self.keys, self.secret_file) if self.keys is not None else None,
            hosts=frozenset(name.lower() for name in listed(self.hosts)) | {self.host.lower()},
            origins=frozenset(listed(self.cors)),
            rate=rate_of(self.rate) if self.rate else None,
        )


def listed(text: str) -> list[str]:
    """Returns the parts of a list with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]
