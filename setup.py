"""Where the packages lie in a wheel: ``golden`` as ``stepscale/_packages/golden``, and so on.

All else stands in pyproject.toml, which cannot say this without a list of every package.
"""

from setuptools import find_packages, setup

NAMES = ("golden", "hdl", "cosim")

found = find_packages(include=[pattern for name in NAMES for pattern in (name, f"{name}.*")])
setup(
    packages=["stepscale", *(f"stepscale._packages.{name}" for name in found)],
    package_dir={f"stepscale._packages.{name}": name for name in NAMES},
)
