"""The client of a controller's API, which the CLI uses: requests, lists, watches. Knows no server code."""
