"""Tests that the framework tests run where they should, or fail with the command to run."""

import pytest

from tests.frameworks import framework as module
from tests.frameworks.framework import VARIABLE, Framework, framework_under_test


def test_no_framework_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("", "cubelop"):
        monkeypatch.setenv(VARIABLE, name)
        with pytest.raises(module.WrongEnvironmentError, match="run `make test-cubeloop`"):
            framework_under_test()


def test_a_framework_that_is_not_installed_is_a_failure(
    framework: Framework, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is skipped, and each framework is alone in its environment."""
    [other] = set(module.FRAMEWORKS) - {framework.name}
    monkeypatch.setenv(VARIABLE, other)
    with pytest.raises(module.WrongEnvironmentError, match=f"{other} .* none is installed"):
        framework_under_test()


def test_another_version_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_installed", lambda package: "1.2.3")
    with pytest.raises(module.WrongEnvironmentError, match=r"1\.1\.3 is needed, and 1\.2\.3"):
        framework_under_test()
