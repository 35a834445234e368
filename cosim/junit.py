"""The report of a run as JUnit XML, which CI servers show: a test case for each case of a suite."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from junitparser import Failure, JUnitXml, TestCase, TestSuite

from cosim.report import BenchResult, CaseResult, describe
from golden.files import atomic_write

__all__ = ["junit_report", "write_junit"]

NOTHING = "nothing was compared"


def junit_report(
    results: Sequence[BenchResult], *, suite: str, seed: int, simulator: str = "verilator"
) -> JUnitXml:
    """Return a test suite for each block and set of parameters.

    Suites carry ``seed``, ``level``, ``simulator`` and the block's parameters as properties. A
    failure's text is the case's first mismatch and the command that repeats it.
    """
    suites: dict[str, TestSuite] = {}
    for result in results:
        name = f"{suite}.{result.block}{_parameters(result, results)}"
        if name not in suites:
            suites[name] = TestSuite(name)
            known = {"seed": seed, "level": result.level, "simulator": simulator}
            for key, value in {**known, **result.parameters}.items():
                suites[name].add_property(key, str(value))
        for case in result.cases:
            suites[name].add_testcase(_test_case(case, name, result.beats > 0))
    xml = JUnitXml(f"stepscale cosim --suite {suite}")
    for found in suites.values():
        xml.add_testsuite(found)
    return xml


def write_junit(
    results: Sequence[BenchResult], path: Path, *, suite: str, seed: int, simulator: str
) -> None:
    """Write ``junit_report`` to ``path``, whole or not at all."""
    xml = junit_report(results, suite=suite, seed=seed, simulator=simulator)
    with atomic_write(path) as temporary:
        xml.write(str(temporary), pretty=True)


def _test_case(case: CaseResult, suite: str, compared: bool) -> TestCase:
    test = TestCase(case.name, classname=suite, time=round(case.seconds, 3))
    if case.mismatches:
        failure = Failure(str(case.mismatches[0]), type_="mismatch")
        failure.text = describe(case)
        test.result = [failure]
    elif not (compared and case.cycles):
        failure = Failure(NOTHING, type_="nothing")
        failure.text = f"{case.block} {case.name}: {NOTHING}\n  repeat: {case.repeat}"
        test.result = [failure]
    test.system_out = f"{case.beats} beats, {case.cycles} cycles compared, seed {case.seed}"
    return test


def _parameters(result: BenchResult, results: Sequence[BenchResult]) -> str:
    """Tell builds of one block apart by the parameters in which they differ: "[lanes=4]"."""
    others: list[Any] = [other.parameters for other in results if other.block == result.block]
    differing = [
        f"{name}={value}"
        for name, value in result.parameters.items()
        if any(other.get(name) != value for other in others)
    ]
    return f"[{','.join(differing)}]" if differing else ""
