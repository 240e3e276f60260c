"""Small tools that know nothing about serving: paths, files, processes, ports, waiting, logs.

Everything may import these; they import only the standard library, ``psutil`` and ``tiffin.errors``.
"""
