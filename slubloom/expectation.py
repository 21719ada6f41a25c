"""What a scenario expects of the kernel it runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .kernel.releases import has_patch

if TYPE_CHECKING:
    from .topology import Scenario


def expected_kinds(scenario: Scenario) -> tuple[str, ...]:
    """The violation kinds that are to be found, sorted; none: the run is to be clean.

    Raises:
        ReleaseError: the release or a patch is unknown.
    """
    kernel = scenario.kernel
    return scenario.expected(kernel.release, lambda name: has_patch(kernel.release, kernel.apply, kernel.revert, name))
