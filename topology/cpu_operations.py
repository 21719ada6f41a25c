"""Processors that come and go: operations, and what is called when one does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from .parts import Model, Name

if TYPE_CHECKING:
    from .operations import Operation

CpuNumber = Annotated[int, Field(ge=0)]


class CpuOnline(Model):
    """Bring a processor online, and wait until that is done."""

    op: Literal["cpu_online"]
    cpu: CpuNumber


class CpuOffline(Model):
    """Take a processor offline, and wait until that is done."""

    op: Literal["cpu_offline"]
    cpu: CpuNumber


class CpuStateSection(Model):
    """``[[cpu_state]]``: programs that run whenever a processor comes or goes, as of a driver.

    Those of the section ``online`` run on the processor itself, as its thread cpuhp/N, while it is working; those of
    ``prepare`` on the processor of who brings it up or takes it down, while it is not.
    """

    name: Name
    section: Literal["prepare", "online"] = "online"
    startup: tuple[Operation, ...] = ()
    teardown: tuple[Operation, ...] = ()

    @model_validator(mode="after")
    def _has_something(self) -> CpuStateSection:
        if not (self.startup or self.teardown):
            raise ValueError("says nothing to do; expected startup or teardown")
        return self
