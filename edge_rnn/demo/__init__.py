"""The demo: train, export, verify, serve, kill, recover; told step by step and ending with a page of pictures.

`story` tells it. `feed`, `watch` and `service` touch the broker and the daemon's process; `compare`,
`predictions` and `timeline` are pure and say what came of it; `page` and `pictures` show it.
"""
