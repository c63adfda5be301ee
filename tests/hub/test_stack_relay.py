"""The relay passes on what it is given, signatures and all."""

import os
import urllib.request

import boto3
import pytest
from botocore.config import Config

from hub.stack import environment
from hub.stack.process import Process
from hub.stack.relay import Relay
from tests import services as support


@pytest.fixture
def relay(services, tmp_path):
    target = int(os.environ["S3_ENDPOINT_URL"].rsplit(":", 1)[1])
    part = Relay("0.0.0.0", environment.free_port(), target)
    process = Process(part.command(), tmp_path)
    try:
        while not part.answers():
            assert process.exit_code() is None
        yield part
    finally:
        process.stop()


def test_presigned_addresses_work_through_the_relay(relay):
    client = boto3.client(
        "s3", endpoint_url=f"http://localhost:{relay.port}", region_name="us-east-1",
        aws_access_key_id=os.environ["S3_ACCESS_KEY_ID"], aws_secret_access_key=os.environ["S3_SECRET_ACCESS_KEY"],
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )  # fmt: skip
    place = {"Bucket": os.environ["S3_BUCKET"], "Key": "relayed"}
    body = os.urandom(3_000_000)
    put = client.generate_presigned_url("put_object", Params=place)
    urllib.request.urlopen(urllib.request.Request(put, data=body, method="PUT")).close()
    with urllib.request.urlopen(client.generate_presigned_url("get_object", Params=place)) as answer:
        assert answer.read() == body
    assert support.store_client().head_object(**place)["ContentLength"] == len(body)


def test_outward_addresses_lead_to_the_relay(tmp_path, monkeypatch):
    for name in ("S3_ENDPOINT_URL", "S3_PUBLIC_ENDPOINT_URL", "PUBLIC_URL", "ALLOWED_HOSTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TESSERA_STATE", str(tmp_path))
    try:
        environment.load(["manage.py", "up", "--state", str(tmp_path), "--host", "192.0.2.7", "--port", "8123"])
        values = environment.read(tmp_path)
        assert os.environ["PUBLIC_URL"] == "http://192.0.2.7:8123"
        assert os.environ["S3_PUBLIC_ENDPOINT_URL"] == f"http://192.0.2.7:{values['RELAY_PORT']}"
        assert os.environ["S3_ENDPOINT_URL"] == f"http://127.0.0.1:{values['S3_PORT']}"
        assert os.environ["ALLOWED_HOSTS"].startswith("192.0.2.7,")
    finally:
        for name in ("S3_PUBLIC_ENDPOINT_URL", "PUBLIC_URL", "ALLOWED_HOSTS"):
            os.environ.pop(name, None)
