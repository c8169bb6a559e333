#!/usr/bin/env bash
# A throw-away PostgreSQL server on loopback, for tests.
#   tests/servers/postgresql.sh start [DIR]   prints the URL for $CPFLOW_TEST_POSTGRESQL
#   tests/servers/postgresql.sh stop [DIR]
# Needs the server's programs (Debian: apt-get install postgresql). Data goes to DIR, by default one
# temporary directory per checkout, and is not synced to disk: never for real data.
set -euo pipefail

initdb=$(command -v initdb || ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1 || true)
[ -n "$initdb" ] || { echo "no PostgreSQL server: apt-get install postgresql" >&2; exit 1; }
programs=$(dirname "$(readlink -f "$initdb")")

# The server refuses to run as root; its package brings a user.
as_owner() {
    if [ "$(id -u)" = 0 ]; then (cd / && setpriv --reuid=postgres --regid=postgres --init-groups "$@"); else "$@"; fi
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

stop() {
    [ ! -f "$dir/data/postmaster.pid" ] || as_owner "$programs/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null || true
    # Not the whole directory: somebody may have named one of his own.
    rm -rf "$dir/data" "$dir/server.log" "$dir.log"
    rmdir "$dir" 2>/dev/null || true
}

here=$(cd "$(dirname "$0")" && pwd)
dir=${2:-${TMPDIR:-/tmp}/cpflow-postgresql-$(id -u)-$(printf %s "$here" | cksum | cut -d' ' -f1)}
case "${1:-}" in
start)
    stop # what an interrupted run left behind
    mkdir -p "$dir"
    [ "$(id -u)" != 0 ] || chown postgres "$dir"
    port=$(free_port)
    as_owner "$programs/initdb" -D "$dir/data" -U cpflow -A trust --encoding=UTF8 --locale=C.UTF-8 >"$dir.log" 2>&1
    as_owner "$programs/pg_ctl" -D "$dir/data" -l "$dir/server.log" -w start \
        -o "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories='' -c fsync=off -c max_connections=200" >>"$dir.log" 2>&1
    as_owner "$programs/createdb" -h 127.0.0.1 -p "$port" -U cpflow cpflow
    echo "postgresql+psycopg://cpflow@127.0.0.1:$port/cpflow"
    ;;
stop)
    stop
    ;;
*)
    echo "usage: $0 start|stop [DIR]" >&2
    exit 2
    ;;
esac
