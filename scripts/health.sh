#!/bin/sh
# The health of everything that runs here, one line each. Exit code 0 when all
# of it is ready. The addresses are the demo's; these variables change them.
set -u

API=${API:-http://localhost:8080}
STUB=${STUB:-http://localhost:8081}
ADMIN=${ADMIN:-http://localhost:9000}
SIDECAR=${SIDECAR:-http://localhost:9001}

if ! command -v curl >/dev/null 2>&1; then
    echo "health: curl is missing: apt-get install curl" >&2
    exit 1
fi

all_ready=0

# ask WHAT URL
ask() {
    # The body first, the status on a line of its own after it.
    answer=$(curl --silent --connect-timeout 1 --max-time 2 --write-out '\n%{http_code}' "$2")
    problem=$?
    status=$(printf '%s\n' "$answer" | tail -n 1)
    body=$(printf '%s\n' "$answer" | sed '$d' | head -c 2000)
    case $problem:$status in
    0:200) verdict=ready ;;
    0:*) verdict="NOT READY ($status)" ;;
    7:*) verdict="not running" ;;
    28:*) verdict="NO ANSWER within 2 s" ;;
    *) verdict="NO ANSWER (curl: exit code $problem)" ;;
    esac
    [ "$verdict" = ready ] || all_ready=1
    printf '%-14s %-20s %s\n' "$1" "$verdict" "$2"
    if [ -n "$body" ] && [ "$verdict" != ready ]; then
        printf '%s\n' "$body" | sed 's/^/    /'
    fi
}

ask "payments API" "$API/health/ready"
ask "admin API" "$ADMIN/health/ready"
ask "sidecar" "$SIDECAR/health/ready"
ask "payment stub" "$STUB/health"
exit "$all_ready"
