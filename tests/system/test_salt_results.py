"""Reading what Salt says when it has applied states."""

from __future__ import annotations

import json

import pytest

from pillarbox.system import salt_results


def state(result: bool | None, **more: object) -> dict:
    return {"result": result, "comment": "", "changes": {}, "__id__": "an_id", **more}


def test_counts_what_changed() -> None:
    results = salt_results.read({"a": state(True), "b": state(True, changes={"diff": "x"})})
    assert results.ok
    assert results.summary() == "2 states, 1 changed"


def test_names_the_cause_and_not_what_waited_for_it() -> None:
    results = salt_results.read(
        {
            "a": state(False, __id__="cause", comment="it broke", changes={"stderr": "because"}),
            "b": state(False, __id__="later", comment="One or more requisite failed: x.cause"),
        }
    )
    assert [(each.id, each.comment) for each in results.failed] == [("cause", "it broke")] and results.skipped == 1
    assert results.failures() == "  cause: it broke\n        because"


def test_the_one_that_failed_first_comes_first() -> None:
    returned = {"a": state(False, __id__="second", __run_num__=2), "b": state(None, __id__="first", __run_num__=1)}
    assert [each.id for each in salt_results.read(returned).failed] == ["first", "second"]


@pytest.mark.parametrize("answer", [["Rendering failed"], "Minion did not return. [No response]", {}, None, {"a": 1}])
def test_an_answer_that_is_no_highstate_is_a_failure(answer: object) -> None:
    results = salt_results.read(answer)
    assert not results.ok and results.error and results.error in results.failures()


def test_a_requisite_that_failed_elsewhere_is_still_a_failure() -> None:
    assert not salt_results.read({"b": state(False, comment="One or more requisite failed: x")}).ok


def test_parses_both_programs_and_garbage() -> None:
    answer = {"a": state(True)}
    for text in (
        json.dumps({"local": answer}),
        "a warning\n" + json.dumps({"h": answer}),
        json.dumps({"h": {"ret": answer, "retcode": 0}}),
    ):
        results = salt_results.parse(text, "h")
        assert results and results.ok and results.total == 1
    for text in ("Traceback", '{"h": {', json.dumps({"other": answer}), "[1]"):
        assert salt_results.parse(text, "h") is None


def test_reads_the_state_from_a_log_line() -> None:
    line = "[INFO    ] Executing state file.managed for [/etc/hosts]"
    assert salt_results.executing(line) == "file.managed /etc/hosts"
    assert salt_results.executing("[INFO    ] Completed state") is None
