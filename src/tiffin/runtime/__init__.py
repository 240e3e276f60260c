"""One replica: sockets, batching, predicting, health, metrics, and the processes that hold it."""
