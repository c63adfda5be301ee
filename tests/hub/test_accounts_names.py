"""Nobody may be called like an address of this site."""

import pytest
from django.core.exceptions import ValidationError

from hub.accounts.names import check_account_name, reserved_names


@pytest.mark.parametrize("name", ["ask", "MAP", "merge", "systems", "teach", "api", "accounts", "datasets", "v1"])
def test_an_address_of_this_site_is_no_name(name: str) -> None:
    with pytest.raises(ValidationError, match="address of this site"):
        check_account_name(name)


def test_every_first_segment_is_plain_and_people_keep_their_names() -> None:
    assert not [name for name in reserved_names() if "<" in name or "/" in name]
    for name in ("ada", "commons", "lab", "meta-llama"):
        check_account_name(name)
