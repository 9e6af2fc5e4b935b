"""The proxy of ``dask-runner dashboard``, from a browser to clusters' dashboards."""
