"""How Dask's processes talk: what takes the place of its ``tls`` here.

Addresses stay ``tls://HOST:PORT``, and both ends may be Dask's own: see
:mod:`.backend`.
"""
