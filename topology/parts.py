"""What the parts of a topology file are made of: the base of all models, names, times."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

NAME_MAX = 64


def placeholders(text: str) -> str:
    """Check that nothing stands in braces but what is counted."""
    rest = text.replace("{i}", "").replace("{task}", "")
    if "{" in rest or "}" in rest:
        raise ValueError(f"{text!r}: only {{i}} and {{task}} may stand in braces")
    return text


Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=NAME_MAX, pattern=r"^[A-Za-z0-9_.:/{}()-]+$"),
    AfterValidator(placeholders),
]
Nanoseconds = Annotated[int, Field(ge=0, le=1 << 60)]


class Model(BaseModel):
    """Base of all parts of a topology file: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, populate_by_name=True)
