"""The embedded services as the test run itself uses them."""

import os

import psycopg
import pytest


def test_database_refuses_a_wrong_password(services):
    url = os.environ["DATABASE_URL"].replace(os.environ["DATABASE_URL"].split(":")[2].split("@")[0], "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url)
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT '[1,2]'::vector <-> '[1,4]'").fetchone() == (2.0,)
