"""JupyterLab's settings for a machine with other users: /etc/jupyter/ of a site.

jupyter-server-proxy needs none: its row in the launcher, *Dask clusters*, comes with
`pip install dask-runner[jupyter]` and leads to a socket, not to a port.
"""

c = get_config()  # noqa: F821  Jupyter defines it

# Kernels listen on sockets in the user's own folder. On TCP, the default, what they
# print can be read by every account of the machine.
c.KernelManager.transport = "ipc"
