"""Tools that know nothing of serving: paths, files, processes, logs."""
