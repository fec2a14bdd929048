"""Reading what Salt says about a highstate."""

from __future__ import annotations

import json

from pillarbox.lab import minions, salt


def state(result: bool | None, **more: object) -> dict:
    return {"result": result, "comment": "", "changes": {}, "__id__": "an_id", **more}


def test_counts_what_changed() -> None:
    outcome = salt.outcome({"a": state(True), "b": state(True, changes={"diff": "x"})})
    assert outcome.ok
    assert outcome.summary() == "2 states, 1 changed"


def test_names_the_cause_and_not_what_waited_for_it() -> None:
    outcome = salt.outcome(
        {
            "a": state(False, __id__="cause", comment="it broke", changes={"stderr": "because"}),
            "b": state(False, __id__="later", comment="One or more requisite failed: x.cause"),
        }
    )
    assert outcome.failed == (("cause", "it broke\nbecause"),)
    assert "because" in outcome.told()


def test_an_answer_that_is_no_highstate_is_a_failure() -> None:
    for answer in (["Rendering SLS failed"], "Minion did not return. [No response]", {}, None):
        assert not salt.outcome(answer).ok


def test_a_requisite_that_failed_elsewhere_is_still_a_failure() -> None:
    assert not salt.outcome({"b": state(False, comment="One or more requisite failed: x")}).ok


def test_parses_both_programs_and_garbage() -> None:
    answer = {"a": state(True)}
    assert salt.parse(json.dumps({"local": answer}), "h").total == 1
    assert salt.parse("a warning\n" + json.dumps({"h": answer}), "h").total == 1
    assert salt.parse(json.dumps({"h": {"ret": answer, "retcode": 0}}), "h").total == 1
    assert not salt.parse("Traceback", "h").ok
    assert not salt.parse('{"h": {', "h").ok


def test_reads_the_state_from_a_log_line() -> None:
    line = "[INFO    ] Executing state file.managed for [/etc/hosts]"
    assert salt.executing(line) == "file.managed /etc/hosts"
    assert salt.executing("[INFO    ] Completed state") is None


def test_fingerprint_ignores_how_a_key_file_is_written() -> None:
    key = "-----BEGIN PUBLIC KEY-----\nAAAA\nBBBB\n-----END PUBLIC KEY-----"
    assert minions.fingerprint(key) == minions.fingerprint(key.replace("\n", "\r\n") + "\n\n")
    assert minions.fingerprint(key) != minions.fingerprint(key.replace("BBBB", "BBBC"))
