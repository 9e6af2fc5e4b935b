"""Names of modules that people give to files by accident, and others on purpose."""

from __future__ import annotations

import sys

#: Packages that Dask, or what it needs, has or looks for; installed or not.
PACKAGES = (
    *("IPython", "PIL", "aiohttp", "asyncssh", "attr", "bokeh", "boto3", "brotli"),
    *("click", "cloudpickle", "colorama", "contourpy", "crick", "cryptography"),
    *("cupy", "dask", "dask_cuda", "distributed", "fsspec", "gevent", "gilknocker"),
    *("graphviz", "h5py", "importlib_metadata", "ipywidgets", "jinja2", "joblib"),
    *("jupyter_server_proxy", "keras", "locket", "lz4", "markupsafe", "matplotlib"),
    *("mpi4py", "msgpack", "narwhals", "netCDF4", "numba", "numpy", "packaging"),
    *("pandas", "partd", "pkg_resources", "polars", "prometheus_client", "psutil"),
    *("pyarrow", "pynvml", "requests", "rich", "rmm", "scipy", "setproctitle"),
    *("setuptools", "six", "sklearn", "snappy", "sortedcontainers", "tblib"),
    *("tensorflow", "tlz", "toolz", "torch", "tornado", "tqdm", "typing_extensions"),
    *("ucp", "urllib3", "uvloop", "xxhash", "xyzservices", "yaml", "zict"),
    "zstandard",
)

#: Those, all of the standard library, and what a Python runs when it begins.
NAMES = tuple(
    sorted({*PACKAGES, *sys.stdlib_module_names, "sitecustomize", "usercustomize"})
)
