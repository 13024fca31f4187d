# SPDX-License-Identifier: GPL-2.0-or-later
"""The suite counts right: above all it never takes what failed, or didn't run, for a success."""

import importlib.util
import pathlib
import subprocess
import sys
import types

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import suite  # noqa: E402


def count(tmp_path, *cases):
    report = tmp_path / "junit.xml"
    report.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return suite.count_junit(report)


def test_each_outcome(tmp_path):
    counts = count(tmp_path, '<testcase name="a"/>', '<testcase name="b"><failure message="x"/></testcase>',
                   '<testcase name="c"><error/></testcase>',
                   '<testcase name="d"><skipped message="needs --long"/></testcase>')
    assert str(counts) == "1 passed, 2 failed, 1 skipped" and counts.problems == ["b", "c"]


@pytest.mark.parametrize("skip", ['<skipped message="restic is missing"/>', "<skipped/>"])
def test_a_skip_for_another_reason_has_failed(tmp_path, skip):
    assert str(count(tmp_path, f'<testcase name="a">{skip}</testcase>')) == "0 passed, 1 failed"


def test_cmockas_own_sums(tmp_path):
    passed = "<system-err>[  PASSED  ] 12 test(s).\n[  PASSED  ] 3 test(s).</system-err>"
    failed = "<failure/><system-err>[  PASSED  ] 4 test(s).\n[  FAILED  ] 2 test(s), listed below:</system-err>"
    crashed = "<failure/><system-err>Segmentation fault</system-err>"
    counts = count(tmp_path, *(f'<testcase name="x">{text}</testcase>' for text in (passed, failed, crashed)))
    assert str(counts) == "19 passed, 3 failed"


@pytest.mark.parametrize("text", [None, "", "<testsuites/>", "<testsuites><testsuite"])
def test_no_tests_is_no_success(tmp_path, text):
    report = tmp_path / "junit.xml"
    if text is not None:
        report.write_text(text)
    with pytest.raises(suite.StepError):
        suite.count_junit(report)


def raise_error(error):
    raise error


def test_a_step_that_could_not_run_has_failed():
    made = suite.Suite()
    assert made.step("fine", lambda: suite.Counts(passed=2))
    assert not made.step("broken", raise_error, suite.StepError("no such tool"))
    assert not made.step("gone", raise_error, FileNotFoundError("gone"))
    made.cannot("later", "there is no build")
    assert made.summary().splitlines()[-1] == "2 passed, 3 failed"


def test_a_missing_tool_is_an_error():
    with pytest.raises(suite.StepError, match="no-such-tool"):
        suite.run(["no-such-tool-anywhere"], "lint")


def test_a_failing_command_is_an_error(capsys):
    with pytest.raises(suite.StepError, match="ended with 3"):
        suite.run(["sh", "-c", "echo why; exit 3"], "it")
    assert "why" in capsys.readouterr().out


def test_sweep_ends_only_what_is_below(tmp_path):
    inside, outside = (subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(path)])
                       for path in (tmp_path / "x" / "y", tmp_path / "xx"))
    try:
        [found] = suite.sweep(tmp_path / "x")
        assert found.startswith("left running: ") and str(tmp_path) in found and inside.wait(10) == -9
        assert outside.poll() is None
    finally:
        for child in (inside, outside):
            child.kill()
            child.wait()


class Item:
    def __init__(self, nodeid, *marks):
        self.nodeid, self._marks, self.stash = nodeid, marks, pytest.Stash()
        if "[" in nodeid:
            self.callspec = None

    def get_closest_marker(self, name):
        return name if name in self._marks else None


def test_no_row_is_dropped_that_runs_nowhere_else():
    spec = importlib.util.spec_from_file_location("e2e_conftest", pathlib.Path(__file__).parent / "e2e" / "conftest.py")
    conftest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conftest)
    items = [Item("a::t"), *(Item(f"a::t[{row}]") for row in range(8)), Item("a::t[p]", "plain"), Item("a::t[v]", "variant"), Item("b::t[0]")]
    dropped = []
    hook = types.SimpleNamespace(pytest_deselected=lambda items: dropped.extend(item.nodeid for item in items))
    conftest.mark_repeats(items)
    conftest.thin_out(types.SimpleNamespace(hook=hook), items)
    assert [item.nodeid for item in items] == ["a::t", "a::t[0]", "a::t[6]", "a::t[p]", "a::t[v]", "b::t[0]"]
    assert dropped == [f"a::t[{row}]" for row in (1, 2, 3, 4, 5, 7)]
