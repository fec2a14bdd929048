"""Secrets in the clear: opened where the key is, and kept out of what people read."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

import pytest
from tests import gnupg

from pillarbox.secrets import Keyring, Scrubber, SecretsError
from pillarbox.system import gpg


def test_a_keyring_opens_blocks_and_leaves_text() -> None:
    with gnupg.keyring() as home:
        block = gpg.encrypt(home, gpg.import_key(home, gnupg.armored(home)), "secret\n")
        keys = Keyring(home)
        assert keys.open("plain\n") == "plain\n"
        assert keys.open(block) == "secret"
        assert keys.open(f"a {block.strip()} b") == "a secret\n b"


def test_without_keys_only_secrets_are_missed(tmp_path: Path) -> None:
    keys = Keyring(tmp_path / "none")
    assert keys.open("plain") == "plain"
    with pytest.raises(SecretsError, match=f"no key ring at {tmp_path}/none"):
        keys.open(f"{gpg.BEGIN}\nx\n-----END PGP MESSAGE-----")


@pytest.mark.parametrize("secret", ["hunter22", "pa$$ w/örd", "-----BEGIN KEY-----\nfirst line\nsecond line\n"])
def test_a_scrubber_takes_out_every_form_of_a_secret(secret: str) -> None:
    scrub = Scrubber([secret.encode(), b"abc"])
    parts = [secret.strip(), *secret.split("\n")]
    forms = {*parts, *(quote(part, safe="") for part in parts), base64.b64encode(secret.encode()).decode()} - {""}
    text = scrub("\n".join(f"error: {form} was refused" for form in forms))
    assert not [form for form in forms if form in text]
    # What is as short as words are stays.
    assert text.count("was refused") == len(forms) and scrub("abc") == "abc"
