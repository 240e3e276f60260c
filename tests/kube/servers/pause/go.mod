module tiffin.dev/tests/pause

go 1.25
