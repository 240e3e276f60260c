"""Ask the BentoML example with bentoml's own client. Rows as JSON on stdin, class numbers as JSON on stdout.

Runs in an environment of its own; see the Makefile.
"""

import json
import sys

import bentoml
import numpy as np

rows = np.array(json.load(sys.stdin))
with bentoml.SyncHTTPClient(f"http://127.0.0.1:{sys.argv[1]}", timeout=30) as client:
    assert client.is_ready()
    print(json.dumps(np.asarray(client.predict(features=rows)).tolist()))
