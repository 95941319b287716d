"""Installation of the packages `tensorlang` and `autotune`."""

from pathlib import Path

from setuptools import find_packages, setup

# Compiles for GPUs on any machine, and runs on those with a driver of CUDA 13.
CUDA = ["cupy-cuda13x>=14", "nvidia-cuda-nvrtc==13.0.88", "nvidia-cuda-runtime==13.0.96"]

setup(
    name="tensorlang",
    version="0.1.0",
    description="A language for tensor computations, with schedules that are checked and an autotuner",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.10",
    packages=find_packages(include=["tensorlang", "tensorlang.*", "autotune", "autotune.*"]),
    package_data={"tensorlang": ["py.typed"], "tensorlang.runtime": ["*.ll"], "autotune": ["py.typed", "*.css"]},
    install_requires=[
        "numpy>=1.26",
        "llvmlite>=0.50",
        "ml_dtypes>=0.4",
        "xgboost-cpu>=3.0",
        "rich>=13",
        "tomli>=2; python_version < '3.11'",
    ],
    extras_require={
        "cuda12": ["cupy-cuda12x>=13", "nvidia-cuda-nvrtc-cu12", "nvidia-cuda-runtime-cu12"],
        "cuda13": CUDA,
        "ray": ["ray>=2.9"],
        "completion": ["shtab>=1.6"],
        "notebooks": ["jupyterlab"],
        "dev": [
            *CUDA,
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.6",
            "mypy>=1.10",
            "mpmath>=1.3",
            "hypothesis>=6.100",
            "z3-solver>=4.12",
            "shtab>=1.6",
            "ray>=2.9; python_version < '3.14'",
            "nbclient>=0.10",
            "nbformat>=5.9",
            "ipykernel>=6.29",
            "pdoc>=15",
        ],
    },
    entry_points={"console_scripts": ["autotune=autotune.cli:main"]},
)
