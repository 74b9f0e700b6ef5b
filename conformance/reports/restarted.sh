#!/bin/sh
# Keep a server running that the suite brings down: start it again when it ends, or has not been well for 8 s.
#
#   restarted.sh PORT COMMAND...      until interrupted; "well" is GET /health on PORT of this machine, answered 200
port=$1
shift
trap 'kill -9 "$server" 2>/dev/null; exit' INT TERM
while true; do
    "$@" &
    server=$!
    sleep 10
    unwell=0
    while kill -0 "$server" 2>/dev/null && [ "$unwell" -lt 8 ]; do
        sleep 1
        if curl -sf -m 20 "http://127.0.0.1:$port/health" >/dev/null; then unwell=0; else unwell=$((unwell + 1)); fi
    done
    kill -9 "$server" 2>/dev/null
    wait "$server" 2>/dev/null
done
