"""The rows of the ablation: which code, how many groups, which ideas, at how many bits."""

from dataclasses import dataclass

from golden.errors import UserError

__all__ = ["BITS", "VARIANTS", "Variant", "chosen"]

BITS = (8, 7, 6)


@dataclass(frozen=True)
class Variant:
    """One simulated row. ``groups``: of timesteps; ``dp``, ``static`` (one) or ``step`` (each its
    own). ``wide``: ``none``, ``first`` (conv_in) or ``budget`` (as the artifact has them).
    """

    name: str
    code: str | None
    groups: str = "dp"
    correction: bool = True
    wide: str = "first"


VARIANTS = (
    Variant("weights only, no bias correction", None, "static", correction=False),
    Variant("weights only", None, "static"),
    Variant("static symmetric", "symmetric", "static"),
    Variant("static affine", "affine", "static"),
    Variant("affine + groups", "affine"),
    Variant("affine, each step its own scales", "affine", "step"),
    Variant("sign split + groups", "sign_split"),
    Variant("region, static", "region", "static"),
    Variant("region + groups", "region"),
    Variant("region + groups, no bias correction", "region", correction=False),
    Variant("region + groups, first conv narrow", "region", wide="none"),
    Variant("region + groups + wide edges", "region", wide="budget"),
    Variant("region, static, + wide edges", "region", "static", wide="budget"),
    Variant("affine + groups + wide edges", "affine", wide="budget"),
)


def chosen(names: str | None) -> tuple[Variant, ...]:
    """The variants whose names contain one of the comma-separated ``names``; all for ``None``."""
    if names is None:
        return VARIANTS
    parts = [part.strip() for part in names.split(",") if part.strip()]
    found = tuple(v for v in VARIANTS if any(part in v.name for part in parts))
    if not found:
        known = "; ".join(v.name for v in VARIANTS)
        raise UserError(f"variants {names!r}: none has such a name; allowed: parts of: {known}")
    return found
